"""Card and dice games with hidden information."""
