"""Numbers of a table as they stand in the sentence that says what a study found."""

from collections.abc import Mapping, Sequence

from clipeval.output.numbers import decimals_of, interval, is_nats


def rate(row: Mapping, unit: str = "%") -> str:
    """A percent with its interval, such as "36.8 % [34.7, 38.9]".

    Parameters
    ----------
    row : of a study table: `percent`, `ci_low`, `ci_high`
    unit : what stands after the number; "points" for a difference of percents; none of what is in nats
    """
    metric = row.get("metric", "")
    how = {"unit": "" if is_nats(metric) else unit, "decimals": decimals_of(metric)}
    return interval(row["percent"], row["ci_low"], row["ci_high"], **how)


def listed(parts: Sequence[str]) -> str:
    """Parts of a sentence, the last after "and"."""
    return " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))
