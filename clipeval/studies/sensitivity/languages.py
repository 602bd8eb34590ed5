"""Which templates can be tried with a class set: those in its language."""

from collections.abc import Sequence

from clipeval.classify.class_sets import load_class_set, load_templates
from clipeval.classify.languages import has_words, refuse_two_languages
from clipeval.classify.word_files import yaml_file
from clipeval.errors import ClassSetError
from clipeval.output.provenance import pathless


def spoken(class_set: str, own: str, templates: Sequence[str]) -> tuple[list[str], list[str]]:
    """Templates that are in the language of the classes, and a sentence for each that is not.

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
    words, kept, left_out = load_class_set(class_set), [], []
    unknown = yaml_file(class_set) and not words.language
    unknown = unknown and (yaml_file(own) or not has_words(load_templates(own)))
    for name in templates:
        found = load_templates(name)
        try:
            refuse_two_languages(words, found)
            if unknown and has_words(found) and not yaml_file(name):
                raise ClassSetError(
                    f"class set {words.spec} states no language; write `language: en`, or another, into its file."
                )
            kept.append(name)
        except ClassSetError as error:
            left_out.append(f"Template set {pathless(name)} is left out: {error}")
    return kept, left_out
