"""What would fail in hour three, said in second three: checks before any image is embedded."""

from dataclasses import dataclass

import numpy as np

from clipeval.errors import ClipevalError, ModelError
from clipeval.output.numbers import number
from clipeval.session.parameters import Parameters, refuse_cards
from clipeval.session.run_folder import check_out, check_writable
from clipeval.sources import ahead
from clipeval.stats import smallest_difference
from clipeval.studies import get_study

BASE_RATE = 0.05  # at which the check says how small a difference can be seen
MOST_GROUPS = 20  # of one grouping, such as ages; more are names rather than groups


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: `problem` is empty where it is well."""

    study: str
    what: str
    detail: str = ""
    problem: str = ""


def check_plan(plan: dict[str, Parameters]) -> list[Finding]:
    """Look at data, classes, model and run folder of every study; nothing is downloaded or embedded.

    Parameters
    ----------
    plan : dict of study id to Parameters, as from `profiles.plan_run`

    Returns
    -------
    list of Finding, in the order of the studies
    """
    findings = []
    ahead.forget()
    for study, parameters in plan.items():
        session = get_study(study).open(parameters, progress=False)
        steps = [("run folder", _run_folder, ())]
        if not session.study.is_summary:
            steps += [
                ("store", _store, ()),
                ("data set", _data, ()),
                ("classes", _classes, ()),
                ("model", _model, ("data set",)),
                ("cards", lambda session: refuse_cards(session.parameters), ("model",)),
            ]
            steps.append(("study", session.study.check, ("data set", "classes")))
            steps.append(("prompts", _prompts, ("classes", "model")))
            steps.append(("power", _power, ("data set",)))
        failed = set()
        for what, step, needs in steps:
            if failed.isdisjoint(needs):
                try:
                    detail = step(session)
                    if detail is not None:
                        findings.append(Finding(study, what, detail=detail))
                    continue
                except ClipevalError as error:
                    findings += [Finding(study, what, problem=text) for text in error.problems]
            failed.add(what)
    return findings


def _run_folder(session) -> str:
    """The run folder can be written."""
    return str(check_out(session.parameters))


def _store(session) -> None:
    """The store is there, perhaps another's to read only, or can be made."""
    if not session.store.root.is_dir():
        check_writable("store", session.store.root)


def _data(session) -> str:
    attrs = session.images.attrs
    notes = "".join(f"; {note}" for note in attrs.get("notes", []))
    return f"{attrs['name']}, {attrs.get('version', '')}: {len(session.images):,} images{notes}"


def _power(session) -> str | None:
    """The smallest differences that these group sizes are likely to show, before anything is computed."""
    images, said = session.images, []
    for name in images.attrs.get("groups", []):
        sizes = images[name].value_counts()
        sizes = sizes[sizes > 0]
        if not 2 <= len(sizes) <= MOST_GROUPS:
            continue
        points = smallest_difference(sizes, BASE_RATE)
        at = int(np.nan_to_num(points, nan=np.inf).argmax())
        least = (
            f"{number(points[at])} points" if points[at] == points[at] else "none that is possible"
        )
        said.append(f"{name} {least} ({sizes.index[at]}, n = {sizes.iloc[at]:,})")
    if not said:
        return None
    return (
        "smallest difference between one group and the others that is found with 80 % power "
        f"(test at 5 %, other groups at {100 * BASE_RATE:g} %), for the group that shows the least: "
        + ", ".join(said)
    )


def _classes(session) -> str:
    """Class set and templates load."""
    said = [session.templates.label]
    if session.parameters.class_set:
        said.insert(0, session.class_set.label)
    return ", templates ".join(said)


def _model(session) -> str:
    """The model is known, its activation right, its weights at hand or to be downloaded."""
    found = session.source.check_model(session.study)
    if session.source.may_embed and session.parameters.model == "testcard":
        _check_card(session)
    return found


def _check_card(session) -> None:
    """The first image is a card: otherwise a model was forgotten, and not one image could be read."""
    from clipeval.embedding.images import UnreadableImage, decode_image, read_bytes
    from clipeval.models.testcard import CARD_SIZE

    first = session.images.iloc[0]
    try:
        row = int(first["row"]) if "row" in first else None
        size = decode_image(read_bytes(first["file"], row))[0].size
    except UnreadableImage:
        size = (CARD_SIZE, CARD_SIZE)  # is listed later
    if size != (CARD_SIZE, CARD_SIZE):
        raise ModelError(
            f"model=testcard reads only cards of {CARD_SIZE} x {CARD_SIZE} pixels, and "
            f"{first['image_id']} has {size[0]} x {size[1]}; name a real model for photographs."
        )


def _prompts(session) -> str | None:
    """No prompt would be truncated and no two classes are one text, as far as the tokenizer is at hand."""
    try:
        offers = session.study.rivals(session)
        prompts = session.study.prompts(session)
    except ClipevalError:
        return None  # the data set's or the study's own check has said it
    if not prompts:
        return None
    said = session.source.check_texts(prompts)
    session.refuse_one_text(offers, ahead=True)
    return said
