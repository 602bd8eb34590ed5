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


def _article(
    author: str, title: str, journal: str, volume: str, pages: str, year: int
) -> dict[str, str]:
    """Fields of an article, of `entry`."""
    said = {"title": f"{{{title}}}", "author": author, "journal": journal, "volume": volume}
    return said | {"pages": pages, "year": str(year)}


#: name in a methods section -> key and fields of what is cited where it is first named
CITED = {
    "Wilson": {
        "wilson1927probable": _article(
            "Wilson, Edwin B.",
            "Probable Inference, the Law of Succession, and Statistical Inference",
            "Journal of the American Statistical Association", "22", "209--212", 1927,
        )
    },
    "Newcombe": {
        "newcombe1998independent": _article(
            "Newcombe, Robert G.",
            "Interval Estimation for the Difference Between Independent Proportions: Comparison of Eleven Methods",
            "Statistics in Medicine", "17", "873--890", 1998,
        ),
        "newcombe1998paired": _article(
            "Newcombe, Robert G.",
            "Improved Confidence Intervals for the Difference Between Binomial Proportions Based on Paired Data",
            "Statistics in Medicine", "17", "2635--2650", 1998,
        ),
    },
    "Clopper and Pearson": {
        "clopper1934use": _article(
            "Clopper, C. J. and Pearson, E. S.",
            "The Use of Confidence or Fiducial Limits Illustrated in the Case of the Binomial",
            "Biometrika", "26", "404--413", 1934,
        )
    },
    "McNemar": {
        "mcnemar1947note": _article(
            "McNemar, Quinn",
            "Note on the Sampling Error of the Difference Between Correlated Proportions or Percentages",
            "Psychometrika", "12", "153--157", 1947,
        )
    },
    "Holm": {
        "holm1979simple": _article(
            "Holm, Sture", "A Simple Sequentially Rejective Multiple Test Procedure",
            "Scandinavian Journal of Statistics", "6", "65--70", 1979,
        )
    },
    "Benjamini-Hochberg": {
        "benjamini1995controlling": _article(
            "Benjamini, Yoav and Hochberg, Yosef",
            "Controlling the False Discovery Rate: A Practical and Powerful Approach to Multiple Testing",
            "Journal of the Royal Statistical Society: Series B", "57", "289--300", 1995,
        )
    },
    "Hesterberg": {
        "hesterberg2015what": _article(
            "Hesterberg, Tim C.",
            "What Teachers Should Know About the Bootstrap: Resampling in the Undergraduate Statistics Curriculum",
            "The American Statistician", "69", "371--386", 2015,
        )
    },
    "Korn and Graubard": {
        "korn1998confidence": _article(
            "Korn, Edward L. and Graubard, Barry I.",
            "Confidence Intervals for Proportions With Small Expected Number of Positive Counts "
            "Estimated From Survey Data",
            "Survey Methodology", "24", "193--201", 1998,
        )
    },
    "MaxSkew@k": {
        "geyik2019fairness": {
            "title": r"{Fairness-Aware Ranking in Search \& Recommendation Systems with Application to LinkedIn "
            "Talent Search}",
            "author": "Geyik, Sahin Cem and Ambler, Stuart and Kenthapadi, Krishnaram",
            "year": "2019", "url": "https://arxiv.org/abs/1905.01989",
        }
    },
}  # fmt: skip


def entry(kind: str, key: str, **fields: str) -> str:
    """One BibTeX entry; values are LaTeX, empty ones are left out."""
    lines = [f"  {name} = {{{value}}}," for name, value in fields.items() if value]
    return "\n".join([f"@{kind}{{{key},", *lines, "}", ""])


def references(run: RunRecord, methods: str = "") -> dict[str, str]:
    """Citation key -> BibTeX entry, of all that a report of the run has to cite.

    Parameters
    ----------
    methods : text of its methods section, whose statistical methods are cited by name (`CITED`)
    """
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
    for name, entries in CITED.items():
        if name in methods:
            for key, fields in entries.items():
                kind = "article" if "journal" in fields else "misc"
                found[key] = entry(kind, key, **fields)
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
