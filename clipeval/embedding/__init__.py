"""Images and prompts to unit vectors, computed once and stored."""
