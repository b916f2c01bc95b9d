"""Causal language models in this process: loading, adapters, scoring; and tiny ones from scratch."""
