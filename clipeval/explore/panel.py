"""Widgets before an `Explorer`: they pass on what is chosen, show what comes out, and hold no logic."""

import os
from pathlib import Path

import ipywidgets as w

from clipeval.errors import ClipevalError
from clipeval.explore import keep, view
from clipeval.explore.called import listed
from clipeval.output.markup import html

WIDE = {"description_width": "110px"}
STATIC = "The widgets need a notebook that runs: open it in JupyterLab. The result stands below."


class Panel(w.VBox):
    """The widgets of one explorer, by name, so that each can be set from code as well.

    Attributes
    ----------
    classes, templates, by, where, sample, seed, counted : what is chosen
    called : a class or category whose images are listed, and shown by `pictures`
    pictures, name, save, run : buttons, and the name of the class set to keep
    message, result, listed, gallery, kept : HTML that is shown
    """

    def __init__(self, explorer):
        self.explorer = explorer
        self.saved = None
        self._filling = False
        explorer.before_encoding = self._wait
        choice, area = explorer.choice, {"continuous_update": False, "style": WIDE}
        wide = w.Layout(width="98%")
        self.classes = w.Textarea(
            choice.classes, description="Classes", rows=12, layout=wide, **area
        )
        self.templates = w.Textarea(
            choice.templates, description="Templates", rows=2, layout=wide, **area
        )
        self.by = _several(explorer.groups, "Group by", choice.by)
        self.where = {
            name: _several(
                explorer.session.images[name].cat.categories.astype(str),
                f"Only {name}",
                choice.where.get(name, ()),
            )
            for name in explorer.groups
        }
        self.counted = _several(explorer.items, "Count", explorer.counted)
        self.sample = w.BoundedIntText(
            choice.sample, 0, 10**9, description="Sample (0: all)", **area
        )
        self.seed = w.IntText(choice.seed, description="Seed", **area)
        self.message = w.HTML()
        self.result = w.HTML()
        self.called = w.Dropdown(
            options=["", *explorer.items], description="Those called", style=WIDE
        )
        self.listed = w.HTML()
        self.pictures = w.Button(description="Show thumbnails", tooltip="of the images chosen")
        self.gallery = w.HTML()
        self.name = w.Text(
            placeholder="name", description="Class set", continuous_update=False, style=WIDE
        )
        self.save = w.Button(description="Save as class set")
        self.run = w.Button(
            description="Run study", disabled=True, tooltip="with the class set that was saved"
        )
        self.kept = w.HTML()
        super().__init__(self._rows())
        for name in ("classes", "templates", "by", "sample", "seed", "counted"):
            getattr(self, name).observe(self._changed, "value")
        for box in self.where.values():
            box.observe(self._changed, "value")
        self.called.observe(lambda _: self._filling or self._try(self._list, self.listed), "value")
        self.pictures.on_click(lambda _: self._try(self._show_pictures, self.gallery))
        self.save.on_click(lambda _: self._try(self._save, self.kept))
        self.run.on_click(lambda _: self._try(self._run, self.kept))
        self._show()

    def __repr__(self):  # what a reader sees where no widget can be drawn
        return STATIC

    def _rows(self) -> list:
        hint = "One class a line: class, or class: text for the template, or class [category]."
        asking = [w.HTML(hint), self.classes, self.templates, self.counted]
        choosing = [self.by, *self.where.values(), self.sample, self.seed]
        # what is found stands beside what is typed, and not below it
        left, right = w.VBox([*asking, *choosing]), w.VBox([self.message, self.result])
        left.layout.width, right.layout.width = "36%", "62%"
        keeping = w.HBox([self.name, self.save, self.run])
        note = w.HTML(
            html(
                "Run study runs {{ study }} with the class set that was saved, on all images.",
                study=self.explorer.session.study.id,
            )
        )
        return [
            w.HBox([left, right]),
            keeping,
            note,
            self.kept,
            w.HBox([self.called, self.pictures]),
            self.listed,
            self.gallery,
        ]

    # -- what happens ----------------------------------------------------------------------------

    def _changed(self, change) -> None:
        if self._filling:
            return
        self._try(lambda: self._ask(change["owner"] is self.counted), self.message)

    def _ask(self, counting: bool) -> None:
        choice = {
            "classes": self.classes.value,
            "templates": self.templates.value,
            "by": self.by.value,
            "where": {name: box.value for name, box in self.where.items()},
            "sample": self.sample.value,
            "seed": self.seed.value,
        }
        if counting:
            choice["counted"] = self.counted.value
        self.explorer.set(**choice)
        self.message.value = ""
        self.gallery.value = ""  # its images may no longer be those chosen
        self._show()

    def _wait(self, count: int) -> None:
        what = "a new prompt" if count == 1 else f"{count:,} new prompts"
        self.message.value = html(
            '<p role="status">Encoding {{ what }}; the first of a session loads the model ...</p>',
            what=what,
        )

    def _show(self) -> None:
        self._filling = True  # what is set here is no wish of the user
        try:
            self.counted.options = self.explorer.items
            self.counted.value = tuple(self.explorer.counted)
            asked = self.called.value if self.called.value in self.explorer.items else ""
            self.called.options = ["", *self.explorer.items]
            self.called.value = asked
        finally:
            self._filling = False
        self.result.value = view.result(self.explorer)
        self._list()

    def _list(self) -> None:
        self.gallery.value = ""  # its images may no longer be those listed
        name = self.called.value
        self.listed.value = listed(self.explorer, name) if name else ""

    def _show_pictures(self) -> None:
        self.gallery.value = view.thumbnails(self.explorer, called=self.called.value)

    def _save(self) -> None:
        self.saved = self.explorer.save(self.name.value.strip())
        self.run.disabled = False
        self.kept.value = html(
            "<p>Saved as {{ saved.class_set }}. Run it with</p><pre>{{ saved.command }}</pre>",
            saved=self.saved,
        )

    def _run(self) -> None:
        study = self.explorer.session.study.id
        self.run.disabled = True
        try:
            page = keep.run(self.explorer, self.saved, tell=self._tell)
        finally:
            self.run.disabled = False
        self.kept.value = html(
            '<p>{{ study }} is done: <a href="{{ link }}" target="_blank">{{ page }}</a></p>',
            study=study,
            page=page,
            link=_link(page),
        )

    def _tell(self, study: str, state: str, share: float, seconds: float) -> None:
        said = f"{study}: {state}, {share:.0%}"
        self.kept.value = html("<p>{{ said }}</p>", said=said)

    def _try(self, action, place: w.HTML) -> None:
        """Whatever goes wrong is one sentence where the user looks."""
        try:
            action()
        except ClipevalError as error:
            sentence = str(error)
        except Exception as error:
            sentence = f"{type(error).__name__}: {error}"
        else:
            return
        place.value = html(
            '<p role="alert" style="color:#a00000">{{ sentence }}</p>', sentence=sentence
        )


def _link(page: Path) -> str:
    """Address of a page as a notebook's own folder sees it, as Jupyter shows files; elsewhere the file's own."""
    here = Path.cwd()
    return os.path.relpath(page, here) if page.is_relative_to(here) else page.as_uri()


def _several(options, description: str, chosen) -> w.SelectMultiple:
    options = list(options)
    return w.SelectMultiple(
        options=options,
        value=tuple(chosen),
        description=description,
        rows=min(len(options), 5),
        style=WIDE,
    )
