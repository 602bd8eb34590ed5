"""clipeval: characterize CLIP-like models (arXiv 2108.02818), from photographs to a report one can cite.

Nothing heavy is imported here; names below are loaded when they are first used.
"""

from importlib import import_module

__version__ = "0.1.0"


def lazy(package: str, **names: str):
    """`__getattr__`, `__dir__` and `__all__` of a package whose names are loaded when they are first used.

    Parameters
    ----------
    package : its `__name__`
    names : module in it -> the names that it offers, separated by spaces
    """
    homes = {name: module for module, offered in names.items() for name in offered.split()}

    def load(name: str):
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{homes[name]}"), name)

    offered = list(homes)  # a package may add names of its own
    return load, lambda: sorted(offered), offered


_load, __dir__, __all__ = lazy(
    __name__,
    face="embed predict group_rates",
    datasets="load_dataset",
    models="load_model",
    classify="load_class_set load_templates",
    embedding="embed_images embed_texts Store",
    studies="start",
    runs="load_run",
)
__all__ += ["__version__"]


def __getattr__(name: str):
    if name == "load_dataset":
        import_module("clipeval.testcards")  # it makes its data set known
    return _load(name)
