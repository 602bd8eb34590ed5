"""A finished run in the forms that others ask for: `export` writes a paper, a model card or Croissant metadata."""

from clipeval import lazy

__getattr__, __dir__, __all__ = lazy(__name__, formats="export FORMATS")
