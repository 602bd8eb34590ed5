"""What would fail in hour three, said in second three: checks before any image is embedded."""

import functools
from dataclasses import dataclass

from clipeval.errors import ClipevalError, ModelError
from clipeval.session.parameters import Parameters, refuse_cards
from clipeval.session.run_folder import check_out, check_writable
from clipeval.session.session import Session

__all__ = ["Finding", "check_plan"]


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
    _preview.cache_clear()
    for study, parameters in plan.items():
        session = Session(study, parameters, progress=False)
        steps = [("run folder", _run_folder, ())]
        if study != "card":
            steps += [
                ("store", _store, ()),
                ("data set", _data, ()),
                ("classes", _classes, ()),
                ("model", _model, ("data set",)),
                ("cards", lambda session: refuse_cards(session.parameters), ("model",)),
            ]
            if extra := getattr(session.study.module, "check", None):
                steps.append(("study", extra, ("data set", "classes")))
            steps.append(("prompts", _prompts, ("classes", "model")))
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


def _classes(session) -> str:
    """Class set and templates load."""
    said = [session.templates.label]
    if session.parameters.class_set:
        said.insert(0, session.class_set.label)
    return ", templates ".join(said)


def _model(session) -> str:
    """The model is known, its activation right, its weights at hand or to be downloaded."""
    p = session.parameters
    if session.pack:
        return f"{session.info.model} {session.info.pretrained}: its embeddings are in the pack"
    from clipeval.models.load import find_loader, is_registered

    if p.device not in ("auto", "cpu"):
        from clipeval.models.device import choose_device

        choose_device(p.device)
    if p.model == "testcard":
        return _testcard(session)
    if p.model.startswith("timm:") and getattr(p, "methods", "zero-shot") == "zero-shot":
        raise ModelError(
            f"{p.model} has no text encoder, so {session.study.id} cannot ask it anything; "
            "use it for fairface with methods=linear probe, or name a CLIP-like model."
        )
    if info := session.known:
        return f"{info.model} {info.pretrained}: known, weights {info.weights_sha256[:12]}"
    if p.model.startswith("timm:"):
        from clipeval.models.backbones import check_backbone

        return check_backbone(p.model, p.pretrained or None)
    if is_registered(p.model):
        return find_loader(p.model)[2]
    return _previewed(p)[2]


def _previewed(p) -> tuple:
    found, error = _preview(p.model, p.pretrained or None)
    if error:
        raise error
    return found


@functools.lru_cache
def _preview(model: str, pretrained: str | None) -> tuple:
    """What `preview` returned or raised, asked once for all studies."""
    from clipeval.models.preview import preview

    try:
        return preview(model, pretrained), None
    except ModelError as error:
        return None, error


def _testcard(session) -> str:
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
    return "testcard"


def _prompts(session) -> str | None:
    """No prompt would be truncated, as far as the tokenizer is at hand; stored ones were not."""
    from clipeval.classify.class_sets import all_prompts
    from clipeval.models.load import is_registered
    from clipeval.models.tokens import build_tokenizer, check_texts

    p, info = session.parameters, None if session.pack else session.known
    own = getattr(session.study.module, "prompts", None)
    if session.pack or (info and not info.has_text) or not (own or p.class_set):
        return None
    try:
        flat = own(session) if own else all_prompts(session.class_set, session.templates)
    except ClipevalError:
        return None  # the data set's or the study's own check has said it
    flat = sorted(set(flat))
    if info:
        shelf = session.store.shelf(info, "texts-float32")
        stored = {flat[i] for positions, *_ in shelf.read(flat) for i in positions}
        flat = [prompt for prompt in flat if prompt not in stored]
    if not flat or p.model.startswith("timm:"):
        return None
    if p.model == "testcard":
        from clipeval.models.testcard import CONTEXT_LENGTH, WordTokenizer

        check_texts(WordTokenizer(), flat, CONTEXT_LENGTH)
    elif is_registered(p.model):
        return None
    else:
        config, folder, _ = _previewed(p)
        text = (config or {}).get("text_cfg", {})
        if config is None or (text.get("hf_tokenizer_name") and folder is None):
            return None  # still on the hub; encoding refuses a truncation anyhow
        check_texts(build_tokenizer(text, folder), flat, text.get("context_length", 77))
    return f"{len(flat):,} not sent before, none too long"
