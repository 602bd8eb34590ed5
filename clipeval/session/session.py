"""One study's run: what its notebook works with, and the folder that its results are kept in."""

import functools
import json
import time
from pathlib import Path

import pandas as pd

from clipeval.embedding.images import say_notes
from clipeval.errors import NotStoredError
from clipeval.files import Folder, as_json, sha256
from clipeval.output.csv_files import to_csv
from clipeval.output.markup import Shown, markdown, render
from clipeval.output.provenance import (
    WILSON,
    Provenance,
    bibtex,
    caption,
    code_version,
    legend,
    package_versions,
)
from clipeval.output.tables import notes_of, show_table, write_table
from clipeval.session.inputs import Inputs
from clipeval.session.local_paths import hider
from clipeval.session.parameters import Parameters
from clipeval.session.record import StudyRecord, write_run, write_study
from clipeval.session.run_folder import refuse_mixing
from clipeval.sources import recorded

#: what the runner did for this process's study before its notebook started; see `Inputs.work`
work_before: dict = {}


class Session(Inputs):
    """The inputs of a study, and what its notebook does with the results: shows and keeps them.

    Parameters
    ----------
    study, parameters, how : as in `Inputs`
    """

    def __init__(self, study, parameters: Parameters, **how):
        super().__init__(study, parameters, **how)
        self._kept: dict[str, dict[str, dict]] = {"tables": {}, "figures": {}}
        self._tables: dict[str, pd.DataFrame] = {}
        self._answers: dict[str, pd.DataFrame] = {}
        self._against_fp32 = ""

    @property
    def folder(self) -> Path:
        """Folder of this study within the run folder."""
        return self.parameters.out_folder / self.study.id

    @functools.cached_property
    def provenance(self) -> Provenance:
        """What the tables and figures of this session are made from."""
        attrs, embeddings = self.images.attrs, self.embed()
        p = self.parameters
        notes = self.hide(list(attrs.get("notes", [])))
        if attrs.get("planted") and p.own_words:
            notes.append("Cards answer the bundled words: what they answer to others is chance.")
        return Provenance(
            model=self.info.model,
            pretrained=self.info.pretrained,
            precision=p.precision if self.info.is_known else "",
            activation=self.info.activation or "",
            resize=p.resize if self.info.is_known else "",
            device=self.work()["device"],
            dataset=attrs["name"],
            version=attrs.get("version", ""),
            n=len(embeddings),
            unreadable=len(embeddings.unreadable),
            class_set=self.class_set.name if p.class_set else "",
            class_set_version=self.class_set.version if p.class_set else "",
            variant=self.class_set.variant if p.class_set else "",
            templates=self.templates.label,
            labels=attrs.get("labels", ""),
            notes=tuple(notes),
            test_cards=bool(attrs.get("planted")),
            parameters=p.model_dump(),
            **self.study.about(self),
        )

    @functools.cached_property
    def code(self) -> dict:
        """Version, commit and dirty flag of the code that runs."""
        return code_version()

    def describe(self):
        """What data this is, whose labels, on what terms, and what the model does to a picture (Markdown)."""
        from IPython.display import Markdown

        attrs, info, n = self.images.attrs, self.info, len(self.images)
        said = {k: attrs.get(k, "") for k in ("name", "version", "labels", "licence", "terms")}
        lines = [
            markdown(
                "**Data.** {name}, {version}: {n:,} images. {labels} Licence: {licence}. {terms}",
                n=n,
                **said,
            ),
            markdown("**Model.** {model}.", model=_model_text(info)),
        ]
        if names := ", ".join(self.groupings.names):
            lines.append(markdown("**Groups.** Reported by {names}.", names=names))
        if left := " ".join(self.study.left_out(self)):
            lines.append(markdown("**Left out.** {left}", left=left))
        lines += [markdown("**Source.** {text}", text=text) for text in self.source.describe()]
        lines += [markdown("**Note.** {note}", note=note) for note in self.provenance.notes]
        if attrs.get("planted"):
            lines.insert(
                0,
                "**This is a replay on test cards: planted rates, read back from pixels. "
                "It is not a result about any model.**",
            )
        return Markdown("\n\n".join(lines))

    def on_test_cards(self, text: str):
        """A remark that is true of test cards only: shown on them (Markdown), else nothing."""
        from IPython.display import Markdown

        return Markdown(text) if self.images.attrs.get("planted") else None

    def reading(self):
        """How many images were read, what is special about some, which were not (Markdown).

        Writes unreadable.csv if there are any that were not.
        """
        from IPython.display import Markdown

        self.refuse_mixing(self.info)  # before hours of embedding
        embeddings = self.source.embed(self.images)
        lost = embeddings.unreadable
        special = f" {special}" if (special := say_notes(embeddings.notes)) else ""
        if len(lost) == 0:
            Folder(self.folder).remove("unreadable.csv")
            read = markdown("{read}", read=self.source.read)
            return Markdown(f"All {len(embeddings):,} images {read}.{special}")
        listed = lost[["image_id", "reason"]].map(self.hide)
        Folder(self.folder).write("unreadable.csv", to_csv(listed))
        total = len(lost) + len(embeddings)
        said = markdown("{lost}", lost=self.source.lost)
        return Markdown(
            f"**{len(lost):,} of {total:,} images {said}** (listed in unreadable.csv); "
            f"rates below are over {len(embeddings):,}.{special}"
        )

    @functools.cached_property
    def hide(self):
        """What puts names in place of this machine's paths; see `local_paths.hider`."""
        return hider(self.parameters.model_dump(), self.parameters.out_folder)

    def refuse_mixing(self, info) -> None:
        """Refuse a second model in the run folder, or other data for the study; see `run_folder`."""
        p = self.parameters
        refuse_mixing(p.out_folder, {self.study.id: p}, info)

    def answers(self, name: str, key: list, compute) -> pd.DataFrame:
        """What `compute` returns, remembered and kept in the study's folder: tables can be made of it again.

        For answers that are not among the predictions, such as those to other words.

        Parameters
        ----------
        name : of the file in OUT/STUDY/answers
        key, compute : as in `Source.remember`
        """
        self._answers[name] = found = self.source.recall(name, key, compute)
        return found

    def prompts(self):
        """The prompts sent to the model so far, one row a class (DataFrame)."""
        rows = [
            {"task": task, "class": name, "prompts": " | ".join(texts)}
            for task, classes in self._prompts.items()
            for name, texts in classes.items()
        ]
        return pd.DataFrame(rows)

    def save_predictions(self, predictions: pd.DataFrame) -> None:
        """Write predictions.parquet; with another precision than fp32, show how many top labels that changes."""
        with Folder(self.folder).writing("predictions.parquet") as beside:
            plain = predictions.copy(deep=False)
            plain.attrs = {}  # pandas would write them too
            plain.to_parquet(beside, index=False)
        if self.parameters.precision != "fp32":
            from IPython.display import Markdown, display

            self._against_fp32 = self.against_fp32(predictions)
            display(Markdown(self._against_fp32))

    def against_fp32(self, predictions: pd.DataFrame) -> str:
        """How much differs from the answers with fp32, whose embeddings must be stored: a sentence."""
        changed = {"precision": "fp32"}
        try:
            exact = self.study.open(
                self.parameters.model_copy(update=changed),
                source=self.source.other(stored_only=True, **changed),
                images=self.images,
                progress=False,
            )
            return self.differing(predictions, exact.predict())
        except NotStoredError:
            return (
                "**Not compared with fp32**, whose embeddings of these images are not stored: how many "
                f"{self.compared} {self.parameters.precision} changes is unknown. Run once with "
                "precision=fp32 to learn it."
            )

    #: what `differing` counts
    compared = "top labels"

    def differing(self, predictions: pd.DataFrame, exact: pd.DataFrame) -> str:
        """How many top labels differ from those with fp32: a sentence (Markdown)."""
        keys = [k for k in ("image_id", "task", "method") if k in predictions]
        tops = [
            table.loc[table["rank"] == 1, [*keys, "label"]].astype(str)
            for table in (predictions, exact)
        ]
        both = tops[0].merge(tops[1], on=keys, suffixes=("", "_fp32"))
        differ = both[both["label"] != both["label_fp32"]]
        tasks = ", ".join(f"{task} {n:,}" for task, n in differ["task"].value_counts().items())
        return markdown(
            "**{n:,} of {all:,} top labels ({share:.2g} %) differ from those with fp32**{tasks}",
            n=len(differ),
            all=len(both),
            share=100 * len(differ) / len(both),
            tasks=f": {tasks}." if tasks else ".",
        )

    def table(self, id: str, table: pd.DataFrame, text: str, *, extra=(), **how):
        """Keep a table as CSV and LaTeX, and show it with its caption and the line that computes it.

        Parameters
        ----------
        id : str, the table's id in the contract, such as "by_race"
        text : str, what it shows
        extra : columns after the contract's that are shown too, such as p values
        how : `intervals`, `published_source`, as in `provenance.caption`
        """
        said = caption(text, self.provenance, kind="table", **how)
        label = f"tab:{self.study.id}-{id}"
        write_table(table, self.folder / "tables", id, said, label=label, extra=extra)
        entry = self._keep("table", id, text, **how) | {"rows": len(table)}
        self._kept["tables"][id], self._tables[id] = entry, table
        rest = notes_of(table, id)
        said = {"caption": entry["caption"] + rest, "legend": entry["legend"] + rest}
        return show_table(table, id, **said, extra=extra, code=table.attrs.get("code", ""))

    def figure(self, id: str, figure, text: str, *, alt: str = "", **how):
        """Keep a figure as PDF, SVG and PNG, and show it with its caption.

        Parameters
        ----------
        id, text, how : as in `table`
        figure : matplotlib Figure, or a `functools.partial` that draws one, as in `save_figure`
        alt : str, what a reader who cannot see it is told
        """
        from base64 import b64encode

        from clipeval.output.saving import save_figure, seen_in
        from clipeval.output.style import WIDTHS

        paths = save_figure(
            figure,
            self.folder / "figures",
            id,
            caption(text, self.provenance, **how),
            self.provenance,
            alt=alt,
            known=self.store.figures,
            column=self.folder / "page",
        )
        alt, inches = seen_in(paths["svg"].read_bytes())
        wide = inches > WIDTHS["single"]
        drawn = {"alt": alt, "wide": wide, "column": "column" in paths}
        entry = self._keep("figure", id, text, **how) | drawn
        self._kept["figures"][id] = entry
        picture = {
            "png": b64encode(paths["png"].read_bytes()).decode(),
            "width": round(inches * 96 * 1.35),
        }
        html = render("figure", **entry | picture)
        about = {"kind": "figure", "id": id, "caption": entry["legend"]} | drawn
        return Shown(html, f"{entry['caption']} {alt}", about)

    def _keep(self, kind: str, id: str, text: str, **how) -> dict[str, str]:
        """What is on record of a table or figure."""
        cited = {"study": self.study.id, "title": text, "code": self.code}
        return {
            "id": id,
            "text": text,
            "legend": legend(text, kind=kind, **how),
            "intervals": how.get("intervals", WILSON),
            "caption": caption(text, self.provenance, kind=kind, code=self.code, **how),
            "bibtex": bibtex(id, self.provenance, **cited),
        }

    def _results(self) -> dict:
        """What was found and kept, as fields of the record."""
        kept = {name: list(entries.values()) for name, entries in self._kept.items()}
        try:
            finding = self.study.finding(self._tables)
        except (LookupError, ValueError):  # a notebook that keeps other tables, or none with rows
            finding = []
        return kept | {"finding": finding}

    def finish(self) -> Path:
        """Write prompts.json, study.json and the run's run.json; returns the study's folder."""
        Folder(self.folder).write("prompts.json", as_json(self._prompts))
        self.keep_answers()
        write_study(self.folder, self.record())
        write_run(self.parameters.out_folder)
        Folder(self.folder).tidy()
        return self.folder

    def keep_answers(self) -> None:
        """Write what tables are made of beside the predictions; see `sources.recorded`."""
        recorded.keep(self, self._answers)

    def work(self) -> dict:
        """What was done for this study so far, the runner's part included; see `Inputs.work`."""
        mine = super().work()
        before = {"device": "", "opened": 0, "encoded": 0, "at_once": 0, "seconds": {}}
        before |= work_before
        steps = dict.fromkeys([*before["seconds"], *mine["seconds"]])
        seconds = {k: before["seconds"].get(k, 0) + mine["seconds"].get(k, 0) for k in steps}
        return {
            "device": mine["device"] or before["device"],
            "opened": mine["opened"] + before["opened"],
            "encoded": mine["encoded"] + before["encoded"],
            "at_once": max(mine["at_once"], before["at_once"]),
            "seconds": {k: round(v, 2) for k, v in seconds.items()},
        }

    def record(self) -> StudyRecord:
        """All that is known of this run of the study."""
        from clipeval.embedding.embed import dataset_hash

        attrs, embeddings, work = self.images.attrs, self.embed(), self.work()
        train = self.study.trained_on(self)
        said = ("version", "licence", "citation", "labels")
        return StudyRecord(
            study=self.study.id,
            title=self.study.title,
            parameters=self.parameters.model_dump(),
            model=self.info,
            device=work["device"] or self.source.no_device,
            dataset={
                "name": attrs["name"],
                **{name: attrs.get(name, "") for name in said},
                "notes": [*attrs.get("notes", []), *filter(None, [say_notes(embeddings.notes)])],
                "images": len(self.images),
                "read": len(embeddings),
                "unreadable": len(embeddings.unreadable),
                "hash": self.data_hash,
            },
            train=train and {"images": len(train[1]), "hash": dataset_hash(*train)},
            test_cards=bool(attrs.get("planted")),
            **{"pack" if self.parameters.pack else "scores": self.source.sha256},
            class_sets=self._class_sets,
            templates={self.templates.label: {"hash": self.templates.hash}},
            prompts_hash=sha256(json.dumps(self._prompts)),
            code=self.code,
            versions=package_versions(),
            against_fp32=self._against_fp32,
            opened=work["opened"],
            encoded=work["encoded"],
            at_once=work["at_once"],
            seconds=work["seconds"] | {"notebook": round(time.perf_counter() - self._began, 2)},
            **self._results(),
        )


def _model_text(info) -> str:
    """What a report says of a model, what is unknown included."""
    if not info.is_known:
        scale = f", logit scale {info.logit_scale:.4g}" if info.score == "softmax" else ""
        return f"{info.name}, {info.weights_text}{scale}"
    run_by = "" if info.runtime == "torch" else f", image tower run by {info.runtime}"
    return (
        f"{info.name}, {info.precision}{run_by}, {info.activation or 'its own'} activation, logit scale "
        f"{info.logit_scale:.4g}, {info.score}. Preprocess: {_preprocess_text(info)}"
    )


def _preprocess_text(info) -> str:
    p = info.preprocess
    size = p.get("size")
    size = "x".join(map(str, size)) if isinstance(size, list | tuple) else size
    how = {
        "shortest": "shorter side to size, then the middle cut out: the sides of wide photos are lost",
        "longest": "longer side to size, the rest filled",
        "squash": "squashed to size",
    }.get(p.get("resize_mode"), p.get("resize_mode"))
    first = f"reduced to {p['reduced_to']} pixels first" if "reduced_to" in p else ""
    parts = (first, f"{size} pixels", p.get("interpolation"), how)
    return ", ".join(str(part) for part in parts if part)
