"""How long `clipeval --help` and `import clipeval` take, beside Python's own start and the import of typer.

    python benchmarks/start.py [--rounds 15] [--json FILE]

Seconds by the clock and of processor time, each command a process of its own, interleaved; compiled modules lie on the
disk. `import clipeval` is what it takes beyond Python's own start.
"""

import argparse
import compileall
import json
import os
import statistics
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from warm_reports import timed

COMMANDS = {
    "clipeval --help": ["-m", "clipeval", "--help"],
    "import clipeval": ["-c", "import clipeval"],
    "import typer": ["-c", "import typer"],
    "Python alone": ["-c", "pass"],
}


def start(command: list[str]) -> None:
    subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    """Print and keep the times."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", default="")
    given = parser.parse_args()
    for package in ("clipeval", "typer"):
        compileall.compile_dir(Path(find_spec(package).origin).parent, quiet=1)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    rounds = [
        {name: timed(start, line) for name, line in COMMANDS.items()} for _ in range(given.rounds)
    ]
    found = {
        name: {
            clock: [f(one[name][i] for one in rounds) for f in (statistics.median, min, max)]
            for i, clock in enumerate(("wall-clock", "processor"))
        }
        for name in COMMANDS
    }
    for name, clocks in found.items():
        said = (f"{m:.3f} ({a:.3f} to {b:.3f}) s {clock}" for clock, (m, a, b) in clocks.items())
        print(f"{name}: {', '.join(said)}")
    if given.json:
        Path(given.json).write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
