"""Games in which language models and neural networks play each other, learn, and are judged."""
