"""Models of every kind behind one small object, computing exactly what they computed when they were trained.

`load_model` opens one as a `Model`, `identify_model` says which it is without loading torch (`ModelInfo`);
`register_loader` adds a kind. The module `registry` knows which weights belong to which configuration and activation,
`sources` finds files, `configuration` says what of a stranger's is passed on; the other modules each serve `load`.
"""

from clipeval.models.info import ModelInfo
from clipeval.models.load import identify_model, load_model, register_loader
from clipeval.models.model import Model

__all__ = ["Model", "ModelInfo", "identify_model", "load_model", "register_loader"]
