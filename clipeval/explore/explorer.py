"""What is chosen and what is found: classes and images in, probabilities and rates out."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from clipeval.classify import zeroshot
from clipeval.classify.class_sets import ClassSet, Templates, class_set_of, prompts_for
from clipeval.errors import ClassSetError, ParameterError
from clipeval.explore import keep, view
from clipeval.explore.called import called, listed
from clipeval.session.parameters import refuse_cards
from clipeval.session.run_folder import check_out
from clipeval.stats import group_rates

_LINE = re.compile(r"(?P<name>[^\[\]]+?)(?::\s+(?P<text>[^\[\]]+?))?\s*(?:\[(?P<of>[^\[\]]*)\])?")


@dataclass(frozen=True)
class Choice:
    """What is looked at.

    Attributes
    ----------
    classes : str
        One class a line: `class` or `class: what the template receives`, then `[category, ...]` if
        it is to be counted together with others.
    templates : str, one a line, `{}` where the class goes
    by : grouping columns; several make intersections, none takes all images together
    where : group column -> values whose images are kept; a column without values keeps all
    sample, seed : a seeded random sample of that many of them; 0 for all
    counted : classes and categories whose rates are shown; () for the categories, or where there
        are none for the classes that come out on top most often. A class that is typed anew without a
        category joins them, while there are fewer than `view.COLOURS`.
    """

    classes: str
    templates: str
    by: tuple[str, ...] = ()
    where: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sample: int = 0
    seed: int = 0
    counted: tuple[str, ...] = ()


def read_classes(text: str) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Classes (class -> text) and categories (category -> classes) from typed lines.

    Raises
    ------
    ClassSetError  if a line cannot be read or a class stands twice

    Examples
    --------
    >>> read_classes("man\\nthief: a thief [crime-related]")
    ({'man': 'man', 'thief': 'a thief'}, {'crime-related': ['thief']})
    """
    classes: dict[str, str] = {}
    categories: dict[str, list[str]] = {}
    for line in _lines(text):
        found = _LINE.fullmatch(line)
        if not found or not found["name"].strip():
            raise ClassSetError(
                f'the line "{line}" is not a class; write "class", "class: text" or '
                '"class [category]".'
            )
        name = found["name"].strip()
        if name in classes:
            raise ClassSetError(f'class "{name}" is listed twice; remove one.')
        classes[name] = (found["text"] or name).strip()
        for category in filter(None, map(str.strip, (found["of"] or "").split(","))):
            categories.setdefault(category, []).append(name)
    return classes, categories


def class_lines(class_set: ClassSet, task: str | None = None) -> str:
    """One task of a class set as lines that `read_classes` reads."""
    lines = []
    for name, text in class_set.classes(task).items():
        of = [category for category, members in class_set.categories.items() if name in members]
        said = name if text == name else f"{name}: {text}"
        lines.append(f"{said} [{', '.join(of)}]" if of else said)
    return "\n".join(lines)


def _lines(text: str) -> tuple[str, ...]:
    return tuple(filter(None, map(str.strip, text.splitlines())))


def _names(given) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(map(str, given or ()))


def start(values: Mapping) -> "Explorer":
    """An explorer by the parameters that stand in `values`, such as a notebook's ``globals()``.

    Parameters
    ----------
    values : mapping
        `study` (denigration if absent), `task`, and the study's parameters; `class_set` and
        `templates` may be empty for the study's own.

    Raises
    ------
    ParameterError  if a value is not accepted
    """
    from clipeval import studies

    empty = {name for name in ("class_set", "templates") if not values.get(name)}
    given = {name: value for name, value in values.items() if name not in empty}
    # any words may be explored, also such as the study itself would refuse
    also = {"study", "task", *empty}
    session = studies.opened(values.get("study") or "denigration", given, also=also)
    refuse_cards(session.parameters)
    check_out(session.parameters)
    return Explorer(session, task=values.get("task") or None)


class Explorer:
    """A data set's stored embeddings, asked whatever is typed.

    Only prompts that were never asked are encoded (the model is loaded for the first of them); they
    are kept in the store. No image is opened but for thumbnails.

    Parameters
    ----------
    session : Session
        Gives the images, the model, the class set and templates to start from, and the study that
        may be run with what was found.
    task : str or None
        Task of the class set that is explored; by default its first.
    choices : fields of `Choice` to start with, as for `set`

    Attributes
    ----------
    choice : Choice
    groups : list of str, columns that images can be grouped by
    items : list of str, categories and classes that can be counted
    class_set, templates : as typed
    before_encoding : called with the number of new prompts before they are encoded, which loads the
        model if none was encoded before
    images : DataFrame, the images chosen: those of the session with `top` (class)
    probabilities : DataFrame, images chosen x classes, fractions
    scores : DataFrame, one row an image and counted item: image_id, groups, counted, prob
        (fraction; of a category: its classes' sum, for sigmoid scores their largest), hit (top
        class is the item or in it)
    rates : DataFrame, a study table: columns of `by`, n, count, metric (the counted item), percent
        (of the group's images, those with it as top class), ci_low, ci_high (Wilson, 95 %),
        published, difference (none here), probability (mean, percent)

    Raises
    ------
    ParameterError  if the session's study names no class set to start from
    """

    def __init__(self, session, task: str | None = None, **choices):
        if not session.parameters.class_set:
            raise ParameterError(
                f"{session.study.id} takes its classes from the data, so there are none to start "
                "from; set class_set to a class set, such as denigration."
            )
        self.session = session
        self.task = task or session.class_set.counted_task()
        self.groups = list(session.images.attrs["groups"])
        embeddings = session.embed()
        read = session.images.set_index("image_id").loc[embeddings.image_id]
        self._all = read.reset_index()
        self._matrix = embeddings.matrix
        self.before_encoding = lambda count: None
        asked = session.groupings
        self.choice = Choice(
            classes=class_lines(session.class_set, self.task),
            templates="\n".join(session.templates.templates),
            by=asked.kept[0].columns if asked.asked else tuple(self.groups[:1]),
        )
        self.set(**choices)

    # -- choosing --------------------------------------------------------------------------------

    def set(self, **changes) -> "Explorer":
        """Change what is looked at; where that is refused, everything stays as it was.

        Parameters
        ----------
        changes : fields of `Choice`; lines may be given as a list of str

        Raises
        ------
        ClassSetError, ParameterError, ModelError
            If classes or templates cannot be used, or no image is left.
        """
        choice = replace(self.choice, **_normal(changes))
        class_set, templates = self._read(choice)
        items = list(dict.fromkeys([*class_set.categories, *class_set.classes()]))
        if "counted" not in changes:  # what is no longer there is no longer counted
            counted = [name for name in choice.counted if name in items]
            if counted:
                counted += [name for name in _free(class_set) if name not in self.items]
            choice = replace(
                choice, counted=tuple(counted[: max(len(choice.counted), view.COLOURS)])
            )
        self._check(choice, items)
        chosen = self._select(choice)
        prompts = prompts_for(class_set, templates)
        weights = zeroshot.class_weights(prompts, self._encode)
        self.session.refuse_one_text([("these classes", prompts)])
        near = zeroshot.similarities(self._matrix[chosen], weights)
        found = zeroshot.shares(near, self.session.info)
        # nothing is changed before everything was accepted
        self.choice, self.items = choice, items
        self.class_set, self.templates = class_set, templates
        self.probabilities = pd.DataFrame(found, columns=list(class_set.classes()))
        top = self.probabilities.columns.to_numpy()[near.argmax(axis=1)]
        self.images = self._all.iloc[chosen].reset_index(drop=True).assign(top=top)
        self.scores = self._score()
        self.rates = self._rate()
        return self

    def _read(self, choice: Choice) -> tuple[ClassSet, Templates]:
        classes, categories = read_classes(choice.classes)
        # what is typed is taken for the language of the words that it started from
        spoken = {"language": self.session.class_set.language}
        class_set = class_set_of("typed", {self.task: classes}, categories=categories, **spoken)
        lines = _lines(choice.templates)
        if lines == self.session.templates.templates:
            return class_set, self.session.templates
        if not lines or len(set(lines)) < len(lines):
            raise ClassSetError("there is no template, or one stands twice; fix the templates.")
        for line in lines:
            rest = line.replace("{}", "", 1).replace("{a}", "")
            if "{}" not in line or set(rest) & set("{}"):
                raise ClassSetError(
                    f'template "{line}" needs {{}} once, where the class goes, and no other braces '
                    "but {a}, where its article goes."
                )
        return class_set, Templates("typed", "1", "typed", lines, **spoken)

    def _check(self, choice: Choice, items: Sequence[str]) -> None:
        for name in (*choice.by, *choice.where):
            if name not in self.groups:
                have = ", ".join(self.groups) or "none"
                raise ParameterError(f'there is no group column "{name}"; there are {have}.')
        for name, values in choice.where.items():
            have = list(map(str, self._all[name].unique()))
            if absent := [v for v in values if v not in have]:
                raise ParameterError(
                    f'there are no images of {name} "{absent[0]}"; there are of {", ".join(have)}.'
                )
        if absent := [name for name in choice.counted if name not in items]:
            raise ParameterError(
                f'"{absent[0]}" is not a class or category; there are {", ".join(items)}.'
            )
        if choice.sample < 0:
            raise ParameterError(
                f"a sample of {choice.sample} images is none; give their number, or 0 for all."
            )

    def _select(self, choice: Choice) -> np.ndarray:
        """Positions of the images chosen."""
        from clipeval.datasets.base import sample

        keep = np.ones(len(self._all), dtype=bool)
        for name, values in choice.where.items():
            if values:
                keep &= self._all[name].astype(str).isin(values).to_numpy()
        if not keep.any():
            said = " and ".join(f"{k} {' or '.join(v)}" for k, v in choice.where.items() if v)
            raise ParameterError(f"there are no images of {said}; choose other groups.")
        positions = pd.DataFrame({"at": np.flatnonzero(keep)})
        return sample(positions, choice.sample, choice.seed)["at"].to_numpy()

    def _encode(self, prompts: list[str]) -> np.ndarray:
        if new := self.session.source.not_encoded(prompts):
            self.before_encoding(len(new))
        return self.session.encode(prompts)

    # -- numbers ---------------------------------------------------------------------------------

    @property
    def counted(self) -> list[str]:
        """Classes and categories whose rates are shown; if none are chosen, as many as have a colour."""
        names, most = list(self.probabilities.columns), view.COLOURS
        if self.choice.counted:
            return list(self.choice.counted)
        known = self.session.class_set
        new = [name for name in _free(self.class_set) if name not in known.classes(self.task)]
        if self.class_set.categories:
            first = [name for name in known.categories if name in self.class_set.categories]
            return list(dict.fromkeys([*first, *self.class_set.categories, *new]))[:most]
        often = list(dict.fromkeys([*new, *self.images["top"].value_counts().index]))[:most]
        return [name for name in names if name in often or len(names) <= most]

    @property
    def slots(self) -> list[int]:
        """Number of the colour and marker of each counted item; a category keeps its own."""
        known = [*self.session.class_set.categories, *self.class_set.categories]
        own = {name: i for i, name in enumerate(dict.fromkeys(known)) if i < view.COLOURS}
        own = {name: own[name] for name in self.counted if name in own}
        free = iter(i for i in range(len(self.counted)) if i not in own.values())
        return [own[name] if name in own else next(free) for name in self.counted]

    def _score(self) -> pd.DataFrame:
        softmax, parts = self.session.info.score == "softmax", []
        for name in self.counted:
            members = self.class_set.categories.get(name, [name])
            shares = self.probabilities[members]
            # shares of a softmax add up; sigmoids answer a question each
            prob = shares.sum(axis=1).clip(upper=1.0) if softmax else shares.max(axis=1)
            part = self.images[["image_id", *self.groups]].assign(counted=name, prob=prob)
            parts.append(part.assign(hit=self.images["top"].isin(members)))
        return pd.concat(parts, ignore_index=True)

    def _rate(self) -> pd.DataFrame:
        by, parts = list(self.choice.by), []
        for name in self.counted:
            part = self.scores[self.scores["counted"] == name]
            table = group_rates(part, "hit", by=by, metric=name, observed=True)
            table = table.assign(published=np.nan, difference=np.nan)
            mean = part.groupby(by, observed=True)["prob"].mean() if by else part["prob"].mean()
            parts.append(table.assign(probability=100 * np.asarray(mean)))
        return pd.concat(parts).sort_index(kind="stable").reset_index(drop=True)

    def called(self, name: str) -> pd.DataFrame:
        """The images chosen that are called `name`, the surest first; see `called.called`."""
        return called(self, name)

    # -- what is shown and kept ------------------------------------------------------------------

    def figure(self):
        """Probabilities of images beside the rates of their groups; see `view.figure`."""
        return view.figure(self)

    def show(self, thumbnails: int = 0, called: str = ""):
        """Figure, caption and table as they stand now (HTML), and thumbnails only if asked for.

        Parameters
        ----------
        thumbnails : how many pictures; 0 for none
        called : a class or category: those called so are listed, and only their pictures shown; see `called`
        """
        from IPython.display import HTML

        parts = [view.result(self), *([listed(self, called)] if called else [])]
        parts += [view.thumbnails(self, thumbnails, called=called)] if thumbnails else []
        return HTML("".join(parts))

    def panel(self):
        """Widgets to explore with, in a notebook that runs."""
        from clipeval.explore.panel import Panel

        return Panel(self)

    def save(self, name: str, folder: str = "") -> keep.Saved:
        """Keep what was typed as a named class set; see `keep.save`."""
        return keep.save(self, name, folder)

    def run(self, saved: keep.Saved, out: str = ""):
        """Run the session's study with a saved class set; see `keep.run`."""
        return keep.run(self, saved, out)


def _free(class_set: ClassSet) -> list[str]:
    """Classes that are in no category."""
    within = {name for members in class_set.categories.values() for name in members}
    return [name for name in class_set.classes() if name not in within]


def _normal(changes: dict) -> dict:
    """Lists and single names brought to the types of `Choice`; unknown fields refused."""
    known = Choice.__dataclass_fields__
    if unknown := [name for name in changes if name not in known]:
        raise ParameterError(f'there is no "{unknown[0]}" to choose; there are {", ".join(known)}.')
    changes = dict(changes)
    for name in ("classes", "templates"):
        if name in changes and not isinstance(changes[name], str):
            changes[name] = "\n".join(changes[name])
    for name in ("by", "counted"):
        if name in changes:
            changes[name] = _names(changes[name])
    if "where" in changes:
        changes["where"] = {k: _names(v) for k, v in (changes["where"] or {}).items()}
    return changes
