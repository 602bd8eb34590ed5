"""Parts of an embedding, by jobs of one's own or by Ray: together the same bits as alone."""

import os
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from clipeval import cli
from clipeval.embedding.embed import _plan, embed_images, embed_part
from clipeval.embedding.store import Store
from clipeval.errors import ParameterError, StoreError
from clipeval.models import load_model
from clipeval.runs import cluster, telling
from clipeval.runs.cluster import embed_by_ray, embed_parts, parse_part
from clipeval.studies import opened, start


def test_parts_are_disjoint_whole_shards():
    missing = np.ones(1000, bool)
    missing[200:300] = False
    shards = _plan(missing, 10, 70)
    parts = [_plan(missing, 10, 70, (i, 3)) for i in (1, 2, 3)]
    firsts = sorted(int(shard[0][0]) for part in parts for shard in part)
    assert firsts == [int(shard[0][0]) for shard in shards]
    for part in parts:  # the same batches, wherever they are computed
        for shard in part:
            same = next(s for s in shards if s[0][0] == shard[0][0])
            assert [b.tolist() for b in same] == [b.tolist() for b in shard]
    assert {int(s[0][0]) // 70 % 3 for s in parts[1]} == {1}


def test_parts_give_the_matrix_of_one_job_bit_for_bit(tmp_path, real, tiny_face_clip):
    values = {"dataset": "fairface", "data": str(real / "fairface"), "limit": 90}
    images = opened("fairface", values | {"out": str(tmp_path)}).images
    model = load_model(f"local-dir:{tiny_face_clip}", device="cpu")
    how = {"info": model.info, "batch_size": 8, "workers": 0, "progress": False, "shard_size": 16}
    alone = embed_images(images, get_model=lambda: model, store=Store(tmp_path / "one"), **how)
    store, counts = Store(tmp_path / "parts"), []
    for i in (3, 1, 2):
        counts.append(embed_part(images, (i, 3), get_model=lambda: model, store=store, **how))
    assert counts == [26, 32, 32]  # six shards of 16 but for the last, of ten
    whole = embed_images(images, get_model=lambda: None, store=Store(tmp_path / "parts"), **how)
    assert whole.encoded == 0 and np.array_equal(whole.matrix, alone.matrix)
    assert (whole.image_id == alone.image_id).all()


def test_a_study_embeds_what_it_will_read(demo_cache, tmp_path):
    given = {"store": str(tmp_path / "s"), "out": str(tmp_path), "train_limit": 300, "workers": 0}
    session = start("fairface", given | {"limit": 50})
    counts = [embed_parts("fairface", session.parameters, (i, 2), False) for i in (1, 2)]
    assert counts == [350, 0]  # for the probe, the same features of the same images once more
    session.study.predict(session)
    assert session.embed().encoded == 0


@pytest.mark.parametrize("text", ["0/4", "5/4", "3", "a/b", "1/0", "-1/2"])
def test_what_is_no_part(text):
    with pytest.raises(ParameterError, match=f"--part {text} is not a part; write I/N with I from"):
        parse_part(text)


def test_the_command_line_embeds_a_part(demo_cache, tmp_path, monkeypatch, capfd):
    given = ["-p", "limit=40", "-p", "methods=zero-shot", "-p", "workers=0"]
    given += ["-p", f"store={tmp_path}", "-p", "batch_size=8"]
    said = []
    for more in (["--part", "2/2"], ["--part", "1/2"], [], ["--part", "1/2", "--ray"]):
        monkeypatch.setattr(sys, "argv", ["clipeval", "embed", "fairface", *given, *more])
        with pytest.raises(SystemExit) as end:
            cli.main()
        shown = capfd.readouterr()
        said.append(shown.out + shown.err * (end.value.code > 0))
    assert said[0] == "fairface: part 2/2, 0 images encoded\n"  # all are in the first shard
    assert said[1] == "fairface: part 1/2, 40 images encoded\n"
    assert "40 images, 0 of them new" in said[2]
    assert "--part and --ray exclude each other" in said[3]


def test_without_ray_it_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ParameterError, match="--ray needs ray, which is not installed; pip instal"):
        embed_by_ray([])


def test_a_node_that_does_not_start_is_one_sentence(monkeypatch):
    tried = []

    def init(**how):
        tried.append(said)
        raise RuntimeError(f"{said}\nmore")

    ray = SimpleNamespace(init=init, shutdown=lambda: tried.append("shut down"))
    monkeypatch.setitem(sys.modules, "ray", ray)
    for said, times in (("The current node timed out during startup.", 2), ("No such address.", 1)):
        with pytest.raises(StoreError, match=rf"^Ray could not be started \({said[:-1]}\), and"):
            embed_by_ray([])
        assert tried == [said, "shut down"] * times
        tried.clear()


def test_a_node_that_was_too_slow_is_started_once_more(monkeypatch):
    slow = [Exception("The current node timed out during startup.")]

    def init(**how):
        if slow:
            raise slow.pop()

    ray = SimpleNamespace(
        init=init,
        shutdown=lambda: None,
        cluster_resources=lambda: {"CPU": 1.0},
        remote=lambda **how: lambda function: SimpleNamespace(remote=lambda *given: {"cctv": 3}),
        wait=lambda tasks, num_returns: None,
        get=lambda tasks: tasks,
        exceptions=SimpleNamespace(RayTaskError=KeyError, RayError=KeyError),
    )
    monkeypatch.setitem(sys.modules, "ray", ray)
    assert embed_by_ray([{"cctv": None}]) == [{"cctv": 3}]


def test_a_task_holds_all_studies_of_a_model_as_they_read_the_same_images(monkeypatch):
    """Two tasks at once would both encode what neither has stored yet."""
    asked = []

    def embed(study, parameters, part, progress):
        asked.append((study, parameters, part))
        return part[0]

    monkeypatch.setattr(cluster, "embed_parts", embed)
    ray = SimpleNamespace(
        init=lambda **how: None,
        shutdown=lambda: None,
        cluster_resources=lambda: {"CPU": 2.0},
        remote=lambda **how: lambda function: SimpleNamespace(remote=function),
        wait=lambda tasks, num_returns: None,
        get=lambda tasks: tasks,
        exceptions=SimpleNamespace(RayTaskError=KeyError, RayError=KeyError),
    )
    monkeypatch.setitem(sys.modules, "ray", ray)
    plans = [{"fairface": m, "denigration": m, "card": m} for m in ("model a", "model b")]
    assert embed_by_ray(plans) == [{"fairface": 1 + 2, "denigration": 1 + 2}] * 2
    assert asked == [
        (study, model, (part, 2))
        for model in ("model a", "model b")
        for part in (1, 2)
        for study in ("fairface", "denigration")
    ]


def test_a_run_embeds_by_ray_what_all_its_models_need_and_before_it(monkeypatch, capfd):
    """Once the check has passed, and before a notebook runs."""
    asked = []

    def embed(plans):
        asked.extend((study, one.model) for plan in plans for study, one in plan.items())
        raise ParameterError("the cluster is away.")

    monkeypatch.setattr(cluster, "embed_by_ray", embed)
    monkeypatch.setattr(telling, "tell_check", lambda plan, quiet: False)
    given = ["run", "denigration", "--models", "testcard-clip,random-clip", "--ray"]
    monkeypatch.setattr(sys, "argv", ["clipeval", *given])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2 and "the cluster is away" in capfd.readouterr().err
    assert [pair for pair in asked if pair[0] == "denigration"] == [
        ("denigration", "testcard-clip"),
        ("denigration", "random-clip"),
    ]


@pytest.fixture(scope="module")
def ray():
    """The package, and a cluster of two processes on this machine for each test that starts one."""
    return pytest.importorskip("ray", reason='needs pip install "clipeval[ray]"')


@pytest.mark.slow
def test_ray_embeds_all_parts(ray, demo_cache, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    given = {"store": str(tmp_path / "s"), "out": str(tmp_path), "workers": 0, "limit": 2000}
    session = start("fairface", given | {"methods": "zero-shot"})
    assert embed_by_ray([{"fairface": session.parameters}]) == [{"fairface": 2000}]
    assert session.embed().encoded == 0


MODEL = """
import os, signal
import numpy as np, torch

calls = 0

def encode_image(pixels):
    global calls
    calls += len(pixels) > 1
    if calls == 20 and os.path.exists(KILL):  # in the second shard of its part
        os.unlink(KILL)
        os.kill(os.getpid(), signal.SIGKILL)
    return SCALE * pixels.reshape(len(pixels), -1)[:, :24] + 0.01

def load(*given, **more):
    def preprocess(image):
        return torch.from_numpy(np.array(image.convert("RGB"))[:4, :4]).float().permute(2, 0, 1) / 255
    return dict(encode_image=encode_image, preprocess=preprocess, logit_scale=100.0)
"""


@pytest.mark.slow
def test_nothing_is_lost_or_done_twice_where_a_process_is_killed(ray, tmp_path, monkeypatch):
    """Two studies of two models of one data set; one task is killed by its own model, after its first shard."""
    import io

    import pandas as pd
    from PIL import Image

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.setenv("CLIPEVAL_CACHE", str(tmp_path / "cache"))
    photos = np.random.default_rng(0).integers(0, 256, (6000, 4, 4, 3), dtype=np.uint8)
    held = []
    for pixels in photos:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "BMP")
        held.append({"bytes": buffer.getvalue(), "path": None})
    data, kill = tmp_path / "photos.parquet", tmp_path / "kill"
    pd.DataFrame({"image": held}).to_parquet(data)
    kill.touch()
    plans = []
    for scale in (1, 2):
        file = tmp_path / f"model{scale}.py"
        file.write_text(f"KILL, SCALE = {str(kill)!r}, {scale}\n{MODEL}")
        given = {"model": f"python:{file}:load", "dataset": "manifest", "data": str(data)}
        given |= {"store": str(tmp_path / "store"), "workers": 0, "device": "cpu"}
        names = ("denigration", "class_design")
        plans.append({name: start(name, given).parameters for name in names})
    ray.init(num_cpus=2, log_to_driver=False)
    done = embed_by_ray(plans)
    assert not kill.exists()
    # of the killed task, what it had stored before it was killed was not encoded once more
    assert sorted(d["denigration"] for d in done) == [6000 - 1024, 6000]
    assert [d["class_design"] for d in done] == [0, 0]  # the same images
    pixels = photos.transpose(0, 3, 1, 2).reshape(6000, -1)[:, :24].astype(np.float32) / 255
    for scale, plan in zip((1, 2), plans, strict=True):
        session = start("denigration", plan["denigration"].model_dump())
        shelf = session.store.shelf(session.info, "images-projected-float32")
        stored = [key for _, keys in shelf._keys() for key in keys]
        assert len(stored) == len(set(stored)) == 6000
        embeddings = session.embed()
        assert embeddings.encoded == 0
        plain = scale * pixels + 0.01
        plain /= np.linalg.norm(plain, axis=1, keepdims=True)
        np.testing.assert_allclose(embeddings.matrix, plain, atol=1e-6)
