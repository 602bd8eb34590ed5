"""Writes docs/new_study.md: the study contract as a page, from the docstrings of `clipeval.session.study`."""

import ast
import inspect
from pathlib import Path

from clipeval.session import study

PAGE = Path(__file__).with_name("new_study.md")

TEXT = '''# A study of your own

A study is one folder: a module `study.py`, a notebook, and the class sets that it names. No other file is edited: the
commands, the check, the comparison, packs, the card and the sensitivity study ask the hooks below and nothing else.
`clipeval run FOLDER` runs it; in Python, `clipeval.start("FOLDER", globals())`. To name it like the others, by its id,
put its folder into the environment variable CLIPEVAL_STUDIES.

## An example

`youth/study.py` holds the study: what it asks, and which tables follow from the answers. Table functions take
predictions and return tidy tables; a study never opens an image, and a figure never computes a rate.

```python
# youth/study.py
import numpy as np
from pydantic import Field

from clipeval.session import parameters
from clipeval.session.study import Line, Part, Study
from clipeval.stats import group_rates


class Parameters(parameters.Parameters):
    """Parameters of the study of youth."""

    class_set: str = Field("youth", description="class set with the classes young and old")


class Youth(Study):
    """Who is called young?"""

    id = "youth"
    title = "Youth"
    question = "Whom does the model call young?"
    notebook = "youth"
    Parameters = Parameters
    deck = "fairface"
    card = (
        Part(
            "Youth",
            (Line("by_gender", "called young, {gender}"),),
            not_shown="How old anybody is.",
        ),
    )

    def predict(self, session):
        return session.classify()

    def young_by(self, predictions, by):
        """Percent of the images of each group whose top class is young."""
        top = predictions[predictions["rank"] == 1]
        hit = (top["label"] == "young").to_numpy()
        table = group_rates(top[by].assign(hit=hit), "hit", by=by, metric="called young")
        return table.assign(published=np.nan, difference=np.nan)

    def outcomes(self, predictions, record):
        top = predictions[predictions["rank"] == 1]
        hit = (top["label"] == "young").to_numpy()
        return top[["image_id", "task"]].assign(quantity="called young", hit=hit)


study = Youth()
```

`youth/youth.yaml` holds the words, as a class set (see [class sets](class_sets.md)):

```yaml
# youth/youth.yaml
name: youth
version: 1
source: written for this example
tasks:
  youth:
    young: young person
    old: old person
```

`youth/youth.ipynb` is the face. Its first code cell carries the tag `parameters`, and holds the parameters that may be
changed, with their defaults; the other cells, one after the other:

```python
# youth/youth.ipynb: parameters
model = "testcard"
pretrained = ""
dataset = "testcards"
data = ""
class_set = "youth"
templates = "photo"
store = ""
out = ""
```

```python
# youth/youth.ipynb
import clipeval

session = clipeval.start("youth", globals())
session.describe()
```

```python
# youth/youth.ipynb
session.reading()
```

```python
# youth/youth.ipynb
predictions = session.predict()
session.save_predictions(predictions)
by_gender = session.tabulate(session.study.young_by, predictions, by=["gender"])
session.table("by_gender", by_gender, "Images called young, by gender.")
```

```python
# youth/youth.ipynb
from clipeval.output import figures

drawn = figures.interval_plot(by_gender, y="gender")
session.figure("by_gender", drawn, "Images called young, by gender.")
```

```python
# youth/youth.ipynb
session.finish()
```

Then

```
clipeval check youth/        # what would fail, before anything is embedded
clipeval run youth/ card     # into a run folder, with the card of what is there
```

runs it on test cards, and with `-p model=... -p dataset=... -p data=...` on photographs.

## What a study may say of itself

The first attributes, and `predict`, every study has; everything else has the default that the table shows.

{hooks}

`Summary` is a study that is made of a run's other studies: it has no predictions, and its session (`SummarySession`)
holds their records and tables.

## Lines of the card

A study's `card` is a tuple of `Part(name, lines, not_shown, compared)`; each `Line` has

{lines}
'''


def _first(docstring: str) -> str:
    """First paragraph of a docstring, on one line."""
    return " ".join(inspect.cleandoc(docstring).split("\n\n")[0].split()).replace("|", "\\|")


def _members(name: str) -> list[tuple[str, str, str]]:
    """Name, default and first paragraph of what a class of `clipeval.session.study` offers."""
    tree = ast.parse(inspect.getsource(study))
    body = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == name).body
    found = []
    for node, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.AnnAssign) and isinstance(after, ast.Expr):
            default = ast.unparse(node.value) if node.value else ""
            found.append((node.target.id, default, after.value.value))
        elif isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            plain = any(getattr(d, "id", "") == "property" for d in node.decorator_list)
            arguments = [a.arg for a in node.args.args[1:]]
            called = node.name if plain else f"{node.name}({', '.join(arguments)})"
            found.append((called, "", ast.get_docstring(node)))
    return found


def page() -> str:
    """The page's text."""
    hooks = [
        "| attribute or hook | default | what it is |",
        "|---|---|---|",
        *(
            f"| `{n}` | {f'`{d}`' if d else ''} | {_first(text)} |"
            for n, d, text in _members("Study")
        ),
    ]
    lines = [f"- `{name}`: {_first(text)}" for name, _, text in _members("Line")]
    return TEXT.replace("{hooks}", "\n".join(hooks)).replace("{lines}", "\n".join(lines))


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
