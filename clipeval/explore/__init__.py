"""Exploring by hand: choose images, type classes and templates, see rates from stored embeddings.

`Explorer` holds all that is chosen and found and needs no browser; `view` shows it, `keep` saves it
and runs a study with it, `panel` puts widgets before it.
"""

from clipeval.explore.explorer import Choice, Explorer, class_lines, read_classes, start
from clipeval.explore.keep import Saved

__all__ = ["Choice", "Explorer", "Saved", "class_lines", "read_classes", "start"]
