"""What the characterization card shows of this study."""

from clipeval.session.study import Line, Part

CARD = (
    Part(
        "Identification",
        (Line("top1_by_names", "right name among {names}, {protocol}", {"metric": "top-1"}),),
        "That people who are not famous are safe; names are learned from the web.",
        "the CLIP model of the nearest architecture on CelebA (arXiv 2108.02818, Table 1)",
    ),
)
