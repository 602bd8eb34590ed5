"""Rates, intervals and gaps of 100,000,000 answers, counted a part at a time in constant memory.

    python benchmarks/statistics_scale.py [--answers 10000000] [--json FILE]

Answers are drawn with known rates for 14 groups (7 x 2) and three categories, a million at a time; each part is
counted by `stats.group_counts`, and the sums go into `stats.wilson` and `stats.gaps_of_counts`, which need no more than
counts. Beside seconds and peak memory is printed how many of the 42 intervals hold the rate that was drawn with (95 %
of them should), and that two parts counted apart give the table of both together, digit for digit.
"""

import argparse
import json
import resource
import time
from pathlib import Path

import numpy as np
import pandas as pd

from clipeval import stats

PART, CATEGORIES = 1_000_000, ("crime-related", "non-human", "neither")
RACES, GENDERS = [f"race {i}" for i in range(7)], ["Female", "Male"]
#: (14, 3), what is drawn with
RATES = np.random.default_rng(5).uniform([0.01, 0.001, 0.3], [0.2, 0.05, 0.7], (14, 3))


def draw(part: int, n: int) -> pd.DataFrame:
    """Answers of one part: race, gender, and a bool column a category."""
    rng = np.random.default_rng([2, part])
    codes = rng.choice(14, n, p=np.arange(1, 15) / 105)
    frame = {
        "race": pd.Categorical.from_codes(codes // 2, RACES),
        "gender": pd.Categorical.from_codes(codes % 2, GENDERS),
    }
    frame |= {c: rng.random(n) < RATES[codes, i] for i, c in enumerate(CATEGORIES)}
    return pd.DataFrame(frame)


def count(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    by = ["race", "gender"]
    return {c: stats.group_counts(frame, c, by=by).set_index(by) for c in CATEGORIES}


def tables(counts: dict[str, pd.DataFrame]) -> tuple[pd.DataFrame, dict]:
    """Rates with intervals of all categories, and the largest gaps by both columns and by each."""
    rates, gaps = [], {}
    for category, table in counts.items():
        low, high = stats.wilson(table["count"], table["n"])
        rates.append(table.assign(metric=category, low=low, high=high).reset_index())
        for by in (["race", "gender"], ["race"], ["gender"]):
            held = table.groupby(by, observed=True).sum().reset_index()
            found = stats.gaps_of_counts(held, by=by)
            gaps[f"{category} by {' x '.join(by)}"] = found.largest.iloc[0].to_dict()
    return pd.concat(rates, ignore_index=True), gaps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--answers", type=int, default=10_000_000)
    parser.add_argument("--json", default="")
    given = parser.parse_args()
    parts = [(i, min(PART, given.answers - i * PART)) for i in range(-(-given.answers // PART))]
    first, second = draw(0, 200_000), draw(1, 200_000)
    apart = {c: t + count(second)[c] for c, t in count(first).items()}
    whole = stats.group_rates(
        pd.concat([first, second]), CATEGORIES[0], by=["race", "gender"], metric="x"
    )
    low, high = stats.wilson(apart[CATEGORIES[0]]["count"], apart[CATEGORIES[0]]["n"])
    assert (whole["ci_low"] == 100 * low).all() and (whole["ci_high"] == 100 * high).all()

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    began, drawing, total = time.perf_counter(), 0.0, None
    for part, n in parts:
        start = time.perf_counter()
        frame = draw(part, n)
        drawing += time.perf_counter() - start
        counted = count(frame)
        total = {c: t + counted[c] for c, t in total.items()} if total else counted
    counting = time.perf_counter() - began - drawing
    start = time.perf_counter()
    rates, gaps = tables(total)
    tabulating = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    planted = RATES.T.ravel()
    held = int(((rates["low"] <= planted) & (planted <= rates["high"])).sum())
    assert int(rates["n"].sum()) == 3 * given.answers
    found = {
        "answers": given.answers,
        "categories": len(CATEGORIES),
        "counting_seconds": counting,
        "tables_seconds": tabulating,
        "drawing_seconds": drawing,
        "peak_mib": peak,
        "peak_before_mib": before,
        "intervals": len(rates),
        "intervals_that_hold": held,
        "largest_gap": gaps[f"{CATEGORIES[0]} by race"],
    }
    print(
        f"{given.answers:,} answers, 3 categories: counted in {counting:.1f} s, {len(gaps)} tables of gaps in "
        f"{tabulating:.1f} s, peak {peak:.0f} MiB (before the first part {before:.0f}); {held} of {len(rates)} "
        f"intervals hold the rate drawn with; drawing took {drawing:.1f} s"
    )
    if given.json:
        path = Path(given.json)
        known = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps(known | {f"{given.answers}": found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
