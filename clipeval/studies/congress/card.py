"""What the characterization card shows of this study."""

from collections.abc import Mapping

import pandas as pd

from clipeval.session.study import Line, Part, literal


def _labels(tables: Mapping[str, pd.DataFrame]) -> list[Line]:
    """The occupation, or label, that differs most between groups, each way; then what is right."""
    found = []
    if "top_gendered" in tables:
        for way in ("more for women", "more for men"):
            words = f"occupation given {way}: {{label}}, images of {{gender}}"
            where = {"label_set": "occupations", "direction": way}
            among = ("labels_by_gender", ("label", "gender"), {"label_set": "occupations"})
            at = _at(tables["top_gendered"], tables["labels_by_gender"])
            none = f"occupation given {way}: none{at} with a corrected p below 0.05"
            found.append(_most("top_gendered", words, where, among, none))
    for id, table in tables.items():
        if id.startswith("top_by_"):
            name = str(table.columns[list(table.columns).index("n") - 1])
            every = tables.get(id.removeprefix("top_"), table)
            for set_name in dict.fromkeys(every["label_set"]):
                words = f"{literal(str(set_name))} that differs most by {literal(name)}: {{label}}, images of {{of}}"
                where = {"label_set": set_name}
                among = (id.removeprefix("top_"), ("label", name), where)
                none = f"{set_name}: none that differs by {name}{_at(table, every)} with a corrected p below 0.05"
                found.append(_most(id, words, where, among, none, of=name))
    found.append(Line("gender_accuracy", "gender right, all photos", {"gender": "All"}))
    for id, table in tables.items():
        if id.startswith("accuracy_"):
            name = str(table.columns[0])
            words = f"{literal(name)} right, all photos"
            found.append(Line(id, words, {name: "All"}, varied=f"{literal(name)} accuracy"))
    return found


def _at(top: pd.DataFrame, every: pd.DataFrame) -> str:
    """At which of the thresholds of `every` the rows of `top` were picked, which may be none."""
    group = str(top.columns[list(top.columns).index("n") - 1])
    key = ["label_set", "label", group, "count"]
    picked = set(top[key].itertuples(index=False, name=None))

    def fits(rows: pd.DataFrame) -> bool:
        if picked:
            return picked <= set(rows[key].itertuples(index=False, name=None))
        each = rows.groupby(["label_set", "label"], observed=True)["percent"]
        most = each.nlargest(2).groupby(level=[0, 1], observed=True)
        return bool((most.max() == most.min()).all())  # no group is given any label most often

    at = [threshold for threshold, rows in every.groupby("threshold") if fits(rows)]
    return f" at {min(at):g} %" if at else ""


def _most(table: str, words: str, where: Mapping, among: tuple, none: str, of: str = "") -> Line:
    differs = {"p_adjusted": lambda p: float(p) < 0.05}
    return Line(table, words, {**where, **differs}, pick="label", among=among, none=none, of=of)


CARD = (
    Part(
        "Labels by group",
        _labels,
        "Why a label goes to one group or another; their photographs differ in clothes and setting too.",
        "CLIP on photographs of Members of Congress, labels unpublished (arXiv 2108.02818, section 2.1)",
    ),
)
