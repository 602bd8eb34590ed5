"""What a run leaves on record: OUT/STUDY/study.json and OUT/run.json, read and written here alone.

A field that was not set is not written, and one that is not known is passed over, so that folders of
other versions can be read as far as they say the same things.
"""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from clipeval import __version__
from clipeval.errors import DataError
from clipeval.files import Folder, as_json
from clipeval.models.info import ModelInfo
from clipeval.session.local_paths import hider, restored, told, write_local


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, protected_namespaces=())


class Dataset(_Record):
    """The images of a study, and what was said of them."""

    name: str
    """Name of the data set."""
    version: str = ""
    """Its release, such as "padding 0.25"."""
    licence: str = ""
    """Licence of the images; empty where none is known."""
    citation: str = ""
    """What to cite for them."""
    labels: str = ""
    """Whose group labels: one sentence."""
    notes: list[str] = []
    """Sentences a reader must not miss: samples, animations, double photographs."""
    images: int
    """Images that the parameters name."""
    read: int
    """Images that could be read; rates are over these."""
    unreadable: int = 0
    """Images that could not be read and are in no rate."""
    hash: str
    """sha256 over the images' contents and all that is said of them (labels, groups)."""


class TrainSet(_Record):
    """The images that a linear probe was fitted on."""

    images: int
    """How many there are."""
    hash: str
    """sha256 over their contents and labels."""


class Wording(_Record):
    """A class set or prompt templates, as they were when they were used."""

    hash: str
    """sha256 of the content; a name and a version alone do not say that nothing changed."""
    source: str = ""
    """Where the words come from: one sentence."""


class CodeVersion(_Record):
    """The code that ran."""

    version: str
    """Version of clipeval."""
    commit: str | None = None
    """40 hex digits; None for an installed wheel, or where git could not answer."""
    dirty: bool | None = None
    """Whether code, notebooks or bundled data differed from that commit; None where there is none."""
    sha256: str = ""
    """Over all that can change a result; see `clipeval.output.provenance.code_hash`."""


class Kept(_Record):
    """A table or figure that a study kept."""

    id: str
    """File name without its suffix."""
    text: str = ""
    """What it shows: one sentence."""
    legend: str = ""
    """The same with what its marks mean."""
    intervals: str = ""
    """What its intervals are, such as "95 % Wilson intervals"; empty where it has none."""
    caption: str = ""
    """The same with model, data, classes and code, to be cited."""
    alt: str = ""
    """Of a figure, what a reader who cannot see it is told."""
    bibtex: str = ""
    """Entry to cite it by, and the paper's."""


class KeptFigure(Kept):
    """A figure in the study's folder `figures`."""

    wide: bool = False
    """Whether it was drawn for the width of a page, not of a column."""
    column: bool = False
    """Whether it was drawn for a column as well, in the study's folder `page`."""


class KeptTable(Kept):
    """A table in the study's folder `tables`."""

    rows: int | None = None
    """Rows, without the head."""


class StudyRecord(_Record):
    """One study of a run: what it was made from, with which parameters, and what it kept."""

    study: str
    """Study id, such as "fairface"."""
    title: str = ""
    """Title of the study."""
    parameters: dict = {}
    """Parameters by name, as the study's own `Parameters` has them; their names differ from study to study."""
    model: ModelInfo | None = None
    """The model that was characterized; None for a study that asks none, such as the card."""
    device: str = ""
    """Device that embedded images or prompts, or that none was needed."""
    dataset: Dataset | None = None
    """The images; None for a study that has none of its own."""
    train: TrainSet | None = None
    """Images that a probe was fitted on; None without a probe."""
    test_cards: bool = False
    """True for a replay on test cards, which says nothing of any model."""
    pack: str = ""
    """sha256 of the pack that stood in for images and model; empty where there was none."""
    scores: str = ""
    """sha256 of the file of answers made elsewhere; empty where a model was asked."""
    class_sets: dict[str, Wording] = {}
    """Label of each class set that was asked, such as "denigration v1"."""
    templates: dict[str, Wording] = {}
    """Label of the prompt templates, such as "photo v1"."""
    prompts_hash: str = ""
    """sha256 of prompts.json's content: every prompt as it was sent."""
    drawn_from: dict[str, str | None] = {}
    """Of a summary: study id to the `prompts_hash` of each study whose tables it is made of."""
    code: CodeVersion | None = None
    """The code that ran."""
    versions: dict[str, str | None] = {}
    """Versions of Python and of packages by name; None where one was not installed."""
    against_fp32: str = ""
    """With another precision: how many top labels differ from those with fp32, one sentence."""
    opened: int = 0
    """Images opened for this run; the others came from the store."""
    encoded: int = 0
    """Images encoded by the model for this run."""
    at_once: int = 0
    """Most images that went through the model at once, as memory allowed; 0 where none did."""
    seconds: dict[str, float] = {}
    """Seconds spent by step; "notebook" is the whole."""
    finding: list[str] = []
    """What was found, as sentences made from the tables; see `Study.finding`."""
    tables: list[KeptTable] = []
    """Tables, in the order of the notebook."""
    figures: list[KeptFigure] = []
    """Figures, in the order of the notebook."""


class RunRecord(_Record):
    """A run folder: what was asked for, how it ended, and the record of each study that finished."""

    clipeval: str
    """Version of clipeval that wrote it last."""
    arguments: dict = {}
    """What the user asked for: studies, parameters, profile or pack."""
    state: Literal["", "running", "done", "failed", "stopped"] = ""
    """How the last `clipeval run` ended; empty where notebooks were run by hand alone."""
    failed: dict[str, str] = {}
    """Study id to the error of each study that failed: one sentence."""
    seconds: float | None = None
    """Seconds that the last `clipeval run` took."""
    finished: str = ""
    """Local time of its end, with the offset from UTC."""
    studies: dict[str, StudyRecord] = {}
    """Study id to its record."""


def read_study(folder: Path) -> StudyRecord | None:
    """The record of a study.

    Parameters
    ----------
    folder : OUT/STUDY

    Returns
    -------
    StudyRecord, or None where no study has finished

    Raises
    ------
    DataError  if there is a study.json that is damaged, or that clipeval did not write
    """
    return _read(StudyRecord, folder / "study.json")


def read_studies(out: Path) -> dict[str, StudyRecord]:
    """Study id -> record, for every study of a run folder that finished; see `read_study`."""
    found = {path.parent.name: read_study(path.parent) for path in sorted(out.glob("*/study.json"))}
    # one may be set aside in this moment, to be run again
    return {study: record for study, record in found.items() if record is not None}


def with_paths(record: StudyRecord, out: Path) -> StudyRecord:
    """The record of a study in run folder `out` with its parameters as they were given; see `local_paths`."""
    parameters = restored(out, record.study, record.parameters)
    return record.model_copy(update={"parameters": parameters})


def read_run(folder: Path) -> RunRecord | None:
    """The record of a run folder.

    Parameters
    ----------
    folder : OUT

    Returns
    -------
    RunRecord, or None where there is no run.json

    Raises
    ------
    DataError  if there is one that is damaged, or that clipeval did not write
    """
    return _read(RunRecord, folder / "run.json")


def write_study(folder: Path, record: StudyRecord) -> None:
    """Write OUT/STUDY/study.json, without paths of this machine, and these into OUT/local.json."""
    out, parameters = folder.parent, record.parameters
    content = hider(parameters, out)(record.model_dump(exclude_unset=True))
    write_local(out, {record.study: parameters})
    if parameters:
        content["parameters"] = told(parameters)
    Folder(folder).write("study.json", as_json(content))


def write_run(out: Path, **more) -> RunRecord:
    """Write OUT/run.json from the records of its studies.

    Parameters
    ----------
    out : run folder
    more : fields of `RunRecord`; the others stay as the last writer left them

    Raises
    ------
    DataError  if a study.json in the folder, or its run.json, is not clipeval's
    """
    before = read_run(out) or RunRecord(clipeval=__version__)
    now = {"clipeval": __version__, "studies": read_studies(out)}
    run = before.model_copy(update=more | now)
    Folder(out).write("run.json", as_json(run.model_dump(exclude_unset=True)))
    return run


def _read(kind: type[_Record], path: Path):
    try:
        return kind.model_validate_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        reason = error.strerror or str(error)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        wrong = "missing" if first["type"] == "missing" else "not what clipeval writes there"
        reason = f"{place} is {wrong}"
    raise DataError(
        f"{path} is not a record that this version of clipeval can read ({reason[:200]}); move it "
        "away and run the study again."
    ) from None
