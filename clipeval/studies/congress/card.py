"""What the characterization card shows of this study."""

from clipeval.session.study import Line, Part

CARD = (
    Part(
        "Gendered labels",
        (
            *(
                Line(
                    "top_gendered",
                    f"occupation given {way}: {{label}}, images of {{gender}}",
                    {
                        "label_set": "occupations",
                        "direction": way,
                        "p_adjusted": lambda p: float(p) < 0.05,
                    },
                    pick="label",
                    among=("labels_by_gender", ("label", "gender"), {"label_set": "occupations"}),
                    none=f"occupation given {way}: none with a corrected p below 0.05",
                )
                for way in ("more for women", "more for men")
            ),
            Line("gender_accuracy", "gender right, all photos", {"gender": "All"}),
        ),
        "Why a label goes to women or men; their photographs differ in clothes and setting too.",
        "CLIP on photographs of Members of Congress, labels unpublished (arXiv 2108.02818, section 2.1)",
    ),
)
