"""A run as a model card: README.md for the Hugging Face Hub, its numbers in `model-index` as well."""

import re

import pandas as pd

from clipeval.datasets import dataset_options
from clipeval.export.methods import in_order, methods
from clipeval.output.markup import markdown as prose
from clipeval.output.provenance import TEST_CARDS
from clipeval.runs.finished import Run
from clipeval.session.record import StudyRecord
from clipeval.studies.card.tables import markdown, summarise

ADDRESS = "https://arxiv.org/abs/2108.02818"
TASK = "zero-shot-image-classification"
MAY_NOT = (
    "A better number does not make a model fit for use on people, and a low rate is not evidence of "
    "safety: other classes, prompts and pictures were not tried."
)


def model_card(run: Run) -> dict[str, str]:
    """File name -> content: README.md with the characterization card, of whatever studies the run has.

    Parameters
    ----------
    run : as from `clipeval.load_run`

    Returns
    -------
    dict: README.md. In its YAML every measured row of the card is an `EvalResult`: the study as task,
    its data with the hash of their contents as revision, the percent as value, its interval, n and
    published value in `metric_args`, clipeval's version and commit as source
    """
    from huggingface_hub import ModelCardData

    tables = {(study, id): table for study, of in run.tables.items() for id, table in of.items()}
    card = summarise({key: table for key, table in tables.items() if key[0] != "card"})
    records = {record.study: record for record in in_order(run.record)}
    names = list(dict.fromkeys(r.model.name for r in records.values() if r.model))
    replay = any(record.test_cards for record in records.values())
    has_text = all(r.model.has_text for r in records.values() if r.model)
    data = ModelCardData(
        model_name=" and ".join(names) or run.name,
        pipeline_tag=TASK if has_text else "image-feature-extraction",
        tags=["clip", "clipeval", "characterization", *(["test-cards"] if replay else [])],
        eval_results=results(card, records) or None,
    )
    body = markdown(card, _about(run, records), TEST_CARDS if replay else "")
    said = [prose("**{part}.** {text}", part=p, text=text) for p, text in methods(run).items()]
    body = "\n\n".join([body.rstrip(), "## Methods", *said])
    return {"README.md": f"---\n{data.to_yaml()}\n---\n\n{body}\n"}


def _about(run: Run, records: dict[str, StudyRecord]) -> str:
    """Which model was asked what about which data, and what was found (Markdown)."""
    models = {(r.model.name, r.model.weights_text): None for r in records.values() if r.model}
    lines = [prose("{name} ({weights}).", name=name, weights=hash) for name, hash in models]
    lines += [f"Characterized by clipeval {run.record.clipeval}. {MAY_NOT}", ""]
    for record in records.values():
        if of := record.dataset:
            said = ", ".join(filter(None, [of.name, of.version, f"n = {of.read:,}"]))
            found = " ".join(record.finding)
            line = "- **{title}** ({said}). {found}"
            lines.append(prose(line, title=record.title, said=said, found=found).rstrip())
    return "\n".join(lines)


def results(card: pd.DataFrame, records: dict[str, StudyRecord]) -> list:
    """Every measured row of the card as a `huggingface_hub.EvalResult`, those of one study together.

    Parameters
    ----------
    card : as from `clipeval.studies.card.summarise`
    records : study id -> record
    """
    from huggingface_hub import EvalResult

    found = []
    for study, rows in card[card["percent"].notna()].groupby("study", sort=False):
        record = records[study]
        if record.dataset is None:
            continue
        name, version = record.dataset.name, record.dataset.version
        kind = str(record.parameters.get("dataset", name))
        split = record.parameters["split"] if "split" in dataset_options(kind) else None
        for row in rows.to_dict("records"):
            found.append(
                EvalResult(
                    task_type=TASK,
                    task_name=record.title,
                    dataset_type=kind,
                    dataset_name=", ".join(filter(None, [name, version])),
                    dataset_config=study,  # results of one task and data share a source and a name
                    dataset_split=split,
                    dataset_revision=record.dataset.hash,
                    metric_type=_slug(row["metric"]),
                    metric_name=row["quantity"],
                    metric_value=round(float(row["percent"]), 4),
                    metric_args=_arguments(row),
                    source_name=_source(record),
                    source_url=ADDRESS,
                )
            )
    return found


def _arguments(row: dict) -> dict:
    """What stands beside a value: its interval (95 %), n, what chance gives, the published value, a note."""
    numbers = {
        name: round(float(row[name]), 4)
        for name in ("ci_low", "ci_high", "chance", "published", "planted")
        if pd.notna(row.get(name))
    }
    n = {"n": int(row["n"])} if pd.notna(row["n"]) else {}
    note = {"note": row["note"]} if row.get("note") else {}
    return {"unit": row["unit"], "part": row["part"]} | numbers | n | note


def _slug(text: object) -> str:
    return re.sub(r"[^a-z0-9]+", "_", str(text).lower()).strip("_") or "rate"


def _source(record: StudyRecord) -> str:
    code = record.code
    if code is None:
        return "clipeval"
    commit = f" at {code.commit[:7]}" if code.commit else ""
    return f"clipeval {code.version}{commit}, study {record.study} (after arXiv 2108.02818)"
