"""A run as the start of a paper: a two-column main.tex that compiles, its tables, figures and references."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from clipeval.export.bibliography import CITED, CLIP_KEY, SOFTWARE_KEY, key_of, references
from clipeval.export.methods import in_order, methods
from clipeval.export.wide import COLUMN, HEIGHT, PAGE, fitting, sentences, unsaid, wide_table
from clipeval.output.latex import escape
from clipeval.output.provenance import PAPER_KEY, TEST_CARDS
from clipeval.output.tables import notes_of
from clipeval.runs.finished import Run
from clipeval.session.record import KeptFigure, KeptTable, RunRecord, StudyRecord
from clipeval.studies import STUDIES
from clipeval.studies.sentences import listed

#: rows of a table that is printed; longer ones are written too, and named in main.tex
PRINTED = 60
#: size of a run's own table -> its size here, where the page is a ninth wider than what it was laid out for
_LARGER = {"tiny": r"\scriptsize", "scriptsize": r"\footnotesize"}
_BREAK = r"\allowbreak{}"
_HELD = 12  # floats that LaTeX keeps back before it must print them

_HEAD = r"""% Written by clipeval. Compile with: pdflatex main && bibtex main && pdflatex main && pdflatex main
% Columns of 3.35 in and a page of 6.9 in, for which the figures are drawn: their letters are of 7 pt.
\documentclass[10pt,twocolumn]{article}
\usepackage[letterpaper,textwidth=6.9in,textheight=9.2in,columnsep=0.2in]{geometry}
\usepackage{booktabs,graphicx,url}
\usepackage[numbers]{natbib}
\usepackage[font=footnotesize]{caption}
\emergencystretch=3em
\raggedbottom
\renewcommand{\bibfont}{\small\raggedright}
\setcounter{topnumber}{4}\setcounter{dbltopnumber}{3}\setcounter{totalnumber}{6}
\renewcommand{\topfraction}{0.9}\renewcommand{\dbltopfraction}{0.9}
\renewcommand{\textfraction}{0.05}\renewcommand{\floatpagefraction}{0.8}\renewcommand{\dblfloatpagefraction}{0.8}
"""


@dataclass(frozen=True)
class _Float:
    """A table or figure of the paper."""

    label: str
    file: str
    """Its file below the paper's folder."""
    content: str | bytes
    tex: str
    """What stands in main.tex."""
    note: str = ""
    """What did not fit into its caption."""
    wide: bool = False
    printed: bool = True

    @property
    def name(self) -> str:
        return "Figure" if self.label.startswith("fig:") else "Table"


def paper(run: Run) -> dict[str, str | bytes]:
    """File name -> content of a paper on a run.

    Parameters
    ----------
    run : as from `clipeval.load_run`

    Returns
    -------
    dict: main.tex, references.bib, tables/STUDY-ID.tex (races or another grouping across where they
    fit, labels tab:STUDY-ID) and figures/STUDY-ID.pdf (as wide as a column where the run kept it so,
    labels fig:STUDY-ID)
    """
    done = methods(run)
    bib = references(run.record, " ".join(done.values()))
    files: dict[str, str | bytes] = {"main.tex": "", "references.bib": "\n".join(bib.values())}
    sections, further, rest = [], [], []
    for record in in_order(run.record):
        floats = [*_figures(run, record), *_tables(run, record)]
        files |= {float.file: float.content for float in floats}
        shown = _shown(record, floats)
        sections.append(_section(record, floats, shown))
        others = [float for float in floats if float not in shown]
        further += _noted(others)
        rest += [float.tex for float in others]
    for place in range(_HELD, len(rest), _HELD):
        rest[place] = "\\clearpage\n" + rest[place]
    files["main.tex"] = "\n".join(
        [
            _HEAD,
            rf"\title{{{_title(run.record)}}}",
            r"\author{Name the authors here}",
            r"\date{}",
            r"\begin{document}",
            r"\maketitle",
            _opening(run.record, list(bib)),
            _methods(done),
            *sections,
            r"\bibliographystyle{plainnat}",
            r"\bibliography{references}",
            r"\clearpage",
            r"\appendix",
            r"\section{Further tables and figures}",
            *further,
            "",
            *rest,
            r"\end{document}",
            "",
        ]
    )
    return files


def _prose(text: str) -> str:
    """Text as LaTeX in which no line begins with a percent sign."""
    return escape(text).replace(r" \%", r"~\%")


def _title(run: RunRecord) -> str:
    models = dict.fromkeys(r.model.name for r in run.studies.values() if r.model)
    names = escape(" and ".join(models))
    replay = any(record.test_cards for record in run.studies.values())
    return f"Characterization of {names}" + (r"\\[2pt]\large " + TEST_CARDS if replay else "")


def _opening(run: RunRecord, keys: list[str]) -> str:
    """The first paragraph: what was done, on which data, and what failed."""
    names = dict.fromkeys(r.dataset.name for r in run.studies.values() if r.dataset)
    data = [
        escape(name) + (rf"~\citep{{{key_of(name)}}}" if key_of(name) in keys else "")
        for name in names
    ]
    on = f" on {' and '.join(data)}" if data else ""
    failed = f" These studies failed, and are not here: {escape(', '.join(run.failed))}."
    return (
        rf"We characterize a model of the kind of CLIP~\citep{{{CLIP_KEY}}} by the studies of "
        rf"\citet{{{PAPER_KEY}}}, computed with clipeval~\citep{{{SOFTWARE_KEY}}}{on}, as "
        rf"Section~\ref{{sec:methods}} says.{failed * bool(run.failed)}" + "\n"
    )


def _methods(said: dict[str, str]) -> str:
    """What was done, a paragraph a part; statistical methods are cited where they are first named."""
    parts = [rf"\paragraph{{{name}.}} {_prose(text)}" for name, text in said.items()]
    text = "\n\n".join([r"\section{Methods}\label{sec:methods}", *parts, ""])
    for name, entries in CITED.items():
        cited = rf"\g<0>~\\citep{{{','.join(entries)}}}"
        text = re.sub(rf"{re.escape(name)}(?:'s)?", cited, text, count=1)
    # neither a hash nor a name such as class_set has hyphens, and both are long for a column
    text = text.replace(r"\_", r"\_" + _BREAK)
    return re.sub(r"\b[0-9a-f]{12}\b", lambda h: _BREAK.join(re.findall("....", h[0])), text)


def _section(record: StudyRecord, floats: list[_Float], shown: list[_Float]) -> str:
    """What a study asks and found, its first figure and its first table of groups."""
    lines = [rf"\section{{{escape(record.title)}}}\label{{sec:{record.study}}}"]
    study = STUDIES.get(record.study)  # None for one of the user's own that was not named
    lines += [_prose(study.question)] if study and study.question else []
    lines += [_prose(sentence) for sentence in record.finding]
    if refs := _refs(shown):
        lines.append(f"{refs} {'show' if len(shown) > 1 else 'shows'} it.")
    if more := _refs([f for f in floats if f.printed and f not in shown]):
        lines.append(f"Further: {more}.")
    lines += _noted(shown)
    return "\n".join([*lines, "", *(float.tex for float in shown), ""])


def _shown(record: StudyRecord, floats: list[_Float]) -> list[_Float]:
    study = STUDIES.get(record.study)
    first = study.figure if study else ""
    figures = [float for float in floats if float.name == "Figure"]
    figures.sort(key=lambda float: float.label != f"fig:{record.study}-{first}")
    tables = [float for float in floats if float.name == "Table" and float.wide]
    return [*figures[:1], *tables[:1]]


def _refs(floats: list[_Float]) -> str:
    return listed([rf"{float.name}~\ref{{{float.label}}}" for float in floats])


def _noted(floats: list[_Float]) -> list[str]:
    """What did not fit into the captions, each sentence once."""
    notes: dict[str, list[_Float]] = {}
    for float in floats:
        for sentence in sentences(float.note) if float.printed and float.note else ():
            notes.setdefault(sentence, []).append(float)
    said: dict[str, list[str]] = {}
    for sentence, of in notes.items():
        said.setdefault(_refs(of), []).append(sentence)
    return [f"On {of}: {_prose(' '.join(note))}" for of, note in said.items()]


def _figures(run: Run, record: StudyRecord) -> Iterator[_Float]:
    """Figures as they were drawn for a column; for the page where there is none, or one too tall."""
    for kept in record.figures:
        folder, file = run.folder / record.study, f"{kept.id}.pdf"
        narrow, drawn = folder / "page" / file, folder / "figures" / file
        across = kept.wide and not (narrow.is_file() and _height(narrow) <= HEIGHT)
        drawn = narrow if kept.wide and not across else drawn
        if not drawn.is_file():
            continue
        name, environment = f"{record.study}-{kept.id}", "figure*" if across else "figure"
        # one that fits is set as it is, so that its letters keep their size
        box = rf"[width=\linewidth,height={HEIGHT:g}pt,keepaspectratio]" if across else ""
        caption, note = fitting(_caption(kept), PAGE if across else COLUMN)
        tex = [
            rf"\begin{{{environment}}}[tp]",
            r"\centering",
            rf"\includegraphics{box}{{figures/{name}.pdf}}",
            rf"\caption{{{_prose(caption)}}}",
            rf"\label{{fig:{name}}}",
            rf"\end{{{environment}}}",
        ]
        yield _Float(f"fig:{name}", f"figures/{name}.pdf", drawn.read_bytes(), "\n".join(tex), note)


def _height(pdf: Path) -> float:
    """Points that a figure is high, as matplotlib writes it."""
    found = re.search(rb"/MediaBox \[ ?0 0 [\d.]+ ([\d.]+) ?\]", pdf.read_bytes())
    return float(found[1]) if found else 0.0


def _tables(run: Run, record: StudyRecord) -> Iterator[_Float]:
    for kept in record.tables:
        if kept.id not in run.tables[record.study]:
            continue
        table = run.tables[record.study][kept.id]
        name, said = f"{record.study}-{kept.id}", _caption(kept) + notes_of(table, kept.id)
        caption, note = fitting(said + unsaid(table), PAGE)
        text = wide_table(table, caption, f"tab:{name}")
        wide = text is not None
        if not wide:
            made = (run.folder / record.study / "tables" / f"{kept.id}.tex").read_text("utf-8")
            environment = "table*" if r"\begin{table*}" in made else "table"
            caption, note = fitting(said, PAGE if environment == "table*" else COLUMN)
            text = _relabelled(made, caption, f"tab:{name}")
        printed = len(table) <= PRINTED or wide
        tex = rf"\input{{tables/{name}.tex}}" if printed else f"% tables/{name}.tex is long: "
        tex += "" if printed else rf"\input it where you want its {len(table):,} rows"
        yield _Float(f"tab:{name}", f"tables/{name}.tex", text, tex, note, wide, printed)


def _caption(kept: KeptTable | KeptFigure) -> str:
    return kept.legend or kept.text or kept.id


def _relabelled(tex: str, caption: str, label: str) -> str:
    """A table as the run wrote it, in its own rows, under another caption and label, in letters of the next size."""
    lines = tex.splitlines()
    for start, line in (
        (r"\caption{", rf"\caption{{{_prose(caption)}}}\vspace{{4pt}}"),
        (r"\label{", rf"\label{{{label}}}"),
    ):
        at = next(i for i, found in enumerate(lines) if found.startswith(start))
        lines[at] = line
    return re.sub(
        r"(?m)^\\(tiny|scriptsize)", lambda size: _LARGER[size[1]], "\n".join([*lines, ""])
    )
