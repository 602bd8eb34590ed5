"""What the retrieval notebook shows of groups, examples and names: tables, figures and sentences."""

import pandas as pd
from IPython.display import display

from clipeval.output import figures
from clipeval.output.markup import as_markdown, markdown
from clipeval.output.numbers import number
from clipeval.studies.retrieval import preference as preferences
from clipeval.studies.retrieval.tables import (
    INTERVALS,
    by_template,
    choices,
    examples,
    found_by,
    skew,
)
from clipeval.studies.showing import draw, say

SOURCE = "Berg et al. 2022 (arXiv 2203.11933), CLIP ViT-B/16; k = 1,000 is inferred"
_WILSON = {"intervals": "95 % Wilson intervals, as if the images found were drawn one by one"}
SHOWN_NAMES = 10  # of each group, in the figure


def show_skew(session) -> pd.DataFrame:
    """Keep and show the table `skew`, and draw MaxSkew over k with what chance gives."""
    table = skew(session)
    text = "MaxSkew and NDKL of the images nearest to each prompt, mean over all prompts, in nats."
    said = {
        "intervals": INTERVALS,
        "published_source": SOURCE if table["published"].notna().any() else "",
    }
    extra = ["prompts", "prompt_low", "prompt_high", "chance", "chance_high"]
    display(session.table("skew", table, text, extra=extra, **said))
    own = table["words"] == session.class_set.spec
    drawn = table[own & (table["metric"] == "MaxSkew") & (table["target"] == "data")]
    drawn = drawn.assign(published=float("nan"))
    if len(drawn):
        text = "MaxSkew at k, mean over all prompts, against the data set's own shares; dashed: groups shuffled."
        look = {
            "x": "k",
            "panel": "grouping",
            "log_x": drawn["k"].nunique() > 2,
            "chance": "chance",
        }
        look |= {"width": "single" if drawn["grouping"].nunique() == 1 else "double"}
        look |= {"xlabel": "k, images found", "ylabel": "MaxSkew, nats", "what": "MaxSkew"}
        said = {"intervals": INTERVALS}
        draw(session, "skew", drawn, text, said, plot=figures.line_by, **look)
    return table


def show_found(session) -> None:
    """Keep and show who is found for each word, by each grouping, and draw the words that are shown."""
    for grouping in session.groupings:
        name = grouping.name
        say(f"### By {as_markdown(name)}")
        table = found_by(session, name)
        text = f"Of the {session.found_k:,} images nearest to each word, the share of each group, by {name}."
        display(session.table(grouping.id, table, text, extra=["in_data", "skew"], **_WILSON))
        drawn = examples(session, table, name)
        text = f"Who is among the {session.found_k:,} images nearest to a word, beside all images, by {name}."
        look = {"y": name, "hue": "word"}
        draw(session, grouping.id, drawn, text, _WILSON, **look)


def show_choices(session) -> None:
    """Keep and show how far the template moves MaxSkew, and each choice of Berg et al."""
    table = by_template(session)
    text = f"MaxSkew@{session.found_k:,} by template, mean over the words; target: the data set's own shares."
    display(
        session.table("templates", table, text, intervals="95 % bootstrap intervals over words")
    )
    for name, rows in table.groupby("grouping", sort=False):
        low, high = (number(v, 3) for v in (rows["percent"].min(), rows["percent"].max()))
        said = {"name": name, "low": low, "high": high}
        say(markdown("By {name}, from {low} to {high} over the templates.", **said))
    if len(table := choices(session)):
        text = "What each choice of Berg et al. (2022) moves: MaxSkew@k, uniform target, mean over all prompts."
        display(session.table("choices", table, text, intervals=""))


def show_preference(session) -> None:
    """Keep and show representation bias; a sentence where it cannot be measured."""
    table, each = preferences.preference(session), preferences.by_name(session)
    if table.empty:
        say(" ".join([*session.asked[1], *preferences.left_out(session)]))
        return
    first, second = preferences.pair(session)
    text = (
        f"Preference for photographs labelled {first} over those labelled {second}, mean over names; "
        "50 % is no preference."
    )
    extra = ["bias", "names", "name_low", "name_high"]
    display(session.table("preference", table, text, extra=extra, intervals=INTERVALS))
    text = f"Pairs of photographs, labelled {first} and {second}, of which the former is nearer to the name."
    display(session.table("names", each, text, intervals=INTERVALS))
    order = each.sort_values("percent", ascending=False, kind="stable")
    if len(order) > 2 * SHOWN_NAMES:
        order = pd.concat([order[:SHOWN_NAMES], order[-SHOWN_NAMES:]])
        text += f" The {SHOWN_NAMES} names at either end of {len(each):,}."
    look = {"y": "word", "mark": 50.0, "xlabel": f"percent of pairs, {first} nearer"}
    draw(session, "names", order, text, {"intervals": INTERVALS}, **look)


def in_words(table: pd.DataFrame) -> str:
    """Which skews are above what shuffled groups give: one sentence."""
    rows = table[(table["metric"] == "MaxSkew") & (table["target"] == "data")]
    above = rows["percent"] > rows["chance_high"]
    return (
        f"{int(above.sum()):,} of {len(rows):,} values of MaxSkew against the data set's own shares are above the 95th "
        "percentile of shuffled groups; were the rankings blind to the groups, 5 % would be, on average."
    )
