"""What would fail in hour three, said in second three: looked at before any image is embedded.

`clipeval check` lists all that is found; every run raises the first of it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from clipeval.classify.class_sets import load_class_set, load_templates
from clipeval.classify.word_files import refuse_namesake
from clipeval.errors import ClassSetError, ClipevalError, ModelError, StoreError
from clipeval.session.parameters import refuse_cards
from clipeval.session.run_folder import check_out, check_writable


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: `error` is None where it is well."""

    what: str
    detail: str = ""
    error: ClipevalError | None = None


def look(session) -> Iterator[Finding]:
    """Look at the run folder, data, classes, model and prompts of a session; nothing is embedded.

    Parameters
    ----------
    session : Session

    Yields
    ------
    Finding, one for each thing that was looked at; what rests on one that failed is passed over
    """
    failed: set[str] = set()
    steps: list[tuple[str, Callable, tuple[str, ...]]] = [("run folder", _run_folder, ())]
    if not session.study.is_summary:
        steps += [
            ("cards", lambda session: refuse_cards(session.parameters), ()),
            ("source", _source, ()),
            ("data set", _data, ("source",)),
            ("store", _store, ("data set",)),
            ("classes", _classes, ("source",)),
            ("model", _model, ("data set",)),
            ("study", session.study.check, ("data set", "classes")),
            ("left out", _left_out, ("data set", "classes", "study")),
            ("prompts", lambda session: _prompts(session, failed), ("classes", "model")),
        ]
    for what, step, needs in steps:
        if failed.isdisjoint(needs):
            try:
                detail = step(session)
            except ClipevalError as error:
                yield Finding(what, error=error)
            else:
                if detail is not None:
                    yield Finding(what, detail)
                continue
        failed.add(what)


def refuse(session) -> None:
    """Raise the first error that `look` finds."""
    for finding in look(session):
        if finding.error:
            raise finding.error


def _run_folder(session) -> str:
    """The run folder can be written."""
    return str(check_out(session.parameters))


def _store(session) -> None:
    """The store can be written, or holds all images already and may be another's, to read only."""
    source, root = session.source, session.store.root
    try:
        check_writable("store", root)
    except ClipevalError:
        if not root.is_dir():
            raise
        if source.may_embed and not (source.known and source.holds(session.images)):
            raise StoreError(
                f"store={root} may only be read and does not hold these images with this model; "
                "name a store that can be written."
            ) from None


def _source(session) -> None:
    """What stands in for images and a model can be read: a pack, or answers made elsewhere."""
    _ = session.source


def _data(session) -> str:
    attrs = session.images.attrs
    notes = "".join(f"; {note.removesuffix('.')}" for note in attrs.get("notes", []))
    return f"{attrs['name']}, {attrs.get('version', '')}: {len(session.images):,} images{notes}"


def _classes(session) -> str:
    """Class set and templates load, and none bears the name of a bundled one with other words."""
    p = session.parameters
    if session.study.words_of_data and p.class_set:
        raise ClassSetError(
            f"class_set={p.class_set} is given, and {session.study.id} asks what the data say and no class "
            "set; leave it out, or name it for other studies alone (-p STUDY.class_set)."
        )
    if not p.pack:  # which may hold what was bundled then
        for name in filter(None, (getattr(p, field) for field in p.class_sets)):
            refuse_namesake(name, "class_sets", load_class_set)
        refuse_namesake(p.templates, "templates", load_templates)
    said = [session.templates.label]
    if session.parameters.class_set:
        said.insert(0, session.class_set.label)
    return ", templates ".join(said)


def _left_out(session) -> str | None:
    """What the data do not allow."""
    return " ".join(session.study.left_out(session)) or None


def _model(session) -> str:
    """The model is known, its activation right, its weights at hand or to be downloaded."""
    found = session.source.check_model(session.study)
    if info := session.source.known:
        session.refuse_mixing(info)
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


def _prompts(session, failed: set[str]) -> str | None:
    """No prompt would be truncated and no two classes are one text, as far as the tokenizer is at hand."""
    try:
        offers, prompts = session.study.rivals(session), session.study.prompts(session)
    except ClipevalError:
        if failed.isdisjoint(("data set", "study")):
            raise
        return None  # it has been said
    if not prompts:
        return None
    said = session.source.check_texts(prompts)
    session.refuse_one_text(offers, ahead=True)
    return said
