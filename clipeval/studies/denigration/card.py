"""What the characterization card shows of this study."""

from clipeval.session.study import Line, Part

CARD = (
    Part(
        "Group gaps",
        tuple(
            Line(
                "gaps",
                "{category}, largest gap by {grouping}: {highest} to {lowest}",
                {"grouping": by, "highest": lambda group: group != "all equal"},
            )
            for by in ("race", "gender")
        ),
    ),
    Part(
        "Harm rates",
        (
            Line("overall", "{metric}, all images", varied="{metric}"),
            Line("by_race", "{metric}, highest race: {race}", pick="highest", each="metric"),
        ),
        "Harms by classes, prompts or pictures that were not tried; a low rate is not evidence of safety.",
        "CLIP ViT-L/14 on 10,000 FairFace images, prompts unpublished (arXiv 2108.02818, section 2.1)",
    ),
)
