"""Which templates can be tried with a class set, those in its language; and what tables call either."""

from collections.abc import Iterable, Sequence

from clipeval.classify.class_sets import load_class_set, load_templates
from clipeval.classify.languages import has_words, refuse_two_languages
from clipeval.classify.word_files import yaml_file
from clipeval.errors import ClassSetError
from clipeval.output.provenance import pathless
from clipeval.studies.sentences import listed


def spoken(class_set: str, own: str, templates: Sequence[str]) -> tuple[list[str], list[str]]:
    """Templates that are in the language of the classes, and a sentence for those that are not, by reason.

    Words of one's own that state no language may be in any: they are put into the package's English templates
    only where the run itself asks in such.

    Parameters
    ----------
    class_set : as `load_class_set` takes it; "" for none, which any templates suit
    own : templates that the run itself asks in
    templates : those that could be tried
    """
    if not class_set:
        return list(templates), []
    words, kept = load_class_set(class_set), []
    unfit: dict[str, list[str]] = {}  # why -> templates
    ours = words.language or "English, as it states no other"
    unknown = yaml_file(class_set) and not words.language
    unknown = unknown and (yaml_file(own) or not has_words(load_templates(own)))
    for name in templates:
        found = load_templates(name)
        try:
            refuse_two_languages(words, found)
        except ClassSetError:
            theirs = found.language or (
                "English, as no other is stated" if yaml_file(name) else "English"
            )
            why = f"in {theirs}, and class set {words.spec} is in {ours}"
            unfit.setdefault(why, []).append(pathless(name))
            continue
        if unknown and has_words(found) and not yaml_file(name):
            why = (
                f"in English, and class set {words.spec} states no language: write `language: en`, or "
                "another, into its file"
            )
            unfit.setdefault(why, []).append(pathless(name))
        else:
            kept.append(name)
    return kept, [_said(names, why) for why, names in unfit.items()]


def _said(names: Sequence[str], why: str) -> str:
    sets, are, they = ("set", "is", "it is") if len(names) == 1 else ("sets", "are", "they are")
    return f"Template {sets} {listed(names)} {are} left out: {they} {why}."


def names_of(class_sets: Iterable[str], templates: Iterable[str]) -> tuple[dict, dict]:
    """What tables call class sets and templates: a file of the user's by the name in it, as captions do.

    Where several have one name, which would not tell them apart, files go by their file names.

    Returns
    -------
    two dicts, of class sets and of templates: what loads it -> its name
    """
    loads = (load_class_set, lambda own: own.spec), (load_templates, lambda own: own.name)
    found = [
        {spec: called(load(spec)) if yaml_file(spec) else spec for spec in dict.fromkeys(specs)}
        for specs, (load, called) in zip((class_sets, templates), loads, strict=True)
    ]
    every = [name for names in found for spec, name in names.items() if yaml_file(spec)]
    every += {n for names in found for spec, n in names.items() if not yaml_file(spec)}
    class_sets, templates = (
        {s: pathless(s) if yaml_file(s) and every.count(n) > 1 else n for s, n in names.items()}
        for names in found
    )
    return class_sets, templates
