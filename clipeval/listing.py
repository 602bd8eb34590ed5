"""What `clipeval list` prints."""

from collections.abc import Callable

from clipeval.errors import ParameterError
from clipeval.runs.telling import print_table

LISTS = ("models", "studies", "parameters", "datasets", "class-sets", "profiles", "store")


def begins(what: str) -> Callable[[str], list[str]]:
    """What a shell completes a word with: those of "studies", "profiles", "formats" or "lists" that begin so."""

    def found(incomplete: str) -> list[str]:
        if what == "studies":
            from clipeval.studies import STUDIES as known
        elif what == "profiles":
            from clipeval.runs.profiles import list_profiles

            known = list_profiles()
        elif what == "formats":
            from clipeval.export.formats import FORMATS as known
        else:
            known = LISTS
        return [word for word in known if word.startswith(incomplete)]

    return found


def print_list(what: str, of: str = "", *, as_json: bool = False, quiet: bool = False) -> None:
    """Print models, studies, a study's parameters, datasets, class-sets, profiles or what is in the store.

    Parameters
    ----------
    what : one of these
    of : the study whose parameters are printed; "" for those that every study has
    as_json : print a list of JSON objects in place of a table
    quiet : print names alone, one a line; of models as `--models` takes them

    Raises
    ------
    ParameterError  if it is none of these
    """
    import pandas as pd

    if of and what != "parameters":
        raise ParameterError(f"{what} are listed all together; leave out {of}.")
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
    elif what == "parameters":
        from clipeval.session.parameters import Parameters, described
        from clipeval.studies import get_study

        table = pd.DataFrame(described(get_study(of).Parameters if of else Parameters))
    elif what == "datasets":
        from clipeval.datasets import list_datasets

        table = list_datasets()
    elif what == "class-sets":
        from clipeval.classify.class_list import list_class_sets

        table = list_class_sets()
    elif what == "profiles":
        from clipeval.runs.profiles import list_profiles

        table = pd.DataFrame(list_profiles().items(), columns=["profile", "about"])
    elif what == "store":
        from clipeval.embedding.store import Store

        table = Store().summary()
    else:
        raise ParameterError(
            f"{what} cannot be listed; name {', '.join(LISTS[:-1])} or {LISTS[-1]}."
        )
    print_table(table, as_json=as_json, names=quiet)
