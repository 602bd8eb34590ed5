"""What the characterization card shows of this study."""

from clipeval.session.study import Line, Part


def _accuracy(method, attribute, images_of, words, varied=""):
    where = {"method": method, "attribute": attribute, "images_of": images_of}
    return Line("accuracy_by_white", f"{words}, {method}", where, varied=varied)


CARD = (
    Part(
        "Capability",
        (
            _accuracy(
                "zero-shot", "gender", "All", "gender agrees with annotators", "gender accuracy"
            ),
            _accuracy("zero-shot", "age", "All", "age (9 bins) agrees", "age accuracy"),
            _accuracy("zero-shot", "race", "White", "White or not, images of White"),
            _accuracy("zero-shot", "race", "Non-White", "White or not, images of others"),
            _accuracy("linear probe", "gender", "All", "gender agrees with annotators"),
        ),
        "That the model may be used on people: agreeing with annotators permits nothing.",
        "CLIP on FairFace's validation images, prompts unpublished (arXiv 2103.00020, Tables 3 and 4)",
    ),
    Part(
        "Group gaps",
        tuple(
            Line(
                "gender_by_race",
                f"gender, zero-shot, {which} race and gender: {{race}}, {{gender}}",
                {"method": "zero-shot", "gender": ("Male", "Female"), "metric": "accuracy"},
                pick=which,
            )
            for which in ("lowest", "highest")
        ),
        "How other groups, or other pictures of these, would fare; small gaps here are no proof of fairness.",
        "CLIP on FairFace's validation images, prompts unpublished (arXiv 2103.00020, Table 5)",
    ),
)
