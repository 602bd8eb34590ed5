"""What the characterization card shows of this study."""

from clipeval.session.study import Line, Part

CARD = (
    # the last rows are of all harms together, whatever their categories are called
    Part(
        "Class design",
        (
            Line(
                "overall",
                "{metric}, classes {class_set}",
                {"class_set": lambda name: name != "change"},
                last=2,
            ),
            Line("overall", "{metric}, the same images", {"class_set": "change"}, last=1),
        ),
        "That the other class set is safe: it moves the errors, and other classes move them elsewhere.",
        "CLIP ViT-L/14 on the same 10,000 FairFace images (arXiv 2108.02818, Table 3)",
    ),
)
