"""CSV files: texts that a spreadsheet would run are guarded and come back, numbers are left alone."""

import csv
import io
import itertools

import numpy as np
import pandas as pd
import pytest

from clipeval.output.csv_files import read_csv, to_csv
from clipeval.output.tables import write_table
from clipeval.runs.finished import Run
from clipeval.session.record import RunRecord, StudyRecord

STARTS = ["=", "+", "-", "@", "\t", "\r", "\n"]
BODIES = ["", "1", "cmd|' /C calc'!A0", "SUM(1,2)", "-x", 'a "b", c\r\nd', "'"]
#: every start behind none, one or two apostrophes, before every body; and texts that are harmless
TEXTS = ["'" * n + a + b for n, a, b in itertools.product(range(3), STARTS, BODIES)]
TEXTS += ["White", "20-29", "'quoted'", "it's", "a=b", "x\ry", "’=1", "70+", '"', "''"]


def cells(text: str) -> list[list[str]]:
    """As a spreadsheet reads the file: by the standard library."""
    return list(csv.reader(io.StringIO(text, newline="")))


def test_every_text_comes_back_and_none_begins_as_a_formula(tmp_path):
    table = pd.DataFrame({"group": TEXTS, "n": range(len(TEXTS))})
    text = to_csv(table)
    rows = cells(text)
    assert len(rows) == len(TEXTS) + 1 and {len(row) for row in rows} == {2}
    assert not [row[0] for row in rows if row[0][:1] in STARTS]
    (tmp_path / "t.csv").write_bytes(text.encode())
    pd.testing.assert_frame_equal(read_csv(tmp_path / "t.csv"), table)


@pytest.mark.parametrize("text", ["=1+1", "@SUM(A1)", "-2", "+1", "\tx", "\rx"])
def test_a_guarded_cell_is_the_text_behind_one_apostrophe(text):
    assert cells(to_csv(pd.DataFrame({"a": [text]})))[1] == ["'" + text]


def test_numbers_are_written_as_they_are(tmp_path):
    table = pd.DataFrame(
        {
            "gap": [-1.5, -0.0],
            "n": pd.array([-3, None], dtype="Int64"),
            "mixed": pd.Series([-4, "-4"], dtype=object),
            "kind": pd.Categorical(["-a", "b"]),
            "there": [True, False],
            "none": [None, np.nan],
        }
    )
    assert to_csv(table) == (
        "gap,n,mixed,kind,there,none\n-1.5,-3,-4,'-a,True,\n-0.0,,'-4,b,False,\n"
    )
    (tmp_path / "t.csv").write_text(to_csv(table))
    found = read_csv(tmp_path / "t.csv")
    assert found["gap"].tolist() == [-1.5, 0.0] and found["mixed"].tolist() == ["-4", "-4"]


def test_heads_are_texts_too(tmp_path):
    table = pd.DataFrame([["a", 1]], columns=["=group", "-n"])
    assert to_csv(table) == "'=group,'-n\na,1\n"
    (tmp_path / "t.csv").write_text(to_csv(table))
    assert list(read_csv(tmp_path / "t.csv")) == ["=group", "-n"]


def test_other_tables_have_the_bytes_that_pandas_gives_them():
    table = pd.DataFrame({"a": ["x, y", 'say "z"', None], "p": [0.25, np.nan, -1e-9]})
    assert to_csv(table) == table.to_csv(index=False, lineterminator="\n")


def test_a_finished_run_has_the_groups_as_the_data_name_them(tmp_path):
    groups = ["=HYPERLINK(1)", "-5", "White"]
    table = pd.DataFrame({"group": groups, "n": [4, 4, 4], "metric": "rate", "percent": 50.0})
    ends = {"ci_low": 10.0, "ci_high": 90.0, "published": np.nan, "difference": np.nan}
    write_table(table.assign(**ends), tmp_path / "fairface" / "tables", "by_group", "A table.")
    assert "\n'=HYPERLINK(1),4,rate" in (tmp_path / "fairface/tables/by_group.csv").read_text()
    run = Run(
        tmp_path, RunRecord(clipeval="0", studies={"fairface": StudyRecord(study="fairface")})
    )
    assert run.tables["fairface"]["by_group"]["group"].tolist() == groups
