"""A finished run as tables: what a researcher takes home from a run folder."""

import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path

import pandas as pd

from clipeval.errors import DataError, ParameterError, as_text, first_line
from clipeval.output.csv_files import read_csv
from clipeval.session.record import RunRecord, read_run, with_paths
from clipeval.sources.recorded import read_answers


class _Named(dict):
    """What a run holds by study id; a study that it does not hold is one sentence."""

    def __init__(self, run: str, found: Mapping):
        super().__init__(found)
        self._run = run

    def __missing__(self, study: str):
        raise ParameterError(f'{self._run} has no study "{study}"; it has {", ".join(self)}.')


class _Tables(Mapping):
    """Table id -> the study's tidy table, read from its CSV at first use."""

    def __init__(self, study: str, paths: dict[str, Path]):
        self._study, self._paths, self._read = study, paths, {}

    def __getitem__(self, id: str) -> pd.DataFrame:
        if id not in self._paths:
            raise ParameterError(
                f'{self._study} has no table "{id}"; it has {", ".join(self._paths)}.'
            )
        if id not in self._read:
            self._read[id] = read_csv(self._paths[id])
        return self._read[id]

    def get(self, id: str, default=None):
        return self[id] if id in self else default

    def __contains__(self, id: object) -> bool:
        return id in self._paths

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)


class Run:
    """A run folder, as `load_run` returns it.

    Attributes
    ----------
    folder : Path, absolute; `name` is its last part
    record : RunRecord, what the run recorded of itself
    tables : study id -> table id -> DataFrame
    """

    def __init__(self, folder: Path, record: RunRecord):
        self.folder, self.record = folder, record

    @property
    def name(self) -> str:
        return self.folder.name

    def __repr__(self) -> str:
        return f"<clipeval run {self.name}: {', '.join(self.tables)}>"

    @cached_property
    def tables(self) -> dict[str, Mapping[str, pd.DataFrame]]:
        """Study id -> table id -> the study's tidy table (percents 0-100)."""
        found = {}
        for study in self.record.studies:
            paths = sorted((self.folder / study / "tables").glob("*.csv"))
            found[study] = _Tables(study, {path.stem: path for path in paths})
        return _Named(f"run {self.name}", found)

    def predictions(self, study: str) -> pd.DataFrame:
        """Answers of a study: image_id, task, method, class_set, templates, rank, label, prob, groups.

        Raises
        ------
        DataError  if the run holds none of that study, or they are damaged
        """
        path = self.folder / study / "predictions.parquet"
        if not path.is_file():
            raise DataError(
                f"{self.folder} holds no predictions of {study}; it has studies "
                f"{', '.join(self.record.studies)}."
            )
        return read_answers(path, study)

    def prompts(self, study: str) -> dict[str, dict[str, list[str]]]:
        """Prompts of a study as they were sent: task -> class -> prompts; empty where it sent none.

        Raises
        ------
        DataError  if they are damaged
        """
        path = self.folder / study / "prompts.json"
        try:
            return json.loads(path.read_text("utf-8")) if path.is_file() else {}
        except (OSError, ValueError) as error:
            raise DataError(
                f"{path} cannot be read ({first_line(error)}); run {study} again."
            ) from None

    def plot(self, study: str, id: str, ax=None):
        """Draw a table into axes of your own: a dot and its interval a row, published values as diamonds.

        Parameters
        ----------
        study, id : of the table
        ax : matplotlib Axes; by default the current ones

        Returns
        -------
        matplotlib Axes
        """
        import matplotlib.pyplot as plt

        from clipeval.output.tables import group_columns

        table = self.tables[study][id]
        table = table[table["percent"].notna()].reset_index(drop=True)
        names = [name for name in group_columns(table) if table[name].nunique() > 1]
        names += ["metric"] if table["metric"].nunique() > 1 or not names else []
        labels = table[names].astype(str).agg(", ".join, axis=1)
        ax = plt.gca() if ax is None else ax
        at = range(len(table))
        ends = [table["percent"] - table["ci_low"], table["ci_high"] - table["percent"]]
        ax.errorbar(table["percent"], at, xerr=ends, fmt="o", markersize=4, label="this run")
        if table["published"].notna().any():
            ax.plot(table["published"], at, "D", markerfacecolor="none", label="published")
        ax.set_yticks(list(at), labels)
        ax.invert_yaxis()
        ax.set_xlabel("percent of images")
        return ax


def load_run(folder: str | Path) -> Run:
    """A finished run's tables, predictions and record.

    Parameters
    ----------
    folder : run folder, as `clipeval run --out` wrote it

    Returns
    -------
    Run

    Raises
    ------
    DataError  if it is not a run folder

    Examples
    --------
    >>> load_run("reports/demo").tables["denigration"]["by_race"]  # doctest: +SKIP
    """
    folder = Path(as_text(folder, "run folder")).expanduser().resolve()
    record = read_run(folder)
    if record is None:
        raise DataError(
            f"{folder} is not a run folder, as it has no run.json; name a folder that `clipeval run "
            "--out` wrote."
        )
    studies = {study: with_paths(found, folder) for study, found in record.studies.items()}
    studies = _Named(f"run {folder.name}", studies)
    return Run(folder, record.model_copy(update={"studies": studies}))
