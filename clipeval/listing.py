"""What `clipeval list` prints."""

from clipeval.errors import ParameterError


def print_list(what: str, *, as_json: bool = False) -> None:
    """Print models, studies, datasets, class-sets, profiles or what is in the store.

    Parameters
    ----------
    what : one of these
    as_json : print a list of JSON objects in place of a table

    Raises
    ------
    ParameterError  if it is none of these
    """
    import pandas as pd

    if what == "models":
        from clipeval.models.registry import list_models

        table = list_models()
    elif what == "studies":
        from clipeval.studies import STUDIES

        table = pd.DataFrame(
            [
                {"study": s.id, "notebook": s.notebook, "question": s.question}
                for s in STUDIES.values()
            ]
        )
    elif what == "datasets":
        from clipeval.datasets import list_datasets

        table = list_datasets()
    elif what == "class-sets":
        from clipeval.classify.class_sets import list_class_sets

        table = list_class_sets()
    elif what == "profiles":
        from clipeval.runs.profiles import list_profiles

        table = pd.DataFrame(list_profiles().items(), columns=["profile", "about"])
    elif what == "store":
        from clipeval.embedding.store import Store
        from clipeval.paths import cache_dir

        table = Store(cache_dir() / "store").summary()
    else:
        raise ParameterError(
            f"{what} cannot be listed; name models, studies, datasets, class-sets, profiles or store."
        )
    if as_json:
        print(table.to_json(orient="records", indent=1, force_ascii=False))
    else:
        _print_table(table)


def _print_table(table) -> None:
    """As wide as the terminal, the first column whole; a file or a pipe gets wide lines."""
    from rich.console import Console
    from rich.table import Table

    shown = Table(box=None, pad_edge=False, header_style="bold")
    for i, name in enumerate(table.columns):
        numeric = table[name].dtype.kind in "iuf"
        shown.add_column(
            str(name), justify="right" if numeric else "left", no_wrap=i == 0, overflow="fold"
        )
    for row in table.itertuples(index=False):
        shown.add_row(*("yes" if v is True else "" if v is False else str(v) for v in row))
    console = Console(markup=False, highlight=False)
    console.width = console.width if console.is_terminal else 160
    console.print(shown)
