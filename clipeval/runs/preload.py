"""Imported by the process that studies are forked from: what all of them need, loaded and used once.

A notebook that starts on its own pays for this by itself; here it is paid while the run is checked.
No thread is started: a fork would not take it along.
"""

import gc
import importlib
import pkgutil
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

MODULES = (
    "clipeval.datasets",
    "clipeval.embedding.embed",
    "clipeval.runs.engine",
    "clipeval.output.class_pairs",
    "clipeval.runs.notebook_page",
    "clipeval.runs.pages",
    "clipeval.session.session",
    "clipeval.stats",
    "clipeval.embedding.store",
    "clipeval.testcards",
    "clipeval.classify.zeroshot",
    "IPython.core.magics",
    "matplotlib.backends.backend_pdf",
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
    from clipeval import studies

    # the package's own studies, as one of the user's may change between two runs
    own = [found.name for found in pkgutil.walk_packages(studies.__path__, f"{studies.__name__}.")]
    for name in (*MODULES, *own):
        with suppress(ImportError):
            importlib.import_module(name)
    if absent:
        del sys.modules[_SLOW]


def use() -> None:
    """Fill the caches of fonts, of versions, of parsers, of class sets."""
    import pandas as pd
    from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

    from clipeval import models, paths
    from clipeval.classify.class_list import list_class_sets
    from clipeval.output import figures, provenance, tables
    from clipeval.runs import notebook_page, pages

    table = pd.DataFrame({"group": ["A", "B"], "n": 1, "metric": "rate", "percent": [1.0, 2.0]})
    table = table.assign(ci_low=0.0, ci_high=3.0, published=1.0, difference=[0.0, 1.0])
    with tempfile.TemporaryDirectory() as folder:
        about = provenance.Provenance(test_cards=True)
        drawn = figures.interval_plot(table, y="group", width="double")
        figures.save_figure(drawn, folder, "warm", "", about, known=Path(folder))
    provenance.package_versions()
    provenance.code_hash()
    list_class_sets()
    models.identify_model("testcard", "", cache=paths.cache_dir() / "store")
    shown = tables.show_frame(table)._repr_mimebundle_()
    outputs = [new_output("display_data", data=shown[0], metadata=shown[1])]
    outputs.append(new_output("display_data", data={"text/html": table._repr_html_()}))
    cells = [new_markdown_cell("*x*"), new_code_cell("x", outputs=outputs)]
    made = notebook_page.body(new_notebook(cells=cells), study="", entries={}, rows={})
    pages.page("page", "x", main=made)


load()
with suppress(Exception):  # a study would say what is wrong
    use()
# what is loaded stays: no collection in a fork has to look through it, or copy its pages
gc.collect()
gc.freeze()
