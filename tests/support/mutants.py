"""Bugs planted one at a time, to see that the tests catch them: `make mutants`.

Each line of mutants.csv replaces one text of one file and names the tests that must fail. The tests run in a copy of
the checkout, without private photographs (CLIPEVAL_TEST_DATA names an empty folder). Survivors are printed, and the
exit code is 1.
"""

import argparse
import csv
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from queue import Queue
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
LIST = Path(__file__).with_name("mutants.csv")
PARTS = ("clipeval", "data", "docs", "notebooks", "tests", "reports", "benchmarks")
FILES = ("pyproject.toml", "README.md", "CHANGELOG.md", "Makefile", "requirements.lock")


class Mutant(NamedTuple):
    """One planted bug: in `file`, `old` becomes `new`; `tests` are paths separated by spaces."""

    what: str
    file: str
    old: str
    new: str
    tests: str


def mutants() -> list[Mutant]:
    """All planted bugs; each text that is replaced must occur exactly once."""
    with open(LIST, newline="", encoding="utf-8") as stream:
        found = [Mutant(**row) for row in csv.DictReader(stream)]
    for mutant in found:
        times = (ROOT / mutant.file).read_text("utf-8").count(mutant.old)
        if times != 1:
            raise SystemExit(
                f"{mutant.what}: {mutant.file} holds its text {times} times, not once."
            )
    return found


def copy(folder: Path) -> Path:
    """A copy of the checkout to plant bugs in."""
    for name in PARTS:
        if (ROOT / name).is_dir():
            skip = shutil.ignore_patterns("__pycache__", "*.pyc")
            shutil.copytree(ROOT / name, folder / name, ignore=skip)
    for name in FILES:
        shutil.copy(ROOT / name, folder / name)
    (folder / "nothing").mkdir()
    return folder


def caught(mutant: Mutant, folders: Queue) -> str:
    """The last lines of the tests where one fails with this bug in a copy, which is mended again; "" if none does."""
    folder = folders.get()
    file = folder / mutant.file
    whole = file.read_text("utf-8")
    try:
        file.write_text(whole.replace(mutant.old, mutant.new), encoding="utf-8", newline="")
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
        done = subprocess.run(
            [*command, "-m", "not thorough", *mutant.tests.split()],
            cwd=folder,
            env=os.environ
            | {
                "PYTHONPATH": str(folder),
                "PYTHONDONTWRITEBYTECODE": "1",
                "CLIPEVAL_TEST_DATA": str(folder / "nothing"),
                "OMP_NUM_THREADS": "1",
            },
            capture_output=True,
            text=True,
        )
    finally:
        file.write_text(whole, encoding="utf-8", newline="")
        folders.put(folder)
    return "\n".join(done.stdout.splitlines()[-15:]) or "no output" if done.returncode else ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=1, help="copies tested at once")
    parser.add_argument("--only", default="", help="bugs whose file or name holds this text")
    options = parser.parse_args()
    chosen = [m for m in mutants() if options.only in m.file or options.only in m.what]
    with tempfile.TemporaryDirectory() as top, ThreadPoolExecutor(options.jobs) as pool:
        folders: Queue = Queue()
        for i in range(options.jobs):
            folders.put(copy(Path(top, str(i))))
        # unharmed code must pass, or every bug would seem caught
        sound = Mutant("no bug", chosen[0].file, "", "", "")
        for tests in sorted({mutant.tests for mutant in chosen}):
            if said := caught(sound._replace(tests=tests), folders):
                print(f"{said}\n{tests} fails without any bug.")
                return 1
        survivors = []
        for mutant, found in zip(
            chosen, pool.map(partial(caught, folders=folders), chosen), strict=True
        ):
            print(f"{'caught  ' if found else 'SURVIVED'} {mutant.file}: {mutant.what}", flush=True)
            survivors += [] if found else [mutant]
    print(f"{len(chosen) - len(survivors)} of {len(chosen)} planted bugs caught.")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
