"""What the intervals and tests of the reports promise, measured: coverage, rejection and power by simulation.

`python tests/support/calibration.py` simulates every cell and writes docs/calibration.md; the suite runs each with
fewer data sets (tests/stats/test_calibration.py). A cell is one interval or test at one of the published sizes.
"""

import argparse
import json
import zlib
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import simulations as sim
from simulations import (
    AGES,
    CONGRESS,
    GENDERS,
    PEOPLE,
    RACES,
    RACES_GENDERS,
    SEVEN,
    SMALL,
    TWELVE,
    UNEQUAL,
)

from clipeval import stats

PAGE = Path(__file__).resolve().parents[2] / "docs" / "calibration.md"

BANDS = {"coverage": (93.0, 97.0), "rejection": (3.5, 6.5), "power": (75.0, 85.0)}

FEW_HITS = "few hits or misses expected: rates of fewer than 5 are marked"
CONSERVATIVE = "conservative: never more errors than stated"
DISCRETE = "conservative: an exact test of small counts"
#: notes of cells that may only err on the safe side
SAFE = (CONSERVATIVE, DISCRETE)
CLUSTERS = "few clusters, or few hits or misses for so many: marked"


@dataclass(frozen=True)
class Cell:
    """One interval or test in one setting.

    Attributes
    ----------
    measure : "coverage", "rejection" (where nothing differs) or "power"
    what, setting : what is simulated, and where
    simulate : as the functions of `simulations` return it: did the interval hold the truth, did the test reject.
        Two columns: of the test, and of another one to compare it with
    seeds : data sets of the full calibration
    known : why the cell may lie outside its band; empty where it must not
    """

    measure: str
    what: str
    setting: str
    simulate: sim.Simulate
    seeds: int
    known: str = ""

    @property
    def name(self) -> str:
        return f"{self.what}; {self.setting}"


@dataclass(frozen=True)
class Result:
    """Percent of `seeds` data sets, its standard error, and of a test to compare with, if there is one."""

    percent: float
    error: float
    seeds: int
    other: float | None = None


def run(cell: Cell, seeds: int = 0) -> Result:
    """Simulate a cell; the same data sets whatever else runs."""
    seeds = seeds or cell.seeds
    rng = np.random.default_rng(zlib.crc32(cell.name.encode()))
    found = np.asarray(cell.simulate(rng, seeds), float)
    shares = np.atleast_1d(found.mean(axis=0))
    error = np.sqrt(max(shares[0] * (1 - shares[0]), 0.5 / seeds) / seeds)
    other = float(100 * shares[1]) if len(shares) > 1 else None
    return Result(float(100 * shares[0]), float(100 * error), seeds, other)


def outside(cell: Cell, result: Result, errors: float = 2.0) -> bool:
    """Whether a result lies so many standard errors outside its band, and has no note that says why."""
    if result.other is not None:
        return abs(result.percent - result.other) > 5.0
    low, high = BANDS[cell.measure]
    below = result.percent < low - errors * np.sqrt(low * (100 - low) / result.seeds)
    above = result.percent > high + errors * np.sqrt(high * (100 - high) / result.seeds)
    if cell.known in SAFE:
        return below if cell.measure == "coverage" else above
    return (below or above) and not cell.known


# -- the cells -------------------------------------------------------------------------------------


def all_cells() -> list[Cell]:
    cells = []

    def add(measure, what, setting, simulate, seeds=0, known=""):
        seeds = seeds or (4_000 if measure == "rejection" else 1_000)
        cells.append(Cell(measure, what, setting, simulate, seeds, known))

    for n in (110, 118, 321, 1356, 10954):
        for rate in (0.001, 0.01, 0.05, 0.5, 0.98):
            few = FEW_HITS if n * min(rate, 1 - rate) < 8 else ""
            said = f"{n:,} images, {100 * rate:g} %"
            add("coverage", "rate of a group (Wilson)", said, sim.one_rate(n, rate), 40_000, few)
    for name, n in {"val": RACES, "limit 1500": SMALL["races"], "50 each": np.full(7, 50)}.items():
        for miss in (0.1, 0.02, 0.005, 0.001):
            said = f"7 races, {name}, {100 - 100 * miss:g} % right"
            few = FEW_HITS if n.sum() * miss < stats.LEAST_EXPECTED else ""
            add("coverage", "mean over races", said, sim.mean_of_rates(n, miss), known=few)
    for said, n, group, base, rate in (
        ("over 70, val, all 1 %", AGES, 8, 0.01, 0.01),
        ("over 70, val, all 5 %", AGES, 8, 0.05, 0.05),
        ("over 70, val, 10 of 5 %", AGES, 8, 0.05, 0.10),
        ("60-69, val, all 1 %", AGES, 7, 0.01, 0.01),
        ("Black, val, 14 of 2 %", RACES, 1, 0.02, 0.14),
        ("women, val, all 15 %", GENDERS, 1, 0.15, 0.15),
        ("Black, limit 1500, all 0.5 %", SMALL["races"], 1, 0.005, 0.005),
        ("Black, limit 1500, all 5 %", SMALL["races"], 1, 0.05, 0.05),
        ("3-9, limit 1500, 10 of 5 %", SMALL["ages"], 1, 0.05, 0.10),
    ):
        few = FEW_HITS if n[group] * rate < stats.LEAST_EXPECTED else ""
        for ratio, what in enumerate(("difference from all images", "ratio to all images")):
            simulate = sim.group_against_all(n, group, base, rate, bool(ratio))
            add("coverage", what, said, simulate, known=few)
    for said, n, rates in (
        ("races, val, all 5 %", RACES, np.full(7, 0.05)),
        ("races, val, one of 8 %", RACES, sim.with_one(RACES, 1, 0.05, 0.08)),
        ("ages, val, all 5 %", AGES, np.full(9, 0.05)),
        ("ages, val, 20-29 of 8 %", AGES, sim.with_one(AGES, 3, 0.05, 0.08)),
        ("genders, val, all 5 %", GENDERS, np.full(2, 0.05)),
        ("genders, val, 5 and 7 %", GENDERS, np.array([0.05, 0.07])),
    ):
        known = "" if len(n) == 2 or said.startswith("races, val, all") else CONSERVATIVE
        add("coverage", "largest gap", said, sim.gap(n, rates), known=known)
    groups = {"7 races": RACES, "9 ages": AGES, "14 races x genders": RACES_GENDERS}
    for name, n in groups.items():
        for rate in (0.01, 0.05, 0.15):
            said = f"{name}, val, all {100 * rate:g} %"
            what = "highest and lowest said to differ"
            add("rejection", what, said, sim.said_to_differ(n, rate), known=CONSERVATIVE)
            what = "intervals of the highest and lowest, both"
            add("coverage", what, said, sim.picked(n, rate), known=CONSERVATIVE)
            what = "the card's interval of the highest (exact, Bonferroni)"
            add("coverage", what, said, sim.card_picks(n, rate), known=CONSERVATIVE)
    chances = [0.05, 0.03, 0.05, 0.87]
    said = "9 ages, val, 10 % before, 8 % after"
    what = "changes of the highest and lowest"
    add(
        "rejection",
        f"{what} said to differ",
        said,
        sim.change_picks(AGES, chances, True),
        0,
        CONSERVATIVE,
    )
    add("coverage", f"{what}, both", said, sim.change_picks(AGES, chances, False))
    for name, n in {**groups, "2 genders": GENDERS, "9 ages, limit 1500": SMALL["ages"]}.items():
        for rate in (0.01, 0.05, 0.15):
            said = f"{name}, all {100 * rate:g} %"
            add(
                "rejection",
                "gaps (permuted chi-squared)",
                said,
                sim.gap_test(n, np.full(len(n), rate)),
            )
    for said, n, rates in (
        ("ages, 20-29 of 7 %, others 5 %", AGES, sim.with_one(AGES, 3, 0.05, 0.07)),
        ("ages, 20-29 of 8 %, others 5 %", AGES, sim.with_one(AGES, 3, 0.05, 0.08)),
        ("ages, 10-19 of 9 %, others 5 %", AGES, sim.with_one(AGES, 2, 0.05, 0.09)),
        ("ages, 3-9 of 3 %, others 1 %", AGES, sim.with_one(AGES, 1, 0.01, 0.03)),
        ("ages, over 70 of 10 %, others 5 %", AGES, sim.with_one(AGES, 8, 0.05, 0.10)),
        ("races, Black of 7 %, others 5 %", RACES, sim.with_one(RACES, 1, 0.05, 0.07)),
    ):
        add("power", "gaps, beside chi-squared", said, sim.gap_test(n, rates, compare=True))
    for base in (0.01, 0.05, 0.15):
        for name, n, group in PUBLISHED:
            points = stats.smallest_difference(n, base)[group]
            said = f"{name}, base {100 * base:g} %: {points:.1f} points"
            rates = sim.with_one(n, group, base, base + points / 100)
            add("power", "smallest difference found", said, sim.gap_test(n, rates))
    for men in (0.05, 0.2, 0.5):
        women = men + stats.smallest_difference(CONGRESS, men, tests=300)[1] / 100
        said = f"Congress, 300 labels: men {100 * men:g} %, women {100 * women:.0f} %"
        add("power", "smallest difference found", said, sim.label_test([men, women], tests=300))
    for rate in (0.005, 0.02, 0.1, 0.3):
        few = CONGRESS[1] * rate < stats.LEAST_EXPECTED
        what = f"label by gender ({'Fisher' if few else 'chi-squared'})"
        said = f"430 men, 110 women, {100 * rate:g} %"
        add("rejection", what, said, sim.label_test([rate, rate]), known=DISCRETE if few else "")
    rates = np.geomspace(0.002, 0.5, 300)
    for name, correction in {"Benjamini-Hochberg": "fdr_bh", "Holm": "holm"}.items():
        what, said = f"any of 300 labels by gender ({name})", "rates from 0.2 to 50 %"
        add("rejection", what, said, sim.labels_corrected(rates, correction), 1_000, DISCRETE)
    for n in (118, 1356, 10954):
        said = f"{n:,} images, 10 % before, 8 % after"
        add("coverage", "paired change (Newcombe)", said, sim.paired_change(n, chances), 40_000)
        for changed in (0.02, 0.1):
            exact = DISCRETE if n * changed < 40 else ""
            said = f"{n:,} images, {100 * changed:g} % change"
            add("rejection", "paired change (McNemar)", said, sim.mcnemar(n, changed), known=exact)
    for name, sizes in {
        "12 x 43 frames": TWELVE,
        "12 unequal": UNEQUAL,
        "7 unequal": SEVEN,
    }.items():
        for rate in (0.25, 0.5, 0.92):
            said = f"{name}, {100 * rate:g} %, correlation 0.3"
            add(
                "coverage",
                "rate over clusters",
                said,
                sim.cluster_rate(sizes, rate, 0.3),
                known=CLUSTERS,
            )
        said = f"{name}, 50 %, correlation 0.3"
        what = "two models alike, over clusters"
        add("coverage", what, said, sim.two_models(sizes, 0.5, 0.3), known=CLUSTERS)
        what = "two models alike (sign flips)"
        add("rejection", what, said, sim.two_models(sizes, 0.5, 0.3, True), known=DISCRETE)
    for rate, few in {0.6: "", 0.9: "", 0.98: CLUSTERS}.items():
        said = f"100 people x 30 photos, {100 * rate:g} %, correlation 0.3"
        add("coverage", "rate over clusters", said, sim.cluster_rate(PEOPLE, rate, 0.3), known=few)
    for n, known in {
        30: "narrow below 50 images, as its documentation says",
        110: "",
        430: "",
    }.items():
        add(
            "coverage", "share of the labels given", f"{n} images", sim.label_shares(n), known=known
        )
    paired = ((0.08, 0.01, 0.05, 0.86), (0.08, 0.01, 0.01, 0.90))
    for said, n, known in (
        ("genders, val, 13 and 9 % before, 9 % after", GENDERS, ""),
        ("20-29 and over 70, val, 13 and 9 % before, 9 % after", AGES[[3, 8]], CONSERVATIVE),
    ):
        simulate = sim.gap_change(n, paired)
        add("coverage", "change of a gap (MOVER)", said, simulate, known=known)
    for said, n, rates in (
        ("genders, val, all 5 %", GENDERS, np.full(2, 0.05)),
        ("races, val, all 5 %", RACES, np.full(7, 0.05)),
        ("races, val, one of 10 %", RACES, sim.with_one(RACES, 1, 0.05, 0.10)),
        ("ages, val, all 5 %", AGES, np.full(9, 0.05)),
        ("ages, val, 3-9 of 2 %, others 1 %", AGES, sim.with_one(AGES, 1, 0.01, 0.02)),
    ):
        simulate = sim.skew_of_hits(n, rates)
        add("coverage", "MaxSkew of a category", said, simulate, known=CONSERVATIVE)
    for metric, what in enumerate(("MaxSkew@100 of a search", "NDKL@100 of a search")):
        simulate = sim.skew_of_search(RACES, 100, metric)
        add("coverage", what, "races, val, two prompts", simulate, 500)
    for shape in ((2, 4), (4, 4), (5, 4, 2)):
        said = f"{' x '.join(map(str, shape))} choices"
        add("rejection", "a choice is said to matter", f"{said}, none does", sim.choices(shape))
        add(
            "coverage",
            "excess of a choice",
            f"{said}, none matters",
            sim.choices(shape, (0, 0), True),
            0,
            CONSERVATIVE,
        )
        add(
            "coverage",
            "excess of a choice",
            f"{said}, both matter",
            sim.choices(shape, (1, 1), True),
            0,
            CONSERVATIVE,
        )
    return cells


#: group whose smallest difference is shown: name, sizes, place
PUBLISHED = [
    ("race, Black (1,556)", RACES, 1),
    ("gender, women (5,162)", GENDERS, 1),
    ("age, 3-9 (1,356)", AGES, 1),
    ("age, 20-29 (3,300)", AGES, 3),
    ("age, over 70 (118)", AGES, 8),
]

CELLS = all_cells()

# -- the page --------------------------------------------------------------------------------------

INTRO = """# Calibration

What the intervals and tests in the reports promise, measured on made-up data sets at the group sizes of the published
data: FairFace's validation split (10,954 images), a run of 1,500 of them, 430 men and 110 women of Congress,
surveillance frames in 7 or 12 sequences, 100 people of 30 photographs. Intervals are 95 % intervals and tests are at
5 %. `make calibration` writes this page; the suite simulates every row with fewer data sets.

Coverage should be 93 to 97 %, rejection without a difference 3.5 to 6.5 %, give or take two standard errors of the
simulation. A row that may lie outside has a note, which says why; the reports mark such numbers, or the error is on the
safe side.
"""

HEADS = {
    "coverage": "## Coverage: how often an interval holds the truth",
    "rejection": "## Rejection: how often a difference is found where there is none",
    "power": "## Power: how often a difference is found that is there",
}


def page(results: dict[str, Result]) -> str:
    """The page, from the result of every cell."""
    parts = [INTRO]
    for measure, head in HEADS.items():
        parts += [f"{head}\n", "| what | setting | data sets | percent | standard error | note |"]
        parts += ["|---|---|---|---|---|---|"]
        for cell in CELLS:
            if cell.measure == measure:
                r = results[cell.name]
                beside = "" if r.other is None else f"chi-squared: {r.other:.1f}"
                parts.append(
                    f"| {cell.what} | {cell.setting} | {r.seeds:,} | {r.percent:.1f} | "
                    f"{r.error:.2f} | {cell.known or beside} |"
                )
        parts.append("")
    return "\n".join([*parts, *differences()])


def differences() -> list[str]:
    """Lines of the page: the smallest differences that the published sizes find."""
    lines = [
        "## The smallest difference that is found in 80 % of samples\n",
        "Percentage points by which one group's rate must lie above the rate of all others, for p below 0.05",
        "(`clipeval.stats.smallest_difference`); in brackets where p is corrected for nine rows of a table of gaps.\n",
        "| group | base rate 1 % | 5 % | 15 % |",
        "|---|---|---|---|",
    ]
    for name, n, group in PUBLISHED:
        ends = []
        for base in (0.01, 0.05, 0.15):
            one, nine = (stats.smallest_difference(n, base, tests=t)[group] for t in (1, 9))
            ends.append(f"{one:.1f} ({nine:.1f})")
        lines.append(f"| {name} | {' | '.join(ends)} |")
    lines += ["", "Congress, 430 men and 110 women, p below 0.05 / 300 for 300 labels:\n"]
    lines += ["| men | women need |", "|---|---|"]
    for men in (0.05, 0.2, 0.5):
        women = 100 * men + stats.smallest_difference(CONGRESS, men, tests=300)[1]
        lines.append(f"| {100 * men:g} % | {women:.0f} % |")
    return [*lines, ""]


def _run(place: int) -> tuple[str, Result]:
    return CELLS[place].name, run(CELLS[place])


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Simulate every cell and write docs/calibration.md."
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument(
        "--keep", type=Path, help="file of results, from which a stopped run goes on"
    )
    options = parser.parse_args()
    results = {}
    if options.keep and options.keep.exists():
        for line in options.keep.read_text("utf-8").splitlines():
            kept = json.loads(line)
            name = kept.pop("name")
            results[name] = Result(**kept)
    places = [i for i, cell in enumerate(CELLS) if cell.name not in results]
    pool = ProcessPoolExecutor(options.jobs) if options.jobs > 1 else None
    for name, result in (pool.map if pool else map)(_run, places):
        results[name] = result
        print(f"{len(results)}/{len(CELLS)} {name}: {result.percent:.1f} %", flush=True)
        if options.keep:
            with options.keep.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"name": name} | asdict(result)) + "\n")
    PAGE.write_text(page(results), encoding="utf-8")
    for cell in CELLS:
        if outside(cell, results[cell.name]):
            print(f"outside its band: {cell.name}: {results[cell.name].percent:.1f} %")


if __name__ == "__main__":
    main()
