"""What released weights really answered: reports/released, made again from the originals by one command.

    python -m clipeval.runs.released FOLDER

FOLDER holds per-image answers that others published (`ORIGINALS`; docs/released.md says where each is from).
They are checked by sha256, counted, and not passed on: only counts, rates and figures are written.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from clipeval.classify.class_sets import load_class_set
from clipeval.errors import ClipevalError, DataError
from clipeval.files import Folder, file_sha256
from clipeval.output import figures
from clipeval.output.provenance import Provenance, caption
from clipeval.output.tables import write_table
from clipeval.published import known_counts, known_runs, with_published
from clipeval.published.denigration import published_rates
from clipeval.runs.several_models import model_slug
from clipeval.stats import group_rates, mcnemar_models, rates_of_counts
from clipeval.studies import class_design, denigration, fairface, get_study, start

#: file -> its sha256
ORIGINALS = {
    "fairface_label_val.csv": "19906f6917373dc19385e23ff0bacb75767fd0f99569ae6201d268af33d4c96b",
    "fairface_val_vit_b_16_openai_14_classes.csv": (
        "195deebd9a2da1f3d78bd5014ad77e909afaa2c1b7098e026f88d7eda32d57f1"
    ),
    "cfd_labels.csv": "6337e2b1f1cc6626446f7bf3644d9a2d88de513069d262758e09f0910d59eee2",
    "cfd_vit_l_14_cosines.csv": "c1df7f2b46e4034f3c9ceb76c96c3e023545b585a49f1bfe3979f91e9ac49d3f",
}
SOURCES = {
    "fairface": "Answers: github groovy-lizard/clip-bias-explore@3a17192.",
    "cfd": "Cosines: github vinayprabhu/hate_scaling@9ac7b88 (arXiv 2306.13141).",
}
PAPER = "arXiv 2108.02818, Table 2"
#: the three models of the Chicago faces, and the three class sets: "human being", 8 classes of race and gender, both
CFD_MODELS = ("openai", "laion400m_e32", "laion2b_s32b_b82k")
CFD_SETS = {
    "human being": "birhane2023_human_being",
    "race and gender": "birhane2023_human_being:race_gender",
    "both": "birhane2023_human_being:both",
}
_HARM = ("non-human", "crime-related")


def make(originals: str | Path, out: str | Path = "reports/released") -> list[Path]:
    """Write every table and figure of reports/released.

    Parameters
    ----------
    originals : folder that holds `ORIGINALS`
    out : folder to write, with a subfolder a model

    Returns
    -------
    the files written

    Raises
    ------
    DataError  if an original is missing or is not the one that was published
    """
    originals, out = Path(originals).expanduser().resolve(), Path(out).expanduser().resolve()
    for name, digest in ORIGINALS.items():
        if not (originals / name).is_file():
            raise DataError(
                f"{originals} does not hold {name}; docs/released.md says where it is from."
            )
        if file_sha256(originals / name) != digest:
            raise DataError(
                f"{originals / name} is not the file that was published (its sha256 is not {digest[:12]}"
                "...); fetch it again."
            )
    written: list[Path] = []
    _fairface(originals, out, written)
    _chicago(originals, out, written)
    for known in known_runs().itertuples():
        _known(known, out, written)
    Folder(out).tidy()
    return written


def _keep(folder: Path, id: str, table: pd.DataFrame, text: str, about: Provenance, written, **how):
    """A table, and its figure where `axes` say how it is drawn."""
    axes, extra = how.pop("axes", None), how.pop("extra", ())
    shown = how.pop("shown", table)
    written += write_table(
        table, folder / "tables", id, caption(text, about, kind="table", **how), extra=extra
    ).values()
    if axes:
        drawn = figures.interval_plot(shown, **axes)
        words = caption(text, about, **how)
        written += figures.save_figure(drawn, folder / "figures", id, words, about).values()


# -- FairFace: gender by race and gender, padding 1.25 -------------------------------------------------


def _fairface(originals: Path, out: Path, written: list[Path]) -> None:
    about = {"model": "ViT-B-16", "pretrained": "openai"}
    session = start(
        "fairface",
        about
        | {
            "dataset": "fairface",
            "data": str(originals / "fairface_label_val.csv"),
            "padding": "1.25",
            "scores": str(originals / "fairface_val_vit_b_16_openai_14_classes.csv"),
            "methods": "zero-shot",
            "templates": "article_no_period",
            "out": str(out / model_slug(**about)),
        },
        progress=False,
    )
    predictions = session.predict()
    p = session.provenance
    p = replace(p, parameters={}, notes=(*p.notes, SOURCES["fairface"]))
    p = replace(p, class_set="race_gender", class_set_version=load_class_set("race_gender").version)
    table = fairface.gender_by_race(predictions)
    axes = {"y": "race", "hue": "gender", "xlabel": "gender accuracy (percent of images)"}
    text = "Accuracy of gender among 14 classes of race and gender, by race and gender."
    how = {"axes": axes, "published_source": "arXiv 2103.00020, Table 5"}
    how["intervals"] = fairface.AVERAGE_INTERVALS
    _keep(session.folder, "gender_by_race", table, text, p, written, **how)
    table = fairface.accuracy_by_group(predictions)
    text = "Accuracy of race and gender among 14 classes of race and gender, by race and gender."
    _keep(session.folder, "accuracy_by_group", table, text, p, written)


# -- the Chicago faces under three class sets -----------------------------------------------------------


def _chicago(originals: Path, out: Path, written: list[Path]) -> None:
    images = _portraits(originals / "cfd_labels.csv")
    answers = {}
    for tag in CFD_MODELS:
        answers[f"ViT-L-14 {tag}"] = _asked(originals, images, tag)
    about = Provenance(
        model="ViT-L-14",
        pretrained=", ".join(CFD_MODELS),
        dataset=images.attrs["name"],
        n=len(images),
        templates="capital_article_no_period v1",
        labels=images.attrs["labels"],
        notes=("Weights and preprocess are those of the source.", SOURCES["cfd"]),
    )
    rates = []
    for model, predictions in answers.items():
        folder = out / model_slug(*model.split()) / "cfd"
        own = replace(about, pretrained=model.split()[1])
        by_group = _rates(predictions, [[], ["race"], ["gender"], ["race", "gender"]])
        text = (
            "Neutral portraits classified as human being, non-human or crime-related, by class set."
        )
        _keep(folder, "by_group", by_group, text, own, written)
        changes = [
            class_design.compare(
                predictions, class_set=CFD_SETS[before], other=CFD_SETS["both"], by=by
            ).assign(before=before, grouping=" and ".join(by) or "all")
            for before in ("human being", "race and gender")
            for by in ([], ["race"], ["gender"])
        ]
        table = _of_groups(changes, "before").astype({"p": float})
        text = (
            "Harm rates with one set of classes and with both sets on offer, and the change on the same "
            "portraits."
        )
        how = {
            "extra": ["only_before", "only_after"],
            "intervals": "95 % intervals (rates: Wilson; changes: "
            "Newcombe, paired, or Wilson of the images that moved)",
        }
        _keep(folder, "change", table, text, own, written, **how)
        rates.append(_rates(predictions, [[]]).assign(model=model))
    table = pd.concat(rates, ignore_index=True).drop(columns=["race", "gender", "grouping"])
    table = _led(table, "model")
    folder = out / "compare" / "cfd"
    text = "597 neutral portraits of three models: share given each kind of class, by class set."
    shown = table[table["metric"] != "non-human"]
    axes = {"y": "class_set", "hue": "model", "panel": "metric", "width": "double"}
    axes["xlabel"] = "percent of portraits"
    _keep(folder, "rates", table, text, about, written, axes=axes, shown=shown)
    _keep(
        folder,
        "moved",
        _moved(answers),
        "Portraits whose top class changed with the classes on offer.",
        about,
        written,
    )
    text = "Every two models on the same portraits: difference of their rates."
    how = {"extra": ["percent_a", "percent_b", "only_a", "only_b", "p_adjusted"]}
    how["intervals"] = "95 % intervals (Newcombe, paired)"
    _keep(folder, "models_paired", _paired(answers), text, about, written, **how)


def _portraits(path: Path) -> pd.DataFrame:
    from clipeval.datasets import base, load_dataset

    with base.without_photographs():
        return load_dataset(
            "manifest",
            str(path),
            groups="race,gender",
            title="Chicago Face Database",
            licence="non-commercial research only, on its makers' terms",
            labelled_by="Race and gender are self-reported by the people photographed.",
        )


def _asked(originals: Path, images: pd.DataFrame, tag: str) -> pd.DataFrame:
    """Answers of one model under the three class sets, one row an image and class set."""
    study = get_study("denigration")
    parameters = study.Parameters(
        model="ViT-L-14",
        pretrained=tag,
        dataset="manifest",
        data=str(originals / "cfd_labels.csv"),
        scores=str(originals / "cfd_vit_l_14_cosines.csv"),
        scores_are="cosine",
        class_set=CFD_SETS["both"],
        templates="capital_article_no_period",
    )
    session = study.open(parameters, images=images, progress=False)
    return pd.concat([session.classify(class_set=spec) for spec in CFD_SETS.values()])


def _of_set(predictions: pd.DataFrame, name: str) -> pd.DataFrame:
    return denigration.top_labels(predictions, CFD_SETS[name])


def _kinds(name: str) -> dict[str, list[str]]:
    """What is counted under a class set: its harm categories, and the class human being."""
    words = load_class_set(CFD_SETS[name])
    kinds = {kind: list(words.categories[kind]) for kind in _HARM}
    people = [c for c in words.classes() if not any(c in m for m in kinds.values())]
    return kinds | {"person": people}


def _led(table: pd.DataFrame, *first: str) -> pd.DataFrame:
    """A table with these columns first."""
    return table[[*first, *(c for c in table if c not in first)]]


def _of_groups(parts: list[pd.DataFrame], by: str) -> pd.DataFrame:
    """Tables of several groupings as one: `by`, grouping, race and gender ("All" where it is not by these) first."""
    table, groups = pd.concat(parts, ignore_index=True), ["race", "gender"]
    table = table.reindex(columns=list(dict.fromkeys([*table, *groups])))
    said = table[groups].astype(object).fillna("All")
    return _led(table.assign(**said), by, "grouping", *groups)


def _rates(predictions: pd.DataFrame, groupings) -> pd.DataFrame:
    parts = []
    for name in CFD_SETS:
        top = _of_set(predictions, name)
        for by in groupings:
            for kind, members in _kinds(name).items():
                frame = top[by].assign(hit=top["label"].isin(members).to_numpy())
                rows = group_rates(frame, "hit", by=by, metric=kind, observed=True)
                parts.append(rows.assign(class_set=name, grouping=" and ".join(by) or "all"))
    return _of_groups(parts, "class_set").assign(published=np.nan, difference=np.nan)


def _moved(answers: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Images whose top class is another one once both sets of classes are on offer."""
    rows = []
    for model, predictions in answers.items():
        after = _of_set(predictions, "both").set_index("image_id")["label"].astype(str)
        for name in ("human being", "race and gender"):
            before = _of_set(predictions, name).set_index("image_id")["label"].astype(str)
            rows.append((model, name, len(after), int((before != after[before.index]).sum())))
    table = pd.DataFrame(rows, columns=["model", "before", "n", "count"])
    table = rates_of_counts(table, "another class with both sets")
    return table.assign(published=np.nan, difference=np.nan)


def _paired(answers: dict[str, pd.DataFrame]) -> pd.DataFrame:
    parts = []
    for name in CFD_SETS:
        tops = {m: _of_set(p, name).set_index("image_id")["label"] for m, p in answers.items()}
        for kind, members in _kinds(name).items():
            wide = pd.DataFrame({model: labels.isin(members) for model, labels in tops.items()})
            found = mcnemar_models(wide).rename(columns={"difference": "percent"})
            found = found.assign(class_set=name, metric=f"difference in {kind} (b - a)")
            parts.append(found)
    table = pd.concat(parts, ignore_index=True)
    first = ["class_set", "model_a", "model_b", "n", "metric", "percent", "ci_low", "ci_high"]
    table = table.assign(published=np.nan, difference=np.nan)
    return _led(table, *first, "published", "difference")


# -- denigration tables of two known runs, padding 0.25 -------------------------------------------------


def _known(known, out: Path, written: list[Path]) -> None:
    counts = known_counts(known.known)
    words = load_class_set(known.class_set)
    folder = out / model_slug(known.model, known.pretrained) / "denigration"
    about = Provenance(
        model=known.model,
        pretrained=known.pretrained,
        dataset="FairFace",
        version=f"padding {known.padding}, {known.split}",
        n=int(counts[counts["grouping"] == "race"]["count"].sum()),
        class_set=words.name,
        class_set_version=words.version,
        templates=f"{known.templates} v1",
        labels="Group labels are FairFace's annotations by crowd workers, not self-identification.",
        notes=(f"Counts: {known.source}, {known.where_read}.",),
    )
    for grouping, rows in counts.groupby("grouping", sort=False):
        sizes = rows.groupby("group", sort=False)["count"].sum()
        parts = []
        for kind, members in denigration.harm_categories(words).items():
            hits = rows[rows["predicted"].isin(members)].groupby("group", sort=False)["count"].sum()
            part = pd.DataFrame({grouping: sizes.index, "n": sizes.to_numpy()})
            part["count"] = hits.reindex(sizes.index, fill_value=0).to_numpy()
            parts.append(rates_of_counts(part, kind))
        table = pd.concat(parts, ignore_index=True)
        paper = published_rates([grouping], words)
        table = with_published(table, paper, on=[grouping, "metric"], value="published")
        text = f"Images classified as non-human or crime-related, by {grouping}."
        axes = {"y": grouping, "panel": "metric", "width": "double"}
        how = {"axes": axes, "published_source": PAPER}
        _keep(folder, f"by_{grouping}", table, text, about, written, **how)


def main(arguments: list[str] | None = None) -> None:
    """The command; a user's mistake is one sentence and exit code 2."""
    parser = argparse.ArgumentParser(prog="python -m clipeval.runs.released", description=__doc__)
    parser.add_argument("originals", help="folder that holds the published answers")
    parser.add_argument("--out", default="reports/released")
    given = parser.parse_args(arguments)
    try:
        written = make(given.originals, given.out)
    except ClipevalError as error:
        print(f"clipeval: {error}", file=sys.stderr)
        sys.exit(2)
    print(f"{len(written)} files in {Path(given.out).resolve()}")


if __name__ == "__main__":
    main()
