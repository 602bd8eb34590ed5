"""What was done in a run, as the methods section of a paper says it: plain text, from the run's records alone."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from clipeval.classify.class_sets import NOT_STATED
from clipeval.models.info import ModelInfo
from clipeval.output.provenance import EMBED
from clipeval.runs.finished import Run
from clipeval.session.parameters import names_in
from clipeval.session.record import RunRecord, StudyRecord
from clipeval.session.study import Study
from clipeval.sources.base import ELSEWHERE
from clipeval.studies import STUDIES
from clipeval.studies.sentences import listed

_ACTIVATIONS = {"quickgelu": "QuickGELU", "gelu": "GELU"}
_HELD = {"cosine": "cosines", "logit": "logits", "prob": "probabilities"}
_OTHER_WAY = re.compile(r" \([^()]+, [^()]+\)$")
#: packages besides that decide a number, as a paper names them
_PACKAGES = {"python": "Python"} | {name: name for name in EMBED} | {"open_clip_torch": "open_clip"}


def in_order(run: RunRecord) -> list[StudyRecord]:
    """The records of a run in the order of the studies; of studies that are not here last."""
    order = list(STUDIES)
    return sorted(
        run.studies.values(),
        key=lambda r: order.index(r.study) if r.study in order else len(order),
    )


def methods(run: Run) -> dict[str, str]:
    """Heading -> text of the methods section of a run.

    Parameters
    ----------
    run : as from `clipeval.load_run`

    Returns
    -------
    dict of plain text: what all studies, or several of them, share, by part; then what one alone does, by its
    title. What a run does not know is either said to be unknown or not spoken of.
    """
    records = in_order(run.record)
    asked = [record for record in records if record.dataset and record.model]
    parts = {
        "Model": [_model(r) for r in asked],
        "Images": [_images(r) for r in asked],
        "Group labels": [_labels(r) for r in asked],
        "Classes and prompts": [_words(r, run.prompts(r.study)) for r in asked],
        "Decisions and tests": [[*_scores(r.model), *_of_study(r)] for r in asked],
        "Intervals": [_intervals(r) for r in asked],
        "Software": [_software(r) for r in asked],
    }
    titles, own = [record.title or record.study for record in asked], {}
    found = {name: shared(titles, said, own) for name, said in parts.items()}
    for record in records:
        said = own.get(asked.index(record), []) if record in asked else _of_study(record)
        found[record.title or record.study] = " ".join(said)
    return {heading: text for heading, text in found.items() if text}


def shared(titles: Sequence[str], said: Sequence[Iterable[str]], own: dict[int, list[str]]) -> str:
    """Sentences of several studies as one text: what all of them say, then what some do after their titles.

    Parameters
    ----------
    titles, said : of each study its title, and its sentences
    own : takes up what one of several studies says alone: place in `titles` -> sentences
    """
    holders: dict[str, list[int]] = {}
    for place, sentences in enumerate(said):
        for sentence in dict.fromkeys(sentences):
            holders.setdefault(sentence, []).append(place)
    parts: dict[tuple[int, ...], list[str]] = {}
    for sentence, places in holders.items():
        if len(places) == 1 < len(titles):
            own.setdefault(places[0], []).append(sentence)
        else:
            parts.setdefault(tuple(places), []).append(sentence)
    every = [" ".join(s) for places, s in parts.items() if len(places) == len(titles)]
    some = [
        f"In {listed([f'“{titles[i]}”' for i in places])}: {' '.join(s)}"
        for places, s in parts.items()
        if len(places) < len(titles)
    ]
    return " ".join([*every, *some])


def _model(record: StudyRecord) -> Iterator[str]:
    """Which model answered, with which weights, and what it was shown of an image."""
    model, p = record.model, record.parameters
    if not model.is_known:
        held = _HELD.get(str(p.get("scores_are")), "scores")
        held = "the class given to each image" if model.has_top_alone else held
        yield f"The answers of {model.name} were made elsewhere."
        yield f"They were read from a file of {held} (sha256 {record.scores[:12]})."
        yield "Weights, numerical precision and preprocessing are unknown."
        return
    kind = f", {_ACTIVATIONS.get(model.activation, model.activation)} activation" * bool(
        model.activation
    )
    run_by = "" if model.runtime == "torch" else f", its image tower run by {model.runtime}"
    yield f"The model was {model.name} ({model.weights_text}{kind}), evaluated in {model.precision}{run_by}."
    if record.pack:
        yield f"Embeddings were read from a pack of an earlier run (sha256 {record.pack[:12]})."
    yield from _preprocess(model)
    if record.against_fp32:
        yield record.against_fp32.replace("**", "")


def _preprocess(model: ModelInfo) -> Iterator[str]:
    how = model.preprocess or {}
    size, mode = how.get("size"), how.get("resize_mode")
    if "reduced_to" in how:
        yield (
            f"Images were first reduced to a shorter side of {how['reduced_to']} pixels, where they had more."
        )
    if mode not in ("shortest", "longest", "squash") or not isinstance(size, list | tuple):
        return
    high, wide = size
    by = f" by {how['interpolation']} interpolation" if how.get("interpolation") else ""
    first = int(min(size) / how.get("crop_pct", 1))
    kept = {
        "shortest": f"to a shorter side of {first} pixels{by}, and cropped to the {wide} × {high} pixels in the middle",
        "longest": f"to a longer side of {max(size)} pixels{by}, and padded to {wide} × {high} pixels",
        "squash": f"to {wide} × {high} pixels{by}, whatever their proportions",
    }[mode]
    yield f"Images were resized {kept}."
    if how.get("mean") and how.get("std"):
        mean, std = (", ".join(f"{x:.4g}" for x in how[name]) for name in ("mean", "std"))
        yield f"Colour channels were normalised with means {mean} and standard deviations {std}."


def _images(record: StudyRecord) -> Iterator[str]:
    """Which images, how many, and how they were drawn."""
    data = record.dataset
    name = ", ".join(filter(None, [data.name, data.version]))
    if data.unreadable:
        lost = "could not be read" if record.model.is_known else "have no answer"
        yield (
            f"The images were {name}: n = {data.read:,}; {data.unreadable:,} of {data.images:,} {lost} and are in "
            "no rate."
        )
    else:
        yield f"The images were {name}: n = {data.read:,}."
    # the file of answers is spoken of as the model is
    yield from (note for note in data.notes if not note.startswith(ELSEWHERE))


def _labels(record: StudyRecord) -> Iterator[str]:
    if record.dataset.labels:
        yield record.dataset.labels
    if groups := record.parameters.get("groups"):
        yield f"Results are reported by {listed(names_in(groups.replace('*', ' × ')))}."


def _words(record: StudyRecord, prompts: Mapping[str, Mapping[str, list[str]]]) -> Iterator[str]:
    """Class sets and templates, and how many classes and prompts each task had."""
    if not prompts:
        return
    known = NOT_STATED.label not in record.templates
    many = "s" * (len(record.class_sets) > 1)
    sets = f"Class set{many} {listed(list(record.class_sets))}" if record.class_sets else "Classes"
    if known and record.templates:
        sets += f", templates {listed(list(record.templates))}"
    ways: dict[str, list[Mapping[str, list[str]]]] = {}
    for name, classes in prompts.items():
        # what is asked in a second way has class set and templates behind its name
        task = _OTHER_WAY.sub("", name)
        ways.setdefault(task if task in prompts else name, []).append(classes)
    said = []
    for task, asked in ways.items():
        n = f"{_span(map(len, asked))} classes"
        if n == "1 classes":
            n = next(iter(asked[0])).strip("()")
        said.append(f"{task} ({n}{f', in {len(asked)} wordings' if len(asked) > 1 else ''})")
    if not known:
        yield f"{sets}: {listed(said)}."
        yield "The prompts behind the answers are unknown."
        return
    numbers = {len(texts) for asked in ways.values() for way in asked for texts in way.values()}
    each = f", {_span(numbers)} prompt{'s' * (numbers != {1})} a class"
    first = next((text for way in prompts.values() for texts in way.values() for text in texts), "")
    example = f", such as “{first}”" * ("{" not in first)
    yield f"{sets}: {listed(said)}{each}{example}."


def _span(numbers: Iterable[int]) -> str:
    """One number, or the least and the largest of several."""
    numbers = set(numbers)
    ends = dict.fromkeys([min(numbers), max(numbers)])
    return " to ".join(f"{n:,}" for n in ends)


def _scores(model: ModelInfo) -> Iterator[str]:
    """How scores become probabilities."""
    offered = "the classes on offer"
    if model.score == "label":
        yield "No probabilities are known."
    elif model.score.endswith("given"):
        yield "Probabilities are as they were given."
    elif not model.is_known and model.logit_scale == 1:
        yield f"Probabilities are a softmax of the scores over {offered}."
    else:
        scale = f"{model.logit_scale:.4g}" if not model.is_known else (
            f"the model's logit scale ({model.logit_scale:.4g})"
        )  # fmt: skip
        bias = f" plus its bias ({model.logit_bias:.4g})" if model.logit_bias else ""
        how = (
            "the sigmoid of each"
            if model.score == "sigmoid"
            else f"a softmax over {offered} of the"
        )
        yield f"Probabilities are {how} cosine{'s' * (model.score != 'sigmoid')} times {scale}{bias}."


def _of_study(record: StudyRecord) -> list[str]:
    """What the study says of itself; nothing where it is one of the user's own that was not named."""
    study: Study | None = STUDIES.get(record.study)
    try:
        return study.methods(record) if study else []
    except (LookupError, ValueError):  # a run of a version that had other parameters
        return []


def _intervals(record: StudyRecord) -> list[str]:
    kinds = dict.fromkeys(table.intervals for table in record.tables)
    return [f"Tables give {kind}." for kind in kinds if kind]


def _software(record: StudyRecord) -> Iterator[str]:
    if code := record.code:
        commit = f", commit {code.commit[:12]}" if code.commit else ""
        changed = " with uncommitted changes" if code.dirty else ""
        yield f"All numbers were computed with clipeval {code.version}{commit}{changed}."
    names = _PACKAGES if record.model.is_known else {"python": "Python"}
    used = [
        f"{name} {record.versions[key]}" for key, name in names.items() if record.versions.get(key)
    ]
    if used:
        yield f"It ran with {listed(used)}."
    if (seed := record.parameters.get("seed")) is not None:
        yield f"The seed of every random choice was {seed}."
