"""The numbers of the demo run that every later change is held against: its tables, and what its predictions hold.

`python tests/support/demo_reference.py RUN` writes the reference anew from a demo run folder; a change that moves a
number on purpose does so, with a line in CHANGELOG.md.
"""

import hashlib
import sys
from pathlib import Path

import pandas as pd

REFERENCE = Path(__file__).parents[1] / "reference" / "demo"
ASKED = ["task", "method", "class_set", "templates"]


def numbers_of(run: Path) -> dict[str, pd.DataFrame]:
    """STUDY/ID -> the numeric columns of that table, in the order of its rows."""
    found = {}
    for path in sorted(run.glob("*/tables/*.csv")):
        table = pd.read_csv(path)
        name = f"{path.parent.parent.name}/{path.stem}"
        found[name] = table.select_dtypes("number")
    return found


def predictions_of(run: Path) -> pd.DataFrame:
    """One row a study and question: how many answers, a hash of each image's top answer, the mean probability."""
    rows = []
    for path in sorted(run.glob("*/predictions.parquet")):
        table = pd.read_parquet(path)
        if "image_id" not in table:
            continue
        asked = [name for name in ASKED if name in table]
        text = table[asked].astype(str)
        for key, part in table.groupby([text[name] for name in asked], sort=True):
            # ranks below the first may part by a rounding error from one processor to another
            top = part.loc[part["rank"] == 1, ["image_id", "label"]].astype(str)
            lines = top["image_id"] + "\t" + top["label"]
            rows.append(
                {"study": path.parent.name, **dict(zip(asked, key, strict=True))}
                | {"answers": len(part), "prob": part["prob"].astype(float).mean()}
                | {"sha256": hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()}
            )
    return pd.DataFrame(rows)


def write_reference(run: Path) -> None:
    """Write tests/reference/demo from a run folder."""
    for path in REFERENCE.glob("*/*.csv"):
        path.unlink()
    for name, table in numbers_of(run).items():
        path = REFERENCE / f"{name}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        table.to_csv(path, index=False, lineterminator="\n")
    predictions_of(run).to_csv(REFERENCE / "predictions.csv", index=False, lineterminator="\n")


if __name__ == "__main__":
    write_reference(Path(sys.argv[1]))
