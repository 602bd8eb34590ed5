"""In which language classes and templates are, as far as their files say: a prompt is in one of them."""

import re

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
        said = [part.language or "English (none is stated)" for part in (class_set, templates)]
        raise ClassSetError(
            f"class set {class_set.spec} is in {said[0]} and its templates {templates.name} are in {said[1]}; name "
            "templates in the language of the classes, such as photo_es, or bare."
        )
