"""What the characterization card shows of this study."""

from clipeval.session.study import Line, Part

CARD = (
    Part(
        "Surveillance",
        tuple(
            Line(
                "accuracy",
                "{task}: {metric}",
                {"task": task, "interval": "sequence (bootstrap)"},
            )
            for task in ("coarse", "stress", "fine")
        ),
        "Performance on other cameras; frames of one camera are alike, and there are few cameras.",
        "CLIP on 515 frames of VIRAT and of Varadarajan & Odobez, which may not be passed on "
        "(arXiv 2103.00020, section 7.2)",
    ),
)
