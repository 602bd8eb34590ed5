"""A run folder made once for all tests of its pages, from names that try to be markup."""

import fcntl
import functools
import shutil
from pathlib import Path

import pandas as pd
import pytest
import tiny
import yaml
from decks import plant, shared_cache

from clipeval.classify.class_sets import load_class_set, load_templates, prompts_for
from clipeval.paths import DATA, NOTEBOOKS
from clipeval.runs import runner
from clipeval.runs.profiles import plan_run
from clipeval.session import study

SCRIPT = "<script>alert(1)</script>"
IMAGE = '<img src="http://example.org/x.png" onerror="alert(2)">'
FILE = "<b>&\"'.png"


@functools.cache
def site() -> Path:
    """Run folder: fairface with its own notebook, denigration that fails, and the card.

    A race is called SCRIPT, a class IMAGE, a file FILE, and the manifest `<i>x.csv`.
    """
    folder = shared_cache() / "site"
    out = folder / "out"
    with open(shared_cache() / "site.lock", "w") as lock:  # one worker makes it for all
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (out / "index.html").exists():
            _make(folder, out)
    return out


def _make(folder: Path, out: Path) -> None:
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIPEVAL_CACHE", str(folder / "cache"))
        manifest, class_set = _hostile(folder)
        notebooks = tiny.write_notebooks(
            folder / "notebooks",
            denigration=[*tiny.STUDY[:5], f"raise ValueError({SCRIPT!r})", *tiny.STUDY[5:]],
        )
        for name in ("01_fairface", "07_card"):
            shutil.copy(NOTEBOOKS / f"{name}.ipynb", notebooks)
        patch.setattr(study, "NOTEBOOKS", notebooks)
        given = {"dataset": "manifest", "data": str(manifest), "fairface.methods": "zero-shot"}
        given["fairface.class_set"] = str(class_set)
        plan = plan_run(["fairface", "denigration", "card"], "demo", given, str(out))
        outcomes = runner.run_studies(plan, out, arguments={"profile": "demo"})
    assert [bool(outcome.error) for outcome in outcomes] == [False, True, False], outcomes


def _hostile(folder: Path) -> tuple[Path, Path]:
    """A manifest and a class set whose names try to be markup."""
    known = yaml.safe_load((DATA / "class_sets" / "fairface.yaml").read_text("utf-8"))
    races = {
        SCRIPT: "person & so on",
        IMAGE: "other person",
        "White": "White person",
        "Black": "Black person",
    }
    tasks = {
        name: {str(k): v for k, v in classes.items()} for name, classes in known["tasks"].items()
    }
    path = folder / "<hostile>.yaml"
    about = {"name": "hostile", "version": "1", "source": SCRIPT}
    path.write_text(yaml.safe_dump(about | {"tasks": tasks | {"race": races}}))
    table, _ = tiny.people(n=24)
    table["race"] = [SCRIPT, IMAGE, "White", "Black"] * 6
    prompts = prompts_for(load_class_set(str(path)), load_templates("photo"), "race")
    cards = plant(
        folder / "cards", table, {k: v[0] for k, v in prompts.items()}, table["race"][::-1]
    )
    rows = pd.read_csv(cards)
    (cards.parent / "0.png").rename(cards.parent / FILE)
    rows.loc[0, "file"] = FILE
    manifest = cards.with_name("<i>x.csv")
    rows.to_csv(manifest, index=False)
    return manifest, path
