"""What the Congress notebook says of the papers, where a run can be held against them, and of its own labels."""

import pandas as pd
from IPython.display import Markdown, display

from clipeval.output.markup import as_markdown
from clipeval.output.tables import show_frame
from clipeval.studies.congress.findings import (
    FINDINGS_SOURCE,
    findings_summary,
    published_findings,
)
from clipeval.studies.congress.tables import label_categories
from clipeval.studies.congress.views import limits, notes_of
from clipeval.studies.sentences import listed
from clipeval.studies.showing import say

_REPEATS = """\
All of these people hold the same office. This repeats section 2.1 and Figure 1 of arXiv 2108.02818 and section 7.1 of
arXiv 2103.00020: gender accuracy, occupations, and the labels of three cloud services, on the photographs of Schwemmer
et al. (2020), with the model used as a multi-label classifier.

> Gender is as coded in the replication data, two values, about public persons. The study asks what an instrument says
> of them, not what they are.

Three tasks: two genders; occupations (the list of Bolukbasi et al. 2016, which holds every occupation that the paper
quotes; its own 300 are unpublished); and the labels that Google, Amazon and Microsoft returned for the photographs.
`class_set = "congress:jobs"` leaves out the words of the list that are no occupation."""

_CARDS = """\
The paper names labels but prints no rates, so **the planted rates of test cards are ours**, chosen so that each of its
sentences holds."""

_SENTENCES = """\
## The papers' findings in words

Each sentence, measured. *yes*: the rates differ in this direction, and by more than chance after correction (for
labels that lead: among the most frequent of both genders); *direction only*: they differ so little that chance may do
it. Where a sentence states no threshold, 4 % is used, that of the sentence before."""

_DIFFERENCE = """\
- That rates are those of the paper, or differ from them: it prints none, and neither its list of occupations nor its
  prompts."""


def introduction(session):
    """What is repeated, or which label sets are put to which groups (Markdown)."""
    if session.comparable:
        cards = session.images.attrs.get("planted")
        return Markdown(f"{_REPEATS}\n\n{_CARDS}" if cards else _REPEATS)
    by = ", ".join(session.groupings.names)
    tasks = session.class_set.tasks.items()
    sets = listed([f"{task} ({len(classes):,} classes)" for task, classes in tasks])
    return Markdown(
        f"Of class set {as_markdown(session.class_set.label)}, {as_markdown(sets)} are put to the model, and what it "
        f"answers is compared by {as_markdown(by)}; labels are given as by a multi-label classifier."
    )


def show_findings(session, predictions: pd.DataFrame) -> None:
    """Keep and show the papers' sentences, measured, where the run can be held against them."""
    if not session.comparable:
        return
    say(_SENTENCES)
    how = {
        "correction": session.parameters.correction,
        "categories": label_categories(session),
    }
    table = session.tabulate(published_findings, predictions, **how)
    note = notes_of(session, predictions)
    text = f"Findings that the papers state in words ({FINDINGS_SOURCE}). {note}"
    extra = ["p_adjusted", "test", "holds"]
    display(session.table("published_findings", table, text, extra=extra))
    display(show_frame(findings_summary(table)))


def show_limits(session, predictions: pd.DataFrame):
    """What may not be concluded from this run (Markdown)."""
    lines = [limits(predictions, by) for by in session.groupings.names[:1]]
    if session.comparable:
        lines.append(_DIFFERENCE)
    if session.images.attrs.get("planted"):
        lines.append(
            "- Anything about a model from a run on test cards: they replay planted rates."
        )
    return Markdown("\n".join(lines))
