"""The records of a study and of a run: read by attribute, written with the same keys, or refused in a sentence."""

import ast
import inspect
import json
import os

import pytest

from clipeval import __version__
from clipeval.errors import DataError
from clipeval.session import record as records
from clipeval.session.record import (
    StudyRecord,
    read_run,
    read_studies,
    read_study,
    write_run,
    write_study,
)

#: study.json of version 0.1.0, typed again from a run of it, with a parameter that no study knows
OLD = {
    "study": "fairface",
    "title": "FairFace classification",
    "parameters": {"templates": "photo", "limit": 120, "since_dropped": True},
    "model": {
        "model": "ViT-B-32-quickgelu", "pretrained": "openai", "precision": "fp32", "resize": "model",
        "activation": "quickgelu", "preprocess": {"size": 224, "mean": [0.5, 0.5, 0.5]},
        "logit_scale": 100.0, "logit_bias": None, "score": "softmax", "context_length": 77,
        "embed_dim": 512, "has_text": True, "weights_sha256": "w" * 64, "weights": "x.pt",
        "versions": {"torch": "2.4.0"}, "fingerprint": "f" * 64,
    },
    "device": "cpu",
    "dataset": {
        "name": "FairFace", "version": "padding 0.25", "licence": "CC BY 4.0", "citation": "",
        "labels": "FairFace's.", "notes": ["A sample."], "images": 120, "read": 119, "unreadable": 1,
        "hash": "h" * 64,
    },
    "train": None,
    "test_cards": False,
    "class_sets": {"fairface v1": {"hash": "c" * 64, "source": "FairFace"}},
    "templates": {"photo v1": {"hash": "t" * 64}},
    "prompts_hash": "q" * 64,
    "code": {"version": "0.1.0", "commit": None, "dirty": None},
    "versions": {"python": "3.11.7", "numpy": "2.0.0", "timm": None},
    "seconds": {"notebook": 68.81},
    "tables": [{"id": "accuracy", "text": "Accuracy.", "caption": "c", "alt": "", "bibtex": "@", "rows": 38}],
    "figures": [{"id": "accuracy", "text": "Accuracy.", "caption": "c", "alt": "a", "bibtex": "@"}],
}  # fmt: skip


def folder(tmp_path, content):
    path = tmp_path / "fairface"
    path.mkdir(exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content)
    (path / "study.json").write_text(text, "utf-8")
    return path


def test_every_field_has_its_docstring():
    tree = ast.parse(inspect.getsource(records))
    kinds = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    fields = 0
    for kind in kinds:
        for line, after in zip(kind.body, [*kind.body[1:], None], strict=True):
            if isinstance(line, ast.AnnAssign):
                fields += 1
                said = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
                assert said and after.value.value.rstrip().endswith("."), ast.unparse(line)
    assert fields > 40


def test_an_old_record_is_read_by_attribute_and_written_with_its_own_keys(tmp_path):
    path = folder(tmp_path, OLD)
    found = read_study(path)
    assert found.model.model == "ViT-B-32-quickgelu" and found.model.logit_scale == 100
    assert found.dataset.read == 119 and found.dataset.notes == ["A sample."]
    assert found.class_sets["fairface v1"].source == "FairFace"
    assert found.templates["photo v1"].hash == "t" * 64
    assert found.tables[0].rows == 38 and found.figures[0].alt == "a"
    assert found.code.version == "0.1.0" and found.code.sha256 == ""
    assert found.train is None and found.pack == "" and found.drawn_from == {}
    assert found.parameters == OLD["parameters"]
    (path / "study.json").unlink()  # which no list says is clipeval's
    write_study(path, found)
    assert json.loads((path / "study.json").read_text("utf-8")) == OLD


def test_what_was_not_said_stays_unsaid(tmp_path):
    """A record made by hand, such as a varied choice has, or a summary's without images."""
    write_study(tmp_path, StudyRecord(study="card", parameters={"limit": 3}))
    content = json.loads((tmp_path / "study.json").read_text())
    assert content == {"study": "card", "parameters": {"limit": 3}}
    found = read_study(tmp_path)
    assert found.model is None and found.dataset is None and found.tables == []


def test_a_field_of_another_version_is_passed_over(tmp_path):
    later = OLD | {"mood": "good", "dataset": OLD["dataset"] | {"colour": "grey"}}
    assert read_study(folder(tmp_path, later)) == read_study(folder(tmp_path, OLD))


FOREIGN = {
    '{"half a fi': "(the file is not what clipeval writes there)",
    "": "(the file is not what clipeval writes there)",
    "[1, 2]": "(the file is not what clipeval writes there)",
    "{}": " is missing)",
    '"text"': "(the file is not what clipeval writes there)",
    '{"learning_rate": 0.1}': " is missing)",
}


@pytest.mark.parametrize("text, reason", FOREIGN.items())
def test_what_is_no_record_is_refused_in_one_sentence_and_left_alone(tmp_path, text, reason):
    path = folder(tmp_path, text)
    (tmp_path / "run.json").write_text(text)
    files = {path / "study.json": lambda: read_study(path)}
    files[tmp_path / "run.json"] = lambda: read_run(tmp_path)
    for file, read in files.items():
        with pytest.raises(DataError) as refused:
            read()
        said = str(refused.value)
        assert said.startswith(f"{file} is not a record") and reason in said
        assert said.endswith("; move it away and run the study again.") and "\n" not in said
    with pytest.raises(DataError, match="run.json is not a record"):
        write_run(tmp_path)
    assert (tmp_path / "run.json").read_text() == text
    (tmp_path / "run.json").unlink()
    for gather in (read_studies, write_run):
        with pytest.raises(DataError, match="study.json is not a record"):
            gather(tmp_path)


@pytest.mark.parametrize(
    "change, place",
    [
        ({"dataset": {"name": "x", "images": 3, "read": 3}}, "dataset.hash"),
        ({"model": {"model": "x", "pretrained": ""}}, "model.precision"),
        ({"model": [1]}, "model"),
        ({"tables": [{"text": "no id"}]}, "tables.0.id"),
        ({"class_sets": {"a v1": "c" * 64}}, "class_sets.a v1"),
        ({"seconds": {"notebook": "long"}}, "seconds.notebook"),
    ],
)
def test_the_place_that_is_wrong_is_named(tmp_path, change, place):
    path = folder(tmp_path, OLD | change)
    with pytest.raises(DataError, match=rf"study\.json .*\({place} is "):
        read_study(path)
    run = {"clipeval": "0.1.0", "studies": {"fairface": OLD | change}}
    (tmp_path / "run.json").write_text(json.dumps(run))
    with pytest.raises(DataError, match=rf"run\.json .*\(studies\.fairface\.{place} is "):
        read_run(tmp_path)


def test_bytes_that_are_no_text_and_files_that_cannot_be_read(tmp_path):
    path = folder(tmp_path, OLD)
    (path / "study.json").write_bytes(b"\xff\xfe\x00{")
    with pytest.raises(DataError, match="the file is not what"):
        read_study(path)
    os.remove(path / "study.json")
    (path / "study.json").mkdir()
    with pytest.raises(DataError, match="directory"):
        read_study(path)


def test_where_nothing_finished_there_is_no_record(tmp_path):
    (tmp_path / "file").touch()
    for place in (tmp_path, tmp_path / "none", tmp_path / "file"):
        assert read_study(place) is None and read_run(place) is None
    assert read_studies(tmp_path) == {}


def test_studies_of_one_run_share_a_record(tmp_path):
    for study in ("fairface", "cctv"):
        (tmp_path / study).mkdir()
        write_study(tmp_path / study, StudyRecord(study=study))
    run = write_run(tmp_path, arguments={"profile": "demo"}, seconds=3)
    assert list(run.studies) == ["cctv", "fairface"] and run == read_run(tmp_path)
    content = json.loads((tmp_path / "run.json").read_text())
    assert content == {
        "clipeval": __version__, "arguments": {"profile": "demo"}, "seconds": 3,
        "studies": {"cctv": {"study": "cctv"}, "fairface": {"study": "fairface"}},
    }  # fmt: skip
    run = write_run(tmp_path)  # a notebook run again by hand keeps what the runner said
    assert run.arguments == {"profile": "demo"} and run.seconds == 3 and run.state == ""
    (tmp_path / "cctv" / "study.json").unlink()
    assert list(write_run(tmp_path, state="done").studies) == ["fairface"]
    assert read_run(tmp_path).state == "done"
