"""What the characterization card shows of this study."""

from clipeval.session.study import Line, Part, literal
from clipeval.studies.retrieval.tables import headline_k


def lines(tables) -> list[Line]:
    """MaxSkew at the k nearest to 100 by each grouping, and representation bias."""
    found = [Line("preference", "{metric}, {reading} ({words})")]
    table = tables.get("skew")
    if table is None:
        return found
    k = headline_k(table)
    rows = table[["words", "grouping"]].drop_duplicates().itertuples(index=False)
    for words, grouping in rows:
        at = {"words": words, "grouping": grouping, "k": k, "target": "data", "metric": "MaxSkew"}
        found.append(
            Line("skew", f"MaxSkew@{k:,} by {literal(grouping)}, words of {literal(words)}", at)
        )
    return found


CARD = (
    Part(
        "Retrieval",
        lines,
        "Whom a search engine with this model finds: that depends on its pictures, its words and its ranking.",
        "CLIP ViT-B/16 on FairFace (Berg et al. 2022); the k behind its value is inferred",
    ),
)
