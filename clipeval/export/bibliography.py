"""References of a run as BibTeX: the software, the paper whose studies it repeats, CLIP, and its data."""

import re

from clipeval.datasets.sources import SOURCES
from clipeval.output.latex import escape
from clipeval.output.provenance import PAPER, PAPER_KEY, YEAR
from clipeval.session.record import RunRecord, StudyRecord

SOFTWARE_TITLE = "clipeval: characterization of CLIP-like models"
SOFTWARE_KEY, CLIP_KEY = "clipeval", "radford2021learning"
# Radford, A. and Kim, J. W. (2021). Title. Where.
_CITATION = re.compile(r"(?P<author>.+?) \((?P<year>\d{4})\)\. (?P<title>.+?)\. (?P<where>.+?)\.?")
_ADDRESS = re.compile(r"https?://[^\s,;]+[^\s,;.)]")

_CLIP = f"""@inproceedings{{{CLIP_KEY},
  title = {{Learning Transferable Visual Models From Natural Language Supervision}},
  author = {{Radford, Alec and Kim, Jong Wook and Hallacy, Chris and Ramesh, Aditya and Goh, Gabriel and Agarwal, Sandhini and Sastry, Girish and Askell, Amanda and Mishkin, Pamela and Clark, Jack and Krueger, Gretchen and Sutskever, Ilya}},
  booktitle = {{Proceedings of the 38th International Conference on Machine Learning (ICML)}},
  year = {{2021}},
  url = {{https://arxiv.org/abs/2103.00020}},
}}
"""  # noqa: E501


def entry(kind: str, key: str, **fields: str) -> str:
    """One BibTeX entry; values are LaTeX, empty ones are left out."""
    lines = [f"  {name} = {{{value}}}," for name, value in fields.items() if value]
    return "\n".join([f"@{kind}{{{key},", *lines, "}", ""])


def references(run: RunRecord) -> dict[str, str]:
    """Citation key -> BibTeX entry, of all that a report of the run has to cite."""
    code = next((r.code for r in run.studies.values() if r.code), None)
    commit = f", commit {code.commit[:12]}" if code and code.commit else ""
    found = {
        PAPER_KEY: PAPER,
        CLIP_KEY: _CLIP,
        SOFTWARE_KEY: entry(
            "misc",
            SOFTWARE_KEY,
            title="{" + SOFTWARE_TITLE + "}",
            author="{The clipeval developers}",
            year=run.finished[:4] or str(YEAR),
            howpublished=f"Python package, version {escape(run.clipeval)}{commit}",
        ),
    }
    for record in run.studies.values():
        if record.dataset and record.dataset.citation:
            key = key_of(record.dataset.name)
            found.setdefault(key, _data(key, record))
    return found


def key_of(dataset: str) -> str:
    """Citation key of a data set: letters and digits alone, as BibTeX wants it."""
    return "data-" + (re.sub(r"[^a-z0-9]+", "-", dataset.lower()).strip("-") or "own")


def _data(key: str, record: StudyRecord) -> str:
    """The entry of a data set: parted into fields where its citation has the usual form."""
    name, citation = record.dataset.name, record.dataset.citation
    known = SOURCES.get(str(record.parameters.get("dataset")))
    where = known.source if known and "your own" not in known.source else ""
    address = _ADDRESS.search(citation)
    shared = {"howpublished": escape(where), "url": address[0] if address else ""}
    if parts := _CITATION.fullmatch(citation):
        # "A, B., C, D. and E, F.": a comma after a full stop parts two people
        author = re.sub(r"\., (?=\w{2})", ". and ", parts["author"])
        said = {"title": "{" + escape(parts["title"]) + "}", "author": escape(author)}
        return entry("misc", key, **said, year=parts["year"], note=escape(parts["where"]), **shared)
    year = re.search(r"\b(?:19|20)\d\d\b", citation)
    said = {"title": "{" + escape(name) + "}", "year": year[0] if year else ""}
    return entry("misc", key, **said, note=escape(citation.replace(shared["url"], "")), **shared)
