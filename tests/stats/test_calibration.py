"""Coverage, rejection and power of everything that a report prints; the full simulation is docs/calibration.md."""

import re

import pytest
from calibration import BANDS, CELLS, PAGE, SAFE, differences, outside, run

#: data sets of a cell in the suite: vectorised cells simulate all of theirs at no cost
FEW, MANY = 40, 10_000


def test_cells_have_names_of_their_own():
    assert len({cell.name for cell in CELLS}) == len(CELLS) > 150


def test_every_interval_and_test_keeps_its_promise():
    """Each with few data sets, so that bands are wide: three standard errors; the seeds are fixed."""
    broken = []
    for cell in CELLS:
        if cell.known and cell.known not in SAFE:
            continue
        result = run(cell, cell.seeds if cell.seeds > MANY else FEW)
        if outside(cell, result, errors=3.0):
            broken.append(f"{cell.name}: {result.percent:.1f} +- {result.error:.1f} %")
    assert not broken, broken


def test_a_broken_interval_is_noticed():
    """An interval at the wrong level, and a test of half the level, leave their bands."""
    from calibration import Cell
    from simulations import one_rate

    narrow = Cell("coverage", "rate", "at 90 %", one_rate(1356, 0.1, confidence=0.9), 40_000)
    assert outside(narrow, run(narrow), errors=3.0)
    shy = Cell("rejection", "test", "at 2.5 %", lambda rng, seeds: rng.random(seeds) < 0.025, 4_000)
    assert outside(shy, run(shy))


def rows() -> dict[str, list[str]]:
    if not PAGE.exists():
        pytest.skip("an installed package has no docs; run this in a checkout")
    cells = [line.strip("| \n").split(" | ") for line in PAGE.read_text("utf-8").splitlines()]
    return {f"{row[0]}; {row[1]}": row for row in cells if len(row) >= 5}


def test_the_page_has_every_cell_and_none_outside_without_a_note():
    found = rows()
    assert {cell.name for cell in CELLS} <= set(found), "run make calibration"
    for cell in CELLS:
        seeds, percent, error = (float(text.replace(",", "")) for text in found[cell.name][2:5])
        assert seeds == cell.seeds, cell.name
        low, high = BANDS[cell.measure]
        beside = re.search(r"chi-squared: ([\d.]+)", "|".join(found[cell.name][5:]))
        if beside:
            assert abs(percent - float(beside[1])) <= 5.0, cell.name
        elif not cell.known:
            assert low - 2 * error - 0.1 <= percent <= high + 2 * error + 0.1, cell.name
        else:
            assert cell.known in found[cell.name][5], cell.name


def test_the_page_shows_the_smallest_differences_as_they_are_computed():
    rows()
    text = PAGE.read_text("utf-8")
    for line in differences():
        assert line in text, "run make calibration"


def test_bugs_can_be_planted():
    """Each text of mutants.csv stands once in its file, so that `make mutants` plants what it says."""
    from mutants import mutants

    found = mutants()
    assert len(found) >= 120
    assert len({(m.file, m.old, m.new) for m in found}) == len(found)
    assert all(m.old != m.new and m.tests for m in found)
