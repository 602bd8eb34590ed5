"""Where a number comes from: versions, what was run on what, and the caption that says so.

Two records are kept apart on purpose. *Files* (tables, figures and their metadata) carry the
package version and a hash of the parameters: nothing in them changes unless a number, a parameter
or a release does, so that files kept under version control stay byte-identical from one commit to
the next. The *run* (run.json, the report, a "cite this" box) carries the commit and the dirty flag
as well: pass `code=code_version()` there.
"""

import functools
import json
import os
import platform
import re
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from clipeval import __version__
from clipeval.files import file_sha256, sha256
from clipeval.paths import DATA, NOTEBOOKS, built_from, version_of

TEST_CARDS = "Replay of planted rates on test cards, not a result about any model"
#: what intervals are where nothing else is said
WILSON = "95 % Wilson intervals"
#: of the release; `CITATION.cff` has the day
YEAR = 2026
PAPER_KEY = "agarwal2021evaluating"
PAPER = f"""@article{{{PAPER_KEY},
  title = {{Evaluating {{CLIP}}: Towards Characterization of Broader Capabilities and Downstream Implications}},
  author = {{Agarwal, Sandhini and Krueger, Gretchen and Clark, Jack and Radford, Alec and Kim, Jong Wook and Brundage, Miles}},
  journal = {{arXiv preprint arXiv:2108.02818}},
  year = {{2021}},
  url = {{https://arxiv.org/abs/2108.02818}},
}}
"""  # noqa: E501
#: packages that can change an embedding
EMBED = ("open_clip_torch", "pillow", "timm", "torch", "torchvision", "transformers")
#: packages that can change a number which is made from embeddings
COUNT = ("numpy", "pandas", "pyarrow", "scikit-learn", "scipy")
#: packages that draw, download and execute: recorded, though no study's numbers depend on them
OTHERS = ("fonttools", "huggingface_hub", "matplotlib", "papermill", "seaborn")
# What can change a result; data sets that lie in data/ and the reports themselves cannot.
_DATA = ("class_sets", "templates", "published", "profiles")
_CODE = ("clipeval", "notebooks", "pyproject.toml", *(f"data/{part}" for part in _DATA))
#: parameters that say where and how fast, not what
HOW = frozenset({"batch_size", "compile", "device", "out", "runtime", "store", "workers"})
#: parameters that never enter a file: those, and where the data are
INCIDENTAL = HOW | {"data", "pack"}


_PATH = re.compile(r"(?P<kind>[a-z][a-z0-9-]+:)?(~|\.{1,2}|[A-Za-z]:)?[/\\].*")


def pathless(value: object) -> object:
    """A value with every path, such as local-dir:/home/me/clip, cut to its last part."""
    if isinstance(value, Mapping):
        return {k: pathless(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [pathless(v) for v in value]
    if isinstance(value, str) and value.startswith("python:"):  # a file, a function, perhaps a path
        return ":".join(pathless(part) for part in value.split(":"))
    if isinstance(value, str | Path) and (found := _PATH.fullmatch(str(value))):
        return (found["kind"] or "") + re.split(r"[/\\]", str(value).rstrip("/\\"))[-1]
    return value


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What one table or figure was made from; a field that does not apply stays empty."""

    model: str = ""
    """Model configuration, such as ViT-L-14-quickgelu."""
    pretrained: str = ""
    """Tag of the weights, such as openai."""
    precision: str = ""
    """fp32, fp16 or bf16."""
    activation: str = ""
    """quickgelu, gelu or empty; shown in a caption only where the model's name does not say it."""
    resize: str = ""
    """How images are brought to size; shown where it is not the model's own way."""
    device: str = ""
    """Recorded for the run; never part of a file."""
    dataset: str = ""
    """Name of the data set."""
    split: str = ""
    """Split of the data set."""
    version: str = ""
    """Release of the data set, such as "padding 0.25"."""
    n: int | None = None
    """Images the rates are over."""
    n_text: str = ""
    """In place of n, where rates are over fewer images than were read."""
    choices: tuple[str, ...] = ()
    """A study's own choices that its numbers depend on, such as "options main"."""
    unreadable: int = 0
    """Images that could not be read and are in no rate."""
    class_set: str = ""
    """Name of the class set."""
    class_set_version: int | str = ""
    """Its version."""
    variant: str = ""
    """Its variant; empty is the default."""
    templates: str = ""
    """Name of the prompt templates."""
    labels: str = ""
    """Whose group labels: one sentence."""
    notes: tuple[str, ...] = ()
    """Sentences a reader must not miss."""
    test_cards: bool = False
    """True for a replay on test cards: not a result about any model."""
    parameters: Mapping = field(default_factory=dict)
    """The study's parameters (plain literals)."""

    def record(self) -> dict:
        """Everything that may enter a file, as plain JSON-able values: no device, no path."""
        fields = {k: v for k, v in asdict(self).items() if k not in INCIDENTAL}
        fields |= {name: list(fields[name]) for name in ("choices", "notes")}
        kept = {k: v for k, v in sorted(self.parameters.items()) if k not in INCIDENTAL}
        return {k: pathless(v) for k, v in fields.items()} | {"parameters": pathless(kept)}

    @property
    def parameters_hash(self) -> str:
        """First 12 hex digits of the SHA-256 of `record`: the same parameters, the same hash."""
        text = json.dumps(self.record(), sort_keys=True, ensure_ascii=False, default=str)
        return sha256(text)[:12]


def _git(root: Path, *arguments: str) -> str | None:
    """Output of a git command in `root`, or None where git cannot answer."""
    # GIT_DIR and friends, set while a git hook runs, would point to another repository.
    env = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    env["GIT_OPTIONAL_LOCKS"] = "0"  # studies run side by side and must not wait for each other
    command = ["git", "-c", f"safe.directory={root}", "-C", str(root), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, env=env)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def code_version(root: Path | None = None) -> dict:
    """Version of the code that runs.

    Parameters
    ----------
    root : folder of the checkout; by default the one this package lies in

    Returns
    -------
    dict with `version` (str), `commit` (40 hex digits, of a wheel those it was built from; None where git
    cannot answer), `dirty` (True if code, notebooks, class sets, templates, profiles or published
    numbers differ from that commit; None where `commit` is None) and `sha256` (see `code_hash`)
    """
    root = Path(root) if root else Path(__file__).resolve().parents[2]
    unknown = {"version": __version__, "commit": None, "dirty": None, "sha256": code_hash()}
    # A wheel in a virtual environment may lie inside someone else's repository.
    if not (root / ".git").exists() or not (root / "pyproject.toml").exists():
        return unknown | built_from()
    commit = _git(root, "rev-parse", "HEAD")
    changes = _git(root, "status", "--porcelain", "--", *_CODE)
    if not commit or changes is None:
        return unknown
    return unknown | {"commit": commit, "dirty": bool(changes)}


@functools.cache
def code_hash() -> str:
    """sha256 of all that runs and can change a result: code, notebooks, class sets, templates, published numbers.

    The same for a checkout and for a wheel made of it; two states of uncommitted work differ.
    """
    package = Path(__file__).resolve().parents[1]
    files = [p for p in package.rglob("*.py") if "_bundled" not in p.parts]
    files += NOTEBOOKS.glob("*.ipynb")
    files += [p for part in _DATA for p in (DATA / part).rglob("*") if p.is_file()]
    named = sorted((f"{p.parent.name}/{p.name}", p) for p in files)
    return sha256(*(f"{name} {file_sha256(path)}\n" for name, path in named))


def package_versions() -> dict:
    """Versions of Python, clipeval and the packages that are recorded; None where not installed."""
    versions = {"python": platform.python_version(), "clipeval": __version__}
    return versions | {name: version_of(name) or None for name in sorted(EMBED + COUNT + OTHERS)}


def deciding(versions: Mapping, packages: tuple[str, ...] = EMBED + COUNT) -> dict:
    """Those of `versions` that can change a number: a result kept under others is computed again.

    Parameters
    ----------
    versions : as from `package_versions`, perhaps of an earlier run
    packages : which ones can, beside Python and clipeval; `COUNT` where the embeddings are given
    """
    return {k: v for k, v in versions.items() if k in ("python", "clipeval", *packages)}


def _sentence(text: str) -> str:
    text = " ".join(str(text).split())
    return text if not text or text[-1] in ".!?" else text + "."


def _software(provenance: Provenance, code: Mapping | None) -> str:
    if code and code.get("commit"):
        changed = " with uncommitted changes" if code.get("dirty") else ""
        return f"clipeval {code['version']} at {code['commit'][:7]}{changed}"
    return f"clipeval {__version__}, parameters {provenance.parameters_hash}"


def _images(p: Provenance) -> list[str]:
    """Data set, release, number of images: "FairFace val", "padding 0.25", "n = 10,951 (...)"."""
    parts = [" ".join(x for x in (p.dataset, p.split) if x), p.version]
    if p.n is not None:
        count = p.n_text or f"n = {p.n:,}"
        if p.unreadable:
            count += f" ({p.unreadable:,} of {p.n + p.unreadable:,} could not be read)"
        parts.append(count)
    return parts


def _model(p: Provenance) -> list[str]:
    name = f"{p.model} ({p.pretrained})" if p.model and p.pretrained else p.model or p.pretrained
    unsaid = p.activation and p.activation.lower() not in p.model.lower().split("-")
    resize = p.resize if p.resize not in ("", "model") else ""
    resize = f"images reduced to {resize} pixels" if resize.isdigit() else resize
    return [name, p.precision, p.activation if unsaid and name else "", resize]


def legend(
    text: str,
    *,
    intervals: str = WILSON,
    published_source: str | None = None,
    kind: str = "figure",
) -> str:
    """A caption without what holds for all of a page: what is shown, and what its marks mean."""
    marks = "; ".join(_marks(kind, intervals, published_source))
    return " ".join(_sentence(part) for part in (text, marks[:1].upper() + marks[1:]) if part)


def _marks(kind: str, intervals: str, published_source: str | None) -> list[str]:
    bars, diamonds = ("bars", "diamonds") if kind == "figure" else ("brackets", "published")
    found = {bars: intervals, diamonds: published_source}
    return [f"{mark}: {meaning}" for mark, meaning in found.items() if meaning]


def caption(
    text: str,
    provenance: Provenance,
    *,
    intervals: str = WILSON,
    published_source: str | None = None,
    kind: str = "figure",
    code: Mapping | None = None,
) -> str:
    """Caption that can be cited: what is shown, from what, with which intervals, by which code.

    Parameters
    ----------
    text : what the table or figure shows
    provenance : what it was made from
    intervals : name of the intervals; "" if none are drawn
    published_source : where the published values come from, such as "arXiv 2108.02818, Table 2"
    kind : "figure" (bars and diamonds) or "table" (brackets and the column `published`)
    code : `code_version()`, for a report or a notebook; left out for files, which carry the
        version and the parameters' hash instead (see the module's docstring)

    Returns
    -------
    str, plain text of a few sentences; test cards are announced first
    """
    p = provenance
    classes = p.class_set and " ".join(
        x
        for x in (
            f"class set {p.class_set}",
            f"v{p.class_set_version}" if p.class_set_version != "" else "",
            f"({p.variant})" if p.variant else "",
        )
        if x
    )
    groups = [
        _model(p) + _images(p),
        [classes, f"templates {p.templates}" if p.templates else "", *p.choices],
        *([mark] for mark in _marks(kind, intervals, published_source)),
    ]
    joined = "; ".join(s for s in (", ".join(x for x in group if x) for group in groups) if s)
    sentences = [TEST_CARDS if p.test_cards else "", text, joined, p.labels, *p.notes]
    return " ".join(_sentence(s) for s in [*sentences, _software(p, code)] if s)


def bibtex(
    figure_id: str,
    provenance: Provenance,
    *,
    study: str,
    title: str,
    code: Mapping | None = None,
) -> str:
    """BibTeX of one table or figure, and of the paper whose study it repeats.

    Parameters
    ----------
    figure_id : id of the table or figure within its study, such as "by_race"
    provenance : what it was made from
    study : study id, such as "denigration"
    title : what it shows, plain text, of which the first sentence is taken
    code : `code_version()`: the commit, where there is one
    """
    from clipeval.output.latex import escape

    title = title.partition(". ")[0]
    if provenance.test_cards:
        title = f"{TEST_CARDS}: {title}"
    setup = ", ".join(x for x in _model(provenance) + _images(provenance) if x)
    commit = (code or {}).get("commit")
    fields = {
        "title": "{" + escape(title.rstrip(".")) + "}",
        "author": "{The clipeval developers}",
        "year": str(YEAR),
        "howpublished": escape(f"{_software(provenance, code)}"),
        "note": escape(
            f"Study {study}, id {figure_id}; {setup}; parameters {provenance.parameters_hash}"
            + (f"; commit {commit}" if commit else "")
        ),
    }
    key = f"clipeval-{study}-{figure_id}-{provenance.parameters_hash}"
    lines = [f"  {name} = {{{value}}}," for name, value in fields.items()]
    return "\n".join([f"@misc{{{key},", *lines, "}", "", PAPER])
