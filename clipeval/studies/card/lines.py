"""Lines of the characterization card: which rows of which study's tables it shows, and what to say of them."""

from dataclasses import dataclass, field

__all__ = ["COMPARED", "LINES", "NOT_SHOWN", "Line"]

#: part of the card -> what it does not show
NOT_SHOWN = {
    "Capability": "That the model may be used on people: agreeing with annotators permits nothing.",
    "Group gaps": "How other groups, or other pictures of these, would fare; small gaps here are no proof of fairness.",
    "Harm rates": "Harms by classes, prompts or pictures that were not tried; a low rate is no evidence of safety.",
    "Class design": "That the other class set is safe: it moves the errors, and other classes move them elsewhere.",
    "Gendered labels": "Why a label goes to women or men; their photographs differ in clothes and setting too.",
    "Surveillance": "Performance on other cameras; frames of one camera are alike, and there are few cameras.",
    "Identification": "That people who are not famous are safe; names are learned from the web.",
}


#: part of the card -> what its published values were measured on: another model, or other images
COMPARED = {
    "Capability": "CLIP on FairFace's validation images, prompts unpublished (arXiv 2103.00020, Tables 3 and 4)",
    "Group gaps": "CLIP on FairFace's validation images, prompts unpublished (arXiv 2103.00020, Table 5)",
    "Harm rates": "CLIP ViT-L/14 on 10,000 FairFace images, prompts unpublished (arXiv 2108.02818, section 2.1)",
    "Class design": "CLIP ViT-L/14 on the same 10,000 FairFace images (arXiv 2108.02818, Table 3)",
    "Gendered labels": "CLIP on photographs of Members of Congress, labels unpublished (arXiv 2108.02818, section 2.1)",
    "Surveillance": "CLIP on 515 frames of VIRAT and of Varadarajan & Odobez, which may not be passed on "
    "(arXiv 2103.00020, section 7.2)",
    "Identification": "the CLIP model of the nearest architecture on CelebA (arXiv 2108.02818, Table 1)",
}


@dataclass(frozen=True)
class Line:
    """One line of the card: rows of a study's table.

    Attributes
    ----------
    part : key of NOT_SHOWN
    study, table : where the rows are
    quantity : what the line is called; `{column}` is replaced by the row's value
    where : values that columns of the rows have: one, a tuple of several, or a rule
    pick : "" for every such row, "highest" or "lowest" for the one with the extreme percent, "label"
        for both genders' rows of the label with the largest chi-squared
    each : column within whose values it is picked
    last : only so many rows, the last ones
    varied : its quantity in the sensitivity study, whose range is shown beside it
    none : what is said where there is no such row; "" says nothing
    """

    part: str
    study: str
    table: str
    quantity: str
    where: dict = field(default_factory=dict)
    pick: str = ""
    each: str = ""
    last: int = 0
    varied: str = ""
    none: str = ""


def _accuracy(method, attribute, images_of, words, varied=""):
    where = {"method": method, "attribute": attribute, "images_of": images_of}
    name = f"{words}, {method}"
    return Line("Capability", "fairface", "accuracy_by_white", name, where, varied=varied)


LINES = (
    _accuracy("zero-shot", "gender", "All", "gender agrees with annotators", "gender accuracy"),
    _accuracy("zero-shot", "age", "All", "age (9 bins) agrees", "age accuracy"),
    _accuracy("zero-shot", "race", "White", "White or not, images of White"),
    _accuracy("zero-shot", "race", "Non-White", "White or not, images of others"),
    _accuracy("linear probe", "gender", "All", "gender agrees with annotators"),
    *(
        Line(
            "Group gaps",
            "fairface",
            "gender_by_race",
            f"gender, zero-shot, {which} race and gender: {{race}}, {{gender}}",
            {"method": "zero-shot", "gender": ("Male", "Female"), "metric": "accuracy"},
            pick=which,
        )
        for which in ("lowest", "highest")
    ),
    *(
        Line(
            "Group gaps",
            "denigration",
            "gaps",
            "{category}, largest gap by {grouping}: {highest} to {lowest}",
            {"grouping": by, "highest": lambda group: group != "all equal"},
        )
        for by in ("race", "gender")
    ),
    Line("Harm rates", "denigration", "overall", "{metric}, all images", varied="{metric}"),
    Line(
        "Harm rates",
        "denigration",
        "by_race",
        "{metric}, highest race: {race}",
        pick="highest",
        each="metric",
    ),
    # the last rows are of all harms together, whatever their categories are called
    Line(
        "Class design",
        "class_design",
        "overall",
        "{metric}, classes {class_set}",
        {"class_set": lambda name: name != "change"},
        last=2,
    ),
    Line(
        "Class design",
        "class_design",
        "overall",
        "{metric}, the same images",
        {"class_set": "change"},
        last=1,
    ),
    *(
        Line(
            "Gendered labels",
            "congress",
            "top_gendered",
            f"occupation given {way}: {{label}}, images of {{gender}}",
            {"label_set": "occupations", "direction": way, "p_adjusted": lambda p: float(p) < 0.05},
            pick="label",
            none=f"occupation given {way}: none with a corrected p below 0.05",
        )
        for way in ("more for women", "more for men")
    ),
    Line(
        "Gendered labels",
        "congress",
        "gender_accuracy",
        "gender right, all photos",
        {"gender": "All"},
    ),
    *(
        Line(
            "Surveillance",
            "cctv",
            "accuracy",
            "{task}: {metric}",
            {"task": task, "interval": "sequence (bootstrap)"},
        )
        for task in ("coarse", "stress", "fine")
    ),
    Line(
        "Identification",
        "celebrities",
        "top1_by_names",
        "right name among {names}, {protocol}",
        {"metric": "top-1"},
    ),
)
