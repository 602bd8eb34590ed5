"""A study table as CSV, LaTeX, HTML or figure, each with where it comes from."""
