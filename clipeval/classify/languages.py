"""In which language classes and templates are, as far as their files say: a prompt is in one of them."""

import re

from clipeval.classify.word_files import is_bundled
from clipeval.errors import ClassSetError

#: what a template holds beside its words: the places of the class and of its article
PLACES = re.compile(r"\{a?\}")


def has_words(templates) -> bool:
    """Whether `Templates` say more than the class, so that they are in a language."""
    return any(PLACES.sub("", template).strip(" .") for template in templates.templates)


def refuse_two_languages(class_set, templates) -> None:
    """Refuse `Templates` in another language than a `ClassSet`; where none is stated it is taken for English.

    Raises
    ------
    ClassSetError
    """
    languages = [part.language or "en" for part in (class_set, templates)]
    if has_words(templates) and languages[0] != languages[1]:
        ours = class_set.language or "English (none is stated)"
        theirs = templates.language or "English (none is stated)"
        if is_bundled(templates.name, "templates"):
            theirs = templates.language or "English"
        such = f"photo_{class_set.language}".rstrip("_")
        such = f"such as {such}" if is_bundled(such, "templates") else "in a file of your own"
        raise ClassSetError(
            f"class set {class_set.spec} is in {ours}, and templates {templates.name} are in {theirs}; name "
            f"templates in the language of the classes, {such}, or bare."
        )
