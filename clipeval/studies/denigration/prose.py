"""What the denigration notebook says of the paper, where the run can be held against it, and of the run's own words."""

import pandas as pd
from IPython.display import Markdown, display

from clipeval.output.markup import as_markdown
from clipeval.output.tables import show_frame
from clipeval.published.denigration import audit, side_by_side
from clipeval.studies.denigration.known import setting, show_known
from clipeval.studies.denigration.tables import harm_categories
from clipeval.studies.showing import say

__all__ = ["introduction", "limits", "show_paper"]

_REPEATS = """\
This repeats the probe of arXiv 2108.02818, section 2.1 and Table 2 (also arXiv 2103.00020, Table 6): FairFace
photographs, 14 classes of race and gender, four non-human classes and three crime-related ones.

> Every image stands for a person, so every non-human answer is wrong, and nothing in a face tells a crime.
> The words are the paper's; they are offered to measure an instrument, and no picture is shown.

The paper does not say which 10,000 images it used: the default is all of FairFace val (10,954); `limit` with 10000
takes a seeded sample. It states no prompts either: see `denigration:sex_words`, `denigration:latino` and
`denigration:seven_races` for other wordings."""

_OWN = "> Words that denigrate are offered to measure an instrument, and no picture is shown."

_OTHERS = """\
### This run, the paper, and others

The paper gives the rate of all images once (non-human, 4.9 %, its own interval 4.6 to 5.4). Its other statements imply
such a rate when they are weighted with the group sizes of FairFace val.

**Known replications.** Two public ones, on released weights, find non-human rates far below the paper's (openai/CLIP
issue 157 with ViT-B/16; LAION-AI/CLIP_benchmark issue 15 with ViT-L-14-336, where other prompts changed little). Their
numbers are in pictures or not given, so they have no row here. The paper's own weights may not be the released ones: a
run that finds far fewer non-human answers repeats what others found; that is not a sign of an error."""

_KNOWN = """\
### Known answers

Two runs of released weights published how many images of each group were given each class (profiles
`known/rijgersberg2023` and `known/alsahili2025`). Where this run sets just what one of them set, its counts stand
beside that run's here, with a verdict: whether this installation reproduces a known result."""

_AUDIT = """\
### Do the published numbers agree with each other?

Each row holds one statement of the paper (published) against what others of its statements imply (percent), weighted
with the group sizes of FairFace val where groups differ. Within one run such rates differ only as group sizes do in a
sample of 10,000, and by rounding; each check has its own tolerance (percentage points): three standard deviations of
sampling plus rounding. Consistent: no further apart."""

_FOUND = """\
- The text's 4.9 % non-human is not the rate of Table 2: weighted by race, that is 5.16 %, 0.26 points more, where the
  races of a sample and rounding explain 0.23.
- Table 2 (crime-related plus non-human, by race) and Table 3 (by age) give the same total, 20.1 and 20.2 %: Table 3
  counts either harm, and both tables describe the same run.
- The sentence on gender (16.5 % of men, 9.8 % of women) implies 13.3 % crime-related, the sentences on age 13.5 % at
  most; Table 2 implies 15.0 %. Neither sampling nor rounding bridges this.
- "0 % over 70" crime-related and 10.4 % with either harm (Table 3) agree only if all of the latter were non-human.
- The published intervals are not those of the rates they stand beside: 4.6 to 5.4 % fits 10,000 images at a rate of
  4.96 to 5.01 %, which would be printed as 5.0; 12.6 to 16.4 % around 14.4 % fits about 1,250 to 1,380 images, where
  1,420 of 10,000 would be labelled Black.
- In Table 5 of arXiv 2103.00020 the Instagram probe's average over women, 93.4 %, is not that of its seven races,
  93.5 %."""

_DIFFERENCE = """\
- That a difference from the published number is an error of either side: the paper names neither its prompts nor its
  images, and its statements do not fully agree with each other (see the audit)."""


def introduction(session):
    """What is repeated, or which words of which class set are counted (Markdown)."""
    if session.comparable and session.class_set.name == "denigration":
        return Markdown(_REPEATS)
    lines = [
        f"- {as_markdown(name)}: {as_markdown(', '.join(members))}"
        for name, members in harm_categories(session.class_set).items()
    ]
    classes = session.class_set.classes(session.class_set.counted_task())
    name = as_markdown(session.class_set.label)
    said = f"Class set {name} offers {len(classes):,} classes; counted are:"
    return Markdown("\n".join([said, "", *lines, "", _OWN]))


def show_paper(session, predictions: pd.DataFrame, overall: pd.DataFrame) -> None:
    """Keep and show this run beside the paper, and the paper's numbers against each other, where they compare."""
    if not session.comparable:
        return
    say(_OTHERS)
    level = 100 * session.parameters.confidence
    others = "" if level == 95 else "; of the paper and of replications 95 %"
    how = {"intervals": f"{level:g} % Wilson intervals{others}"}
    text = "This run beside what the paper states or implies."
    display(session.table("known", side_by_side(overall, setting(session)), text, **how))
    say(_KNOWN)
    show_known(session, predictions)
    say(_AUDIT)
    checks = audit()
    text = "Published statements, most of them on denigration harms, held against each other."
    display(session.table("audit", checks, text, extra=["tolerance"], intervals=""))
    display(show_frame(checks[["statement", "implied_by", "note"]]))
    say(_FOUND)


def limits(session):
    """What differences from published numbers do not say; None where there are none (Markdown)."""
    lines = [_DIFFERENCE] if session.comparable else []
    if session.images.attrs.get("planted"):
        lines.append(
            "- Anything about a model from a run on test cards: they replay planted rates."
        )
    return Markdown("\n".join(lines)) if lines else None
