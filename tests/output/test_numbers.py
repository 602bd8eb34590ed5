"""Numbers as they are printed, each expectation typed by hand."""

import numpy as np
import pandas as pd
import pytest

from clipeval.output.numbers import count, interval, number, plain


@pytest.mark.parametrize(
    ("value", "decimals", "sign", "said"),
    [
        (12.34, 1, False, "12.3"),
        (-12.36, 1, False, "−12.4"),
        (12.34, 1, True, "+12.3"),
        (-0.04, 1, True, "0.0"),
        (-0.0, 2, True, "0.00"),
        (1234567.8, 1, False, "1,234,567.8"),
        (np.float64("nan"), 1, True, "–"),
        (pd.NA, 1, False, "–"),
        (None, 1, False, "–"),
    ],
)
def test_a_number(value, decimals, sign, said):
    assert number(value, decimals, sign=sign) == said


def test_counts_and_intervals():
    assert [count(v) for v in (0, 97698, np.int64(1000), pd.NA)] == ["0", "97,698", "1,000", "–"]
    assert interval(-1.25, -3.04, 0.01) == "−1.2 [−3.0, 0.0]"
    assert interval(np.nan, np.nan, np.nan) == "–"


def test_any_value_in_a_cell():
    values = [True, np.False_, 1234, 0.04567, -3.0, None, pd.NaT, "a b", ("x", 1)]
    said = ["yes", "no", "1,234", "0.0457", "−3", "–", "–", "a b", "('x', 1)"]
    assert [plain(value) for value in values] == said
