"""Which choice matters most: headline numbers under every combination of reasonable choices.

The paper states no prompts; class wording, templates, precision and how a picture is brought to size
are choices, and each moves the numbers. Here all combinations are tried on the same images, from
stored embeddings, and the spread is split up by choice.
"""

import itertools
from collections.abc import Sequence
from contextlib import suppress

import pandas as pd

from clipeval.classify.class_sets import (
    flat_prompts,
    load_class_set,
    load_templates,
    variants_in,
)
from clipeval.errors import ClipevalError, NotStoredError, ParameterError
from clipeval.output.provenance import HOW, pathless
from clipeval.session.parameters import Parameters, parse
from clipeval.session.session import Session
from clipeval.session.study import Study
from clipeval.stats import RATE_COLUMNS
from clipeval.studies import STUDIES, get_study
from clipeval.studies.headlines import LEVEL
from clipeval.studies.sensitivity.hits import compact, contents_of, found_with, rates_of
from clipeval.studies.sensitivity.languages import names_of, spoken
from clipeval.studies.sensitivity.spread import FACTORS, OWN_INTERVALS, range_of

GROUPS = ["study", "quantity", *FACTORS]
#: template sets that a study's own report tries beside its own
TEMPLATES = ("photo", "article", "bare", "face")


def _variant(base: Session, study: Study, **changes) -> Session:
    """A session of a study on the images and the source of another session."""
    values = base.parameters.model_dump()
    values = {k: v for k, v in values.items() if k in study.Parameters.model_fields}
    changes |= study.words_alone
    return study.open(
        parse(study.Parameters, values | changes, study=study.id),
        source=base.source,
        images=base.images,
        ranks=1,  # hits need the first answer only
        progress=base.progress,
    )


def variants_of(class_set: str) -> list[str]:
    """A class set and the variants that word it otherwise, the one named first; "" where a study has none.

    Variants that only add classes, such as child, change the class design, not the wording:
    they are left out, and the study class_design measures them.
    """
    if not class_set:
        return [""]
    language = load_class_set(class_set).language
    known = [spec for spec in variants_in(class_set) if load_class_set(spec).language == language]
    asked = {spec: _asked(spec) for spec in known}
    words = [spec for spec in known if not any(less < asked[spec] for less in asked.values())]
    return [class_set, *(spec for spec in words if spec != class_set)]


def _asked(class_set: str) -> frozenset:
    """Every (task, class, text) of a class set."""
    tasks = load_class_set(class_set).tasks
    return frozenset((task, *item) for task, classes in tasks.items() for item in classes.items())


def vary(
    session: Session,
    studies: Sequence[str],
    *,
    class_sets: dict[str, Sequence[str]] | None = None,
    templates: Sequence[str] = (),
    precisions: Sequence[str] = (),
    resizes: Sequence[str] = (),
    compute: bool = False,
) -> pd.DataFrame:
    """Headline quantities of studies under every combination of choices.

    Parameters
    ----------
    session : Session
        Its parameters say model, data set and the choice that others are compared with.
    studies : ids of studies that have headline quantities
    class_sets : study -> class sets; by default the study's own and all its variants
    templates, precisions, resizes : further choices; the session's own always come first
    compute : bool
        Embed the images for precisions and resizes that are not stored; False leaves these out and
        names them in `attrs["left_out"]`.

    Returns
    -------
    DataFrame
        study, quantity, class_set, templates, precision, resize, the `choices` of the studies (missing for
        others), n, count, metric, percent, ci_low, ci_high (as `intervals_of` says), published,
        difference, reference (bool: the session's own choice), task. For a quantity,
        class sets and templates that ask what an earlier one asks are left out: a variant of the words for
        gender is not another choice for age, nor are "a" and "a or an" where no word begins with a vowel.
        `attrs["left_out"]`: sentences; `attrs["words"]`: class set or templates, by its
        name in the table (`names_of`) -> what loads it; `attrs["intervals"]`: study -> how its intervals were made, and
        `attrs["levels"]` with which confidence (fraction): the study's own.

    Raises
    ------
    ParameterError  if a study is unknown or has no headline quantities
    """
    bases, left_out = bases_of(session, precisions, resizes, compute)
    parts = []
    for base, study, hits in hits_over_choices(session, bases, studies, class_sets, templates):
        point = _point(session.parameters, study)
        sets, said = _choices(session.parameters, study, class_sets, templates)

        def rated(base=base, study=study, sets=sets, said=said, hits=hits) -> pd.DataFrame:
            names = {pathless(name): name for name in (*sets, *said)}
            return rates_of(hits, lambda words: _variant(base, study, **words), names)

        if "hit" in hits:
            asked = base.parameters.model_dump(exclude=HOW)  # what is published depends on it too
            depends = [_depends(base, study, sets, said), asked, *contents_of(hits)]
            found = session.remember("rates of words", depends, rated)
        else:
            found = rated()
        own = (found["class_set"] == point[0]) & (found["templates"] == point[1])
        own &= found.get("headline", True) & (base is session)
        parts.append(found.assign(study=study.id, **about_base(base), reference=own))
    table = pd.concat(parts, ignore_index=True)
    if table.empty:
        return table
    table = _distinct(table)
    kinds = table.get("interval", pd.Series(index=table.index, dtype=object)).fillna(OWN_INTERVALS)
    kinds = kinds.groupby(table["study"], sort=False).unique().map("; ".join).to_dict()
    levels = table.get("level", pd.Series(LEVEL, index=table.index)).fillna(LEVEL)
    levels = levels.groupby(table["study"], sort=False).first().to_dict()
    numbers = [*RATE_COLUMNS, "published", "difference"]
    choices = [name for study in studies for name in get_study(study).choices]
    table = table[[*GROUPS, *dict.fromkeys(choices), *numbers, "reference", "task"]]
    told = {}
    called = names_of(table["class_set"], table["templates"])  # a path of this machine stays here
    for words, names in zip(("class_set", "templates"), called, strict=True):
        told |= {name: spec for spec, name in names.items()}
        table[words] = table[words].map(names)
    table.attrs |= {"left_out": left_out, "words": told, "intervals": kinds, "levels": levels}
    return table


def about_base(base: Session) -> dict[str, str]:
    """Precision and resize of a session."""
    return {"precision": base.parameters.precision, "resize": base.parameters.resize}


def hits_over_choices(session: Session, bases, studies, class_sets=None, templates=()):
    """Each base and study with its hits, or measures, under every choice of words.

    Parameters
    ----------
    session, studies, class_sets, templates : as for `vary`
    bases : as from `bases_of`

    Yields
    ------
    (base, study, hits) : hits as from `found_with`, with columns class_set and templates
    """
    check_studies(studies)
    for base, study in itertools.product(bases, map(get_study, studies)):
        sets, said = _choices(session.parameters, study, class_sets, templates)

        def tried(base=base, study=study, sets=sets, said=said) -> pd.DataFrame:
            base.encode(
                _prompts(sets, said)
            )  # at once: the store is read, the model called only once
            found = []
            for class_set, wording in itertools.product(sets, said):
                words = {"class_set": class_set, "templates": wording}
                hits = found_with(_variant(base, study, **words))
                found.append(hits.assign(**{k: pathless(v) for k, v in words.items()}))
            return compact(pd.concat(found, ignore_index=True))

        name = " ".join(["words", study.id, *about_base(base).values()])
        yield base, study, session.answers(name, _depends(base, study, sets, said), tried)


def _choices(p: Parameters, study: Study, class_sets, templates) -> tuple[list[str], list[str]]:
    """Class sets and templates to try for a study, its own first; parameters as for `vary`."""
    point = _point(p, study)
    more = (class_sets or {}).get(study.id, variants_of(point[0]))
    said, _ = spoken(*point, templates)
    return tuple(list(dict.fromkeys(x)) for x in ([point[0], *more], [point[1], *said]))


def unspoken(session: Session, studies: Sequence[str], templates: Sequence[str]) -> list[str]:
    """A sentence for template sets that are not tried, as they are not in the language of the classes."""
    points = [_point(session.parameters, get_study(name)) for name in studies]
    return list(dict.fromkeys(s for point in points for s in spoken(*point, templates)[1]))


def every_wording(session: Session, studies: Sequence[str], class_sets=None, templates=()):
    """Each study with a session for every choice of words that `vary` would try; nothing is asked yet."""
    for name in studies:
        study = get_study(name)
        choices = _choices(session.parameters, study, class_sets, templates)
        for class_set, wording in itertools.product(*choices):
            words = {"class_set": class_set, "templates": wording}
            yield study, _variant(session, study, **words)


def able(session: Session, studies: Sequence[str]) -> tuple[list[str], list[str]]:
    """Studies whose numbers these images and this class set allow, and a sentence for each other one.

    Raises
    ------
    ClipevalError  where there is none: why the first cannot run
    """
    check_studies(studies)
    found, left_out, first = [], [], None
    for name in studies:
        study = get_study(name)
        class_set, templates = _point(session.parameters, study)
        try:
            study.check(_variant(session, study, class_set=class_set, templates=templates))
            found.append(name)
        except ClipevalError as error:
            first = first or error
            left_out.append(f"Numbers of {name} are left out: {error}")
    if not found:
        raise first
    return found, left_out


def check_studies(studies: Sequence[str]) -> None:
    """ParameterError if a study has nothing to vary."""
    for study in studies:
        if get_study(study).varies != study:
            named = ", ".join(name for name in STUDIES if STUDIES[name].varies == name)
            raise ParameterError(
                f"{study} has no headline numbers of one class set to vary; there are those of {named}."
            )


def _point(p: Parameters, study: Study) -> tuple[str, str]:
    """Class set and templates of the reference: what the session names, else the study's own."""
    own = study.Parameters.model_fields
    named = p.templates != Parameters.model_fields["templates"].default
    return p.class_set or own["class_set"].default, p.templates if named else own[
        "templates"
    ].default


def _depends(base: Session, study: Study, sets: list[str], said: list[str]) -> list:
    """All that decides the numbers of one study on one set of embeddings."""
    own = [name for name in study.Parameters.model_fields if name not in Parameters.model_fields]
    decides = {*study.Parameters.decides, *own, "groups"}
    fields = {k: v for k, v in base.parameters.model_dump().items() if k in decides}
    words = [load_class_set(name).hash for name in sets if name]
    words += [load_templates(name).hash for name in said]
    return [base.info.fingerprint, base.data_hash, study.id, sets, said, words, fields]


def _prompts(sets: list[str], said: list[str]) -> list[str]:
    """Every prompt of class sets in every template."""
    tasks = [classes for name in sets if name for classes in load_class_set(name).tasks.values()]
    texts = dict.fromkeys(text for classes in tasks for text in classes.values())
    templates = [load_templates(name) for name in said]
    return [prompt for t in templates for text in texts for prompt in t.fill(text)]


def bases_of(session, precisions, resizes, compute) -> tuple[list[Session], list[str]]:
    """A session for each precision and resize that has embeddings; what has none is named."""
    p, left_out = session.parameters, []

    def base(precision, resize):
        if (precision, resize) == (p.precision, p.resize):
            return session
        changes = {"precision": precision, "resize": resize}
        try:
            source = session.source.other(**changes)
        except NotStoredError:
            return None
        if not compute and not source.holds(session.images):
            return None
        return session.study.open(
            p.model_copy(update=changes),
            source=source,
            images=session.images,
            progress=session.progress,
        )

    def kept(what, levels, own, others):
        levels = [own, *(level for level in dict.fromkeys(levels) if level != own)]
        found = [x for x in levels if all(base(*pair) for pair in others(x))]
        missing = [x for x in levels if x not in found]
        if missing:
            left_out.append(f"No embeddings are stored for {what} {', '.join(missing)}: left out.")
        return found

    precisions = kept("precision", precisions, p.precision, lambda x: [(x, p.resize)])
    resizes = kept("resize", resizes, p.resize, lambda x: [(y, x) for y in precisions])
    return [base(x, y) for x, y in itertools.product(precisions, resizes)], left_out


def _distinct(table: pd.DataFrame) -> pd.DataFrame:
    """Without class sets and templates that ask nothing new for a quantity, whatever the other is."""
    kept = []
    for _, rows in table.groupby(["study", "quantity"], sort=False):
        for choice in ("class_set", "templates"):
            asked: dict[str, list[str]] = {}
            for name, text in zip(rows[choice], rows["asked"], strict=True):
                asked.setdefault(name, []).append(text)
            first = {tuple(texts): name for name, texts in reversed(asked.items())}
            rows = rows[rows[choice].isin(first.values())]
        kept.append(rows)
    return pd.concat(kept, ignore_index=True).drop(columns="asked")


def ranges(session: Session) -> pd.DataFrame:
    """How far choices of words move a study's own headline numbers, on the embeddings that it used.

    Parameters
    ----------
    session : Session of any study; shown are the numbers of the one that it names as `Study.varies`

    Returns
    -------
    DataFrame, as `range_of` returns it, over the class set's wordings and `TEMPLATES`; without rows
    where the study puts no words to the model (a probe alone, an image-only model). Those that its
    classes do not fit, which the study itself does not ask, are named in `attrs["left_out"]`.
    """
    study = session.study
    asked = study.varies and study.words(session.parameters) != "none"
    if not (asked and session.info.has_text and session.info.is_known):
        return pd.DataFrame()
    sets, said, left_out = _that_fit(session, get_study(study.varies))
    found = range_of(vary(session, [study.varies], class_sets={study.varies: sets}, templates=said))
    found.attrs["left_out"] = left_out
    return found


def _that_fit(session: Session, study: Study) -> tuple[list[str], list[str], list[str]]:
    """Class sets and templates of `ranges` that a study could ask in every combination; why others not."""
    sets, said = _choices(session.parameters, study, None, TEMPLATES)
    unfit = session.answers(
        "choices of words",
        _depends(session, study, sets, said),
        lambda: _unfit(session, study, sets, said),
    )
    kinds = [unfit.loc[unfit["kind"] == kind, "name"].tolist() for kind in _KINDS]
    sets, said = (
        [x for x in names if pathless(x) not in no]
        for names, no in zip((sets, said), kinds, strict=True)
    )
    return sets, said, [*unspoken(session, [study.id], TEMPLATES), *unfit["why"]]


_KINDS = ("Class set", "Template set")


def _unfit(session: Session, study: Study, sets: list[str], said: list[str]) -> pd.DataFrame:
    """Class sets and templates beside the first that a study could not ask: kind, name, why (a sentence)."""
    found = []

    def fits(kind, name, combinations):
        try:
            for class_set, wording in combinations:
                variant = _variant(session, study, class_set=class_set, templates=wording)
                study.check(variant)
                offers = study.rivals(variant)
                variant.encode(flat_prompts(offers))
                variant.refuse_one_text(offers)
        except ClipevalError as error:
            why = session.hide(f"{kind} {name} is left out: {error}")
            found.append((kind, pathless(name), why))
            return False
        return True

    with suppress(ClipevalError):  # at once: the store is read, the model called only once
        session.encode(_prompts(sets, said))
    sets = [sets[0], *(x for x in sets[1:] if fits(_KINDS[0], x, [(x, said[0])]))]
    for wording in said[1:]:
        fits(_KINDS[1], wording, [(x, wording) for x in sets])
    return pd.DataFrame(found, columns=["kind", "name", "why"], dtype=str)
