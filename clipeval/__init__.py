"""clipeval: characterize CLIP-like models (arXiv 2108.02818), from photographs to a report one can cite.

Nothing heavy is imported here; names below are loaded when they are first used.
"""

from importlib import import_module

__version__ = "0.1.0"

_LAZY = {
    "load_model": "models",
    "embed_images": "embedding.embed",
    "embed_texts": "embedding.embed",
    "Store": "embedding.store",
    "load_dataset": "datasets",
    "load_class_set": "classify.class_sets",
    "load_templates": "classify.class_sets",
    "start": "studies",
    "embed": "face",
    "predict": "face",
    "group_rates": "face",
    "load_run": "runs.finished",
}

__all__ = ["__version__", *_LAZY]


def __getattr__(name: str):
    if name in _LAZY:
        if name == "load_dataset":
            import_module("clipeval.testcards")  # it makes its data set known
        return getattr(import_module(f"clipeval.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'clipeval' has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
