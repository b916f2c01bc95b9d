"""What learners make small: policy losses, aggregations, corrections and divergences, by name, and their sum."""
