"""Records of studies made by hand: what a test says, and plain values for all that it does not speak of."""

import json
from pathlib import Path

from clipeval import __version__

_MODEL = {
    "model": "m", "pretrained": "", "precision": "fp32", "resize": "model", "activation": "gelu",
    "preprocess": {}, "logit_scale": 100.0, "logit_bias": None, "score": "softmax",
    "context_length": 77, "embed_dim": 8, "has_text": True, "weights_sha256": "0" * 64,
    "weights": "m.pt", "versions": {}, "fingerprint": "0" * 64,
}  # fmt: skip
_DATASET = {"name": "d", "images": 3, "read": 3, "hash": "0" * 64}


def study_json(study: str = "fairface", **fields) -> dict:
    """Content of a study.json; `model` and `dataset` may be given in part, None leaves one out."""
    whole = {"model": _MODEL, "dataset": _DATASET}
    for name, values in whole.items():
        given = fields.pop(name, {})
        if given is not None:
            fields[name] = values | given
    return {"study": study} | fields


def study_record(study: str = "fairface", **fields):
    """The same as a `StudyRecord`."""
    from clipeval.session.record import StudyRecord

    return StudyRecord.model_validate(study_json(study, **fields))


def write_records(out: Path, **studies: dict) -> None:
    """Write OUT/STUDY/study.json of each study, and OUT/run.json of them all."""
    for study, content in studies.items():
        (out / study).mkdir(parents=True, exist_ok=True)
        (out / study / "study.json").write_text(json.dumps(content), "utf-8")
    run = {"clipeval": __version__, "studies": studies}
    (out / "run.json").write_text(json.dumps(run), "utf-8")
