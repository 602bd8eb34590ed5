"""Imported by the process that studies are forked from: what all of them need, loaded and used once.

A notebook that starts on its own pays for this by itself; here it is paid while the run is checked.
No thread is started: a fork would not take it along.
"""

import importlib
import sys
import tempfile
from contextlib import suppress

MODULES = (
    "clipeval.datasets",
    "clipeval.embedding.embed",
    "clipeval.runs.engine",
    "clipeval.output.class_pairs",
    "clipeval.runs.pages",
    "clipeval.session.session",
    "clipeval.stats",
    "clipeval.embedding.store",
    "clipeval.testcards",
    "clipeval.classify.zeroshot",
    "IPython.core.magics",
    "bleach",
    "jinja2",
    "matplotlib.backends.backend_pdf",
    "mistune",
    "pandas.io.formats.style",
    "pyarrow.parquet",
    "scipy.special",
    "typer",
)


# jsonschema spends two seconds on a grammar of international addresses, which no notebook's schema has
_SLOW = "rfc3987_syntax"


def load() -> None:
    """Import what can be imported."""
    absent = _SLOW not in sys.modules
    if absent:
        sys.modules[_SLOW] = None
    for name in MODULES:
        with suppress(ImportError):
            importlib.import_module(name)
    if absent:
        del sys.modules[_SLOW]


def use() -> None:
    """Fill the caches of fonts, of versions, of parsers."""
    import bleach
    import pandas as pd

    from clipeval import models, paths
    from clipeval.output import figures, provenance
    from clipeval.runs import notebook_page

    table = pd.DataFrame({"group": ["A", "B"], "n": 1, "metric": "rate", "percent": [1.0, 2.0]})
    table = table.assign(ci_low=0.0, ci_high=3.0, published=1.0, difference=[0.0, 1.0])
    with tempfile.TemporaryDirectory() as folder:
        about = provenance.Provenance(test_cards=True)
        drawn = figures.interval_plot(table, y="group", width="double")
        figures.save_figure(drawn, folder, "warm", "", about)
    provenance.package_versions()
    models.identify_model("testcard", "", cache=paths.cache_dir() / "store")
    bleach.clean("<table><tr><td>x</td></tr></table>", tags=notebook_page._TAGS)


load()
with suppress(Exception):  # a study would say what is wrong
    use()
