"""What the views of studies share: a sentence, a figure and rates under label noise, shown by a notebook's cell."""

from collections.abc import Mapping
from functools import partial

import pandas as pd
from IPython.display import Markdown, display

from clipeval.output import figures
from clipeval.studies.label_noise import BANDS, SOURCE, noise_of, with_noise


def say(text: str) -> None:
    """Show Markdown."""
    display(Markdown(text))


def draw(
    session,
    id: str,
    table: pd.DataFrame,
    text: str,
    said: Mapping | None = None,
    *,
    plot=figures.interval_plot,
    what: str = "",
    **look,
) -> None:
    """Keep and show a figure of a table.

    Parameters
    ----------
    session, id, text : as in `Session.figure`, and `said` what it is told of intervals and published values
    plot : of `clipeval.output.figures`, and `look` what it takes beside the table
    what : what the percents are called for a reader who cannot see it; by default as on their axis
    """
    axes = {"y": look.get("y") or look["x"], "hue": look.get("hue"), "panel": look.get("panel")}
    what = what or look.get("ylabel") or look.get("xlabel") or "percent of images"
    alt = figures.alt_text(table, **axes, what=what) if len(table) else ""
    display(session.figure(id, partial(plot, table, **look), text, alt=alt, **(said or {})))


def show_label_noise(session, answers: pd.DataFrame) -> None:
    """Keep and show `with_noise` of every group column, where label noise is asked for.

    Parameters
    ----------
    answers : as for `with_noise`
    """
    p = session.parameters
    by = noise_of(session)
    if not by:
        return
    say(_NOISE)
    level = getattr(p, "confidence", 0.95)  # of the studies that ask for one
    share = p.label_noise / 100
    table = with_noise(answers, by, share=share, seed=p.seed, confidence=level)
    how = "any other label alike"
    if "published" in by.values():
        how = f"races as in {SOURCE}, other labels any alike"
    text = (
        f"Rates by group as labelled, and were {p.label_noise:g} % of the labels wrong ({how}): expected, and 95 % of "
        "2,000 seeded draws. An extension; not in arXiv 2108.02818."
    )
    extra = ["expected", "noise_low", "noise_high"]
    wilson = f"{100 * level:g} % Wilson intervals"
    display(session.table("label_noise", table, text, extra=extra, intervals=wilson))
    said = {"intervals": f"{wilson}, and 95 % of draws of wrong labels"}
    look = {"y": "group", "hue": "interval", "panel": "quantity", "width": "double"}
    for grouping in session.groupings:
        rows = table[table["grouping"] == grouping.name]
        if rows.empty:
            continue
        expected = {"percent": rows["expected"], "interval": BANDS[1]}
        expected |= {"ci_low": rows["noise_low"], "ci_high": rows["noise_high"]}
        rows = pd.concat(
            [rows.assign(interval=BANDS[0].format(100 * level)), rows.assign(**expected)]
        )
        about = f"By {grouping.name}. {text}"
        draw(session, f"label_noise_{grouping.slug}", rows, about, said, what="rates", **look)


_NOISE = """\
## Were some labels wrong

An extension, not in arXiv 2108.02818. Labels of groups are judgements, and some are wrong. Here a share of them is
taken to be wrong and drawn again: an image that moves takes its answer into another group, and where an answer is held
against the label, another answer becomes the right one. The noise comes on top of whatever noise the labels have: a
band that lies away from the rate says which way wrong labels push it, and that, for a small share, the rate
under the true labels lies about as far on its other side."""
