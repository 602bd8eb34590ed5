"""Every class set that has a name."""

import re

import pandas as pd

from clipeval.classify.class_sets import load_class_set, variants_in
from clipeval.classify.word_files import known_files


def list_class_sets() -> pd.DataFrame:
    """Every class set that has a name, and its variants: a DataFrame of spec, version, tasks, classes, source."""
    rows = []
    for path in known_files("class_sets").values():
        if re.search(r"^templates:", path.read_text("utf-8"), re.MULTILINE):
            continue  # a user's own folder holds both
        for found in map(load_class_set, variants_in(path.stem)):
            rows.append(
                {
                    "class_set": found.spec,
                    "version": found.version,
                    "tasks": ", ".join(found.tasks),
                    "classes": sum(len(classes) for classes in found.tasks.values()),
                    "note": found.note or found.source,
                }
            )
    return pd.DataFrame(rows)
