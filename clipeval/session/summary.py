"""A session without images: what it works with are the studies of a run folder."""

from functools import cached_property

import pandas as pd

from clipeval.output.csv_files import read_csv
from clipeval.output.markup import markdown
from clipeval.output.provenance import Provenance, package_versions
from clipeval.session.record import StudyRecord, read_studies, with_paths
from clipeval.session.session import Session


class SummarySession(Session):
    """The studies of the run folder `out`: their records and tables."""

    @cached_property
    def records(self) -> dict[str, StudyRecord]:
        """Study id -> what the study recorded of itself."""
        found = read_studies(self.parameters.out_folder)
        out = self.parameters.out_folder
        return {s: with_paths(record, out) for s, record in found.items() if s != self.study.id}

    @property
    def tables(self) -> dict[tuple[str, str], pd.DataFrame]:
        """(study, table id) -> table, of every study that finished; `attrs["confidence"]` that of its intervals."""
        found = {}
        for study, record in self.records.items():
            for table in record.tables:
                place = self.parameters.out_folder / study / "tables" / f"{table.id}.csv"
                found[study, table.id] = read_csv(place)
                level = record.parameters.get("confidence", 0.95)
                found[study, table.id].attrs["confidence"] = level
        return found

    @property
    def models(self) -> list[str]:
        """Names of the models that the studies ran, each once."""
        return list(dict.fromkeys(r.model.name for r in self.records.values() if r.model))

    @cached_property
    def provenance(self) -> Provenance:
        """The model that all studies share, and nothing of one data set."""
        records = self.records.values()
        names = dict.fromkeys(r.dataset.name for r in records if r.dataset)
        return Provenance(
            model=" and ".join(self.models),
            precision=next((r.model.precision or "" for r in records if r.model), ""),
            dataset="; ".join(names),
            labels="Group labels are those of each data set.",
            test_cards=any(r.test_cards for r in records),
            parameters={"studies": {study: r.prompts_hash for study, r in self.records.items()}},
        )

    def describe(self):
        """Which studies of which model it draws on (Markdown)."""
        from IPython.display import Markdown

        return Markdown(self.about())

    def about(self) -> str:
        """The same as text."""
        if not self.records:
            return (
                f"No study has been run in this folder yet, so the {self.study.id} is empty; run `clipeval "
                f"run`, which makes the {self.study.id} last, or name a run folder with the parameter `out`."
            )
        ran = ", ".join(
            f"{study} ({r.dataset.read:,} images)" for study, r in self.records.items() if r.dataset
        )
        text = markdown(
            "Model: {models}. Studies: {ran}. Each number is explained in its study's notebook.",
            models=", ".join(self.models),
            ran=ran,
        )
        if len(self.models) > 1:
            text += (
                f" **The studies ran different models: this {self.study.id} is not of one model.**"
            )
        return text

    def keep_answers(self) -> None:
        """Nothing: the tables of the other studies are in the run folder."""

    def record(self) -> StudyRecord:
        """What it was drawn from."""
        return StudyRecord(
            study=self.study.id,
            title=self.study.title,
            parameters=self.parameters.model_dump(),
            drawn_from={study: r.prompts_hash for study, r in self.records.items()},
            test_cards=self.provenance.test_cards,
            code=self.code,
            versions=package_versions(),
            **self._results(),
        )
