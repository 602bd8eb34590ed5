"""Class sets and prompt templates: the one home of every word that is said to a model."""

import functools
import json
import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from clipeval.classify.languages import PLACES, refuse_two_languages
from clipeval.classify.word_files import find, part, read, refuse_unknown
from clipeval.errors import ClassSetError
from clipeval.files import file_state, sha256

#: what a class set's file may hold beside its name, version and source
_KEYS = ("tasks", "classes", "categories", "variants", "answers", "language")
#: texts that begin with the sound of a vowel, as far as spelling tells: an hour, but a uniform
_AN = re.compile(
    r"(?!eu|one\b|once|u(ni(?![mnd])|s[aeiu]|t[ei]|r[aeiu]|[ks]\b))[aeiou]|hour|heir|honest|hono|8|1[18]\b",
    re.IGNORECASE,
)


def _digest(*parts) -> str:
    return sha256(json.dumps(parts, ensure_ascii=False))


@dataclass(frozen=True)
class ClassSet:
    """What a model is asked to choose between.

    Attributes
    ----------
    name, version, variant, source : str, `variant` "" for the set as it stands in its file
    tasks : dict of str to dict of str to str
        Task -> class (the name shown in tables) -> the text that a template receives.
    categories : dict of str to list of str
        Named groups of classes, such as the harm categories of a denigration set.
    answers : dict of str to dict of str to str
        What an answer that was made elsewhere says, where it is not spelled as a class: answer ->
        task -> class. One answer may speak to several tasks.
    language : str
        Code of the language of the texts, such as "es"; "" for English, or where it is not said.
    """

    name: str
    version: str
    source: str
    tasks: dict[str, dict[str, str]]
    categories: dict[str, list[str]] = field(default_factory=dict)
    variant: str = ""
    note: str = ""
    answers: dict[str, dict[str, str]] = field(default_factory=dict)
    language: str = ""

    @property
    def spec(self) -> str:
        """The name by which `load_class_set` finds it again."""
        return f"{self.name}:{self.variant}" if self.variant else self.name

    @property
    def label(self) -> str:
        """Name, variant and version for captions."""
        return f"{self.spec} v{self.version}"

    @property
    def hash(self) -> str:
        """sha256 of all that decides what a model answers."""
        return _digest(self.tasks, self.categories)

    def classes(self, task: str | None = None) -> dict[str, str]:
        """Class -> text of one task; see `named_task`."""
        return self.tasks[self.named_task(task)]

    def named_task(self, task: str | None = None) -> str:
        """The task of this name; without one the only one, or the only one that offers all categories' classes.

        ClassSetError if there is none, or several could be meant.
        """
        meant = self._counting() if task is None else [task]
        if len(meant) != 1:
            raise ClassSetError(
                f"class set {self.spec} has several tasks, and none is named; name one, such as "
                f'task="{next(iter(meant or self.tasks))}" (it has {", ".join(self.tasks)}).'
            )
        if meant[0] not in self.tasks:
            raise ClassSetError(
                f'class set {self.spec} has no task "{task}"; it has {", ".join(self.tasks)}.'
            )
        return meant[0]

    def _counting(self) -> list[str]:
        """Tasks that offer every class of every category; all of them where there is no category."""
        counted = {member for members in self.categories.values() for member in members}
        return [task for task, classes in self.tasks.items() if counted <= set(classes)]

    def counted_task(self) -> str:
        """The task that offers every class of every category; the first of several.

        It is what is asked where images are counted by category: a class that was not on offer would
        be counted as one that no image was given.

        Raises
        ------
        ClassSetError  if no task offers them all
        """
        if found := self._counting():
            return found[0]
        raise ClassSetError(
            f"class set {self.spec} counts {', '.join(self.categories)}, whose classes no task offers "
            "together; put the classes of all categories into one task."
        )


@dataclass(frozen=True)
class Templates:
    """Prompt templates: `{}` receives a class's text, `{a}` the article a or an that it asks for."""

    name: str
    version: str
    source: str
    templates: tuple[str, ...]
    language: str = ""
    """Code of the language, such as "es"; "" for English, or where it is not said."""

    @property
    def label(self) -> str:
        """Name and version for captions."""
        return f"{self.name} v{self.version}" if self.version else self.name

    @property
    def hash(self) -> str:
        """sha256 of the templates."""
        return _digest(self.templates)

    def fill(self, text: str) -> list[str]:
        """Every template with `text` in its place."""
        article = "an" if _AN.match(text) else "a"
        return [t.replace("{a}", article).replace("{}", text) for t in self.templates]


#: templates of answers that were made elsewhere, where nobody said how they were asked for
NOT_STATED = Templates("not stated", "", "prompts are unknown", ("{}",))


def _check(class_set: ClassSet, origin) -> ClassSet:
    """Refuse what would make a comparison meaningless: nothing to choose, or a choice offered twice."""
    if not class_set.tasks:
        raise ClassSetError(f"{origin}: class set {class_set.spec} has no tasks; add `tasks:`.")
    for task, classes in class_set.tasks.items():
        if not isinstance(classes, dict) or len(classes) < 2:
            raise ClassSetError(
                f'{origin}: task "{task}" offers fewer than two classes; '
                "a model needs at least two to choose from."
            )
        seen: dict[str, str] = {}
        for name, text in classes.items():
            if not isinstance(text, str):
                raise ClassSetError(
                    f'{origin}: task "{task}" gives class "{name}" the text {text}; give it one '
                    "text (several wordings belong into templates)."
                )
            if not name.strip() or not text.strip():
                raise ClassSetError(
                    f'{origin}: task "{task}" has an empty class (name "{name}", text "{text}"); '
                    "give it a name and a text or remove it."
                )
            key = " ".join(text.lower().split())
            if key in seen:
                raise ClassSetError(
                    f'{origin}: task "{task}" says "{text}" for both "{seen[key]}" and "{name}", '
                    "so a model cannot tell them apart; change one or remove it."
                )
            seen[key] = name
    offered = {name for classes in class_set.tasks.values() for name in classes}
    for category, members in class_set.categories.items():
        if not members:
            raise ClassSetError(f'{origin}: category "{category}" is empty; name its classes.')
        for member in members:
            if not isinstance(member, str) or member not in offered:
                raise ClassSetError(
                    f'{origin}: category "{category}" names "{member}", which is not a class of '
                    f"{class_set.spec}; add the class or remove it from the category."
                )
    return class_set


def load_class_set(spec: str | ClassSet) -> ClassSet:
    """Load a class set by name, `NAME:VARIANT`, or from the path of a YAML file.

    Parameters
    ----------
    spec : str
        For example ``"denigration"``, ``"denigration:child"``, ``"my_classes.yaml"``.

    Raises
    ------
    ClassSetError
        If it is unknown, malformed, or has a duplicate or empty class.
    """
    if isinstance(spec, ClassSet):
        return spec
    path, variant = find(spec, "class_sets")
    found = _loaded(path, variant, file_state(path))
    return replace(  # whoever changes what was loaded changes it for nobody else
        found,
        tasks={task: dict(classes) for task, classes in found.tasks.items()},
        categories={name: list(members) for name, members in found.categories.items()},
        answers={answer: dict(means) for answer, means in found.answers.items()},
    )


@functools.lru_cache(maxsize=256)
def _loaded(path: Path, variant: str, state: tuple) -> ClassSet:
    """Read once as long as the file is what it was (`state`)."""
    content, origin = read(path, *_KEYS), path.name
    name = part(content, "name", str, origin) or path.stem
    tasks = part(content, "tasks", dict, origin)
    if "classes" in content:  # short form: one task, named like the set
        if tasks:
            raise ClassSetError(f"{origin} has both `tasks` and `classes`; keep one of them.")
        tasks = {name: content["classes"]}
    tasks = {task: _texts(classes, task, origin) for task, classes in tasks.items()}
    variants, note = part(content, "variants", dict, origin), ""
    language = part(content, "language", str, origin)
    if variant and variant not in variants:
        have = ", ".join(variants) or "none"
        raise ClassSetError(f'class set "{path.stem}" has no variant "{variant}"; it has {have}.')
    if variant:
        change, where = part(variants, variant, dict, origin), f'{origin}, variant "{variant}"'
        refuse_unknown(change, ("note", "tasks", "texts", "add", "remove", "language"), where)
        language = part(change, "language", str, where) or language
        note, tasks = part(change, "note", str, where), _vary(tasks, change, where)
    categories = part(content, "categories", dict, origin)
    class_set = ClassSet(
        name=name,
        version=part(content, "version", str, origin) or "1",
        source=part(content, "source", str, origin),
        tasks=tasks,
        categories={key: list(part(categories, key, list, origin)) for key in categories},
        variant=variant,
        note=note,
        answers=_answers(part(content, "answers", dict, origin), tasks, variant, origin),
        language=language,
    )
    return _check(class_set, origin)


def _answers(listed: dict, tasks: dict, variant: str, origin: str) -> dict[str, dict[str, str]]:
    """`answers:` as answer -> task -> class; `answer: class` counts for every task that has the class."""
    found = {}
    for answer, means in listed.items():
        if isinstance(means, str):
            means = {task: means for task, classes in tasks.items() if means in classes} or {
                "": means
            }
        if not isinstance(means, dict):
            raise ClassSetError(
                f'{origin}: the answer "{answer}" means {means}; write a class, or task: class.'
            )
        known = {task: name for task, name in means.items() if name in tasks.get(task, ())}
        if known != means and not variant:  # a variant may lack the class
            task, name = next(item for item in means.items() if item not in known.items())
            of = f' of task "{task}"' if task else ""
            raise ClassSetError(
                f'{origin}: the answer "{answer}" means "{name}", which is not a class{of}; '
                "correct it or add the class."
            )
        found[answer] = known
    return found


def _texts(classes, task: str, origin: str) -> dict[str, str]:
    """A list of words stands for classes that are called what the template receives."""
    if isinstance(classes, list):
        for name in classes:
            if not isinstance(name, str):
                raise ClassSetError(
                    f'{origin}: task "{task}" lists {name}, which is not text; write `name: text` '
                    "for every class, without dashes, or names alone, with them."
                )
            if classes.count(name) > 1:
                raise ClassSetError(
                    f'{origin}: task "{task}" lists the class "{name}" twice; remove one.'
                )
        return {name: name for name in classes}
    if not isinstance(classes, dict):
        raise ClassSetError(
            f'{origin}: task "{task}" holds "{classes}" in place of its classes; '
            "list them, or write `name: text` for each."
        )
    return classes


def _vary(tasks: dict, change: dict, where: str) -> dict:
    """A variant replaces whole `tasks`, or changes `texts` of classes, adds or removes some."""
    tasks = {task: dict(classes) for task, classes in tasks.items()}
    for task, classes in part(change, "tasks", dict, where).items():
        tasks[task] = _texts(classes, task, where)
    for kind in ("remove", "texts", "add"):
        changes = part(change, kind, dict, where)
        for task in changes:
            if task not in tasks:
                raise ClassSetError(
                    f'{where} names the task "{task}"; the tasks are {", ".join(tasks)}.'
                )
            for name in part(changes, task, list if kind == "remove" else dict, where):
                if (name in tasks[task]) == (kind == "add"):
                    problem = "is a class already" if kind == "add" else "is not a class"
                    raise ClassSetError(
                        f'{where} names "{name}", which {problem} of task "{task}"; '
                        "fix the variant."
                    )
                if kind == "remove":
                    del tasks[task][name]
                else:
                    tasks[task][name] = changes[task][name]
    return tasks


def class_set_of(name: str, tasks: dict, **fields) -> ClassSet:
    """A class set from data rather than from a file (captions, names of people), with the same checks.

    `tasks` holds, for each task, a dict of class to text or a list of texts.
    """
    fields = {"version": "1", "source": "", **fields}
    tasks = {task: _texts(classes, task, name) for task, classes in tasks.items()}
    return _check(ClassSet(name=name, tasks=tasks, **fields), name)


def load_templates(spec: str | Templates) -> Templates:
    """Load prompt templates by name or from the path of a YAML file.

    Raises
    ------
    ClassSetError
        If they are unknown, or a template has no ``{}`` to receive the class.
    """
    if isinstance(spec, Templates):
        return spec
    path, variant = find(spec, "templates")
    if variant:
        raise ClassSetError(f'template set "{spec}": templates have no variants; name {path.stem}.')
    content, origin = read(path, "templates", "language"), path.name
    templates = part(content, "templates", list, origin)
    if not templates:
        raise ClassSetError(f"{origin} lists no template; add `templates:` and a list of them.")
    for template in templates:
        if not isinstance(template, str):
            raise ClassSetError(f"{origin}: {template} is not text; put the template into quotes.")
        if template.count("{}") != 1 or set("{}") & set(PLACES.sub("", template)):
            raise ClassSetError(
                f'{origin}: template "{template}" needs {{}} once, where the class goes, '
                "and no other braces but {a}, where its article goes."
            )
        if templates.count(template) > 1:
            raise ClassSetError(f'{origin} lists "{template}" twice; remove one.')
    return Templates(
        name=part(content, "name", str, origin) or path.stem,
        version=part(content, "version", str, origin) or "1",
        source=part(content, "source", str, origin),
        templates=tuple(templates),
        language=part(content, "language", str, origin),
    )


def prompts_for(class_set: ClassSet, templates: Templates, task: str | None = None) -> dict:
    """Class -> the prompts sent to a model, exactly, for one task of a class set.

    Raises
    ------
    ClassSetError  if classes and templates are in two languages; templates without words are in none
    """
    refuse_two_languages(class_set, templates)
    return {name: templates.fill(text) for name, text in class_set.classes(task).items()}


def task_prompts(class_set: ClassSet, templates: Templates, tasks=None) -> list[tuple[str, dict]]:
    """What a class set offers together: for each task (all, if None) whose classes, and their prompts."""
    names = class_set.tasks if tasks is None else tasks
    return [
        (f"class set {class_set.spec}", prompts_for(class_set, templates, task)) for task in names
    ]


def flat_prompts(offers) -> list[str]:
    """The prompts of what `task_prompts` returned, one after the other."""
    return [text for _, classes in offers for texts in classes.values() for text in texts]


def variants_in(spec: str) -> list[str]:
    """Every way to name a class set of one file: as it stands there, then each of its variants.

    Raises
    ------
    ClassSetError  if there is no such file, or it cannot be read
    """
    path, variant = find(spec, "class_sets")
    bare = spec.removesuffix(f":{variant}") if variant else spec
    variants = read(path, *_KEYS).get("variants") or {}
    return [bare, *(f"{bare}:{name}" for name in variants)]
