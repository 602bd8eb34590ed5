"""The studies, one module each. A new study is a module here, a notebook, and its class sets."""

from dataclasses import dataclass
from importlib import import_module

from clipeval.errors import ParameterError

__all__ = ["STUDIES", "Study", "get_study"]


@dataclass(frozen=True)
class Study:
    """What the command line and the runner need to know before a study's module is imported."""

    id: str
    title: str
    notebook: str
    question: str

    @property
    def module(self):
        """The study's module: its `Parameters`, `predict` and pure table functions."""
        return import_module(f"clipeval.studies.{self.id}")


STUDIES = {
    study.id: study
    for study in (
        Study(
            "fairface",
            "FairFace classification",
            "01_fairface",
            "How well does the model name race, gender and age, and for whom?",
        ),
        Study(
            "denigration",
            "Denigration harms",
            "02_denigration",
            "Whom does the model call an animal or a criminal when it may?",
        ),
        Study(
            "class_design",
            "Class design",
            "03_class_design",
            "How much does one more class change who is harmed?",
        ),
        Study(
            "congress",
            "Members of Congress",
            "04_congress",
            "Which labels does the model give to women and which to men?",
        ),
        Study(
            "cctv",
            "CCTV surveillance",
            "05_cctv",
            "What can the model tell from frames of surveillance cameras?",
        ),
        Study(
            "celebrities",
            "Celebrity identification",
            "06_celebrities",
            "Can the model name a person, and among how many names?",
        ),
        Study(
            "sensitivity",
            "Sensitivity",
            "08_sensitivity",
            "Which choice matters most?",
        ),
        Study(
            "card",
            "Characterization card",
            "07_card",
            "What do all the studies say of this model, on one page?",
        ),
    )
}


def get_study(name: str) -> Study:
    """The study called `name`.

    Raises
    ------
    ParameterError
        If there is none, with the nearest known name.
    """
    import difflib

    if name not in STUDIES:
        near = difflib.get_close_matches(name.replace("-", "_"), STUDIES, n=1)
        raise ParameterError(
            f'there is no study "{name}"; '
            + (f"did you mean {near[0]}?" if near else f"the studies are {', '.join(STUDIES)}.")
        )
    return STUDIES[name]
