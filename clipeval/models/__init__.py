"""Models of every kind behind one small object.

`load` opens them; `registry` knows which weights belong to which configuration and activation; `sources` finds
files, `configuration` says what of a stranger's is passed on; `info` recognises a model again without loading torch.
The other modules each serve `load`.
"""

from clipeval.models.info import ModelInfo
from clipeval.models.load import identify_model, load_model, register_loader
from clipeval.models.model import Model

__all__ = ["Model", "ModelInfo", "identify_model", "load_model", "register_loader"]
