"""A run without its photographs: written, read, run again."""
