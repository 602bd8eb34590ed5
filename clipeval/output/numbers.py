"""Numbers as they are printed in tables, figures and pages: one decimal, a true minus, "–" where one is missing."""

import re

import numpy as np
import pandas as pd

MISSING = "–"
#: metrics that are no percent: what their columns hold is in nats, printed with three decimals
_NATS = re.compile(r"\b(?:MaxSkew|NDKL)")
#: metrics whose values are differences of percents
_POINTS = re.compile(r"\b(?:change|gap|difference)\b")


def decimals_of(metric: object) -> int:
    """Digits after the point of a value: one of a percent, three of what is in nats."""
    return 3 if is_nats(metric) else 1


def is_nats(metric: object) -> bool:
    """Whether the values of a metric are in nats (MaxSkew, NDKL) rather than percent."""
    return bool(_NATS.search(str(metric)))


def unit_of(metric: object) -> str:
    """The unit of a metric's values: "nats", "percentage points" for a change, gap or difference, else "percent"."""
    return (
        "nats"
        if is_nats(metric)
        else "percentage points"
        if _POINTS.search(str(metric))
        else "percent"
    )


def number(value: float, decimals: int = 1, sign: bool = False) -> str:
    """A number with thousands separators and a true minus; no zero carries a sign."""
    if pd.isna(value):
        return MISSING
    text = f"{abs(value):,.{decimals}f}"
    if float(text.replace(",", "")) == 0:
        return text
    return ("−" if value < 0 else "+" if sign else "") + text


def count(value: float) -> str:
    """A whole number with thousands separators."""
    return number(value, 0)


def interval(
    percent: float, low: float, high: float, sign: bool = False, unit: str = "", decimals: int = 1
) -> str:
    """A percent, its unit if one is given, and, where there is one, its interval in brackets."""
    ends = "" if pd.isna(low) else f" [{number(low, decimals)}, {number(high, decimals)}]"
    return number(percent, decimals, sign) + (f" {unit}" if unit else "") + ends


def p_value(p: float) -> str:
    """A p value as a sentence gives it, such as "p = 0.021" or "p < 0.001"."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def plain(value: object) -> str:
    """Any cell: numbers to three digits, truth as yes or no, text as it is."""
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if pd.api.types.is_scalar(value) and pd.isna(value):
        return MISSING
    if isinstance(value, float | np.floating):
        return f"{value:,.3g}".replace("-", "−")
    return f"{value:,}" if isinstance(value, int | np.integer) else str(value)
