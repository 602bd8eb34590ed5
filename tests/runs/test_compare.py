"""Models side by side: rates, paired tests and refusals against statsmodels, scipy and plain pandas."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from paired import paired_change
from records import study_json, study_record, write_records

from clipeval.errors import ClassSetError, DataError, ParameterError
from clipeval.runs import compare, matching, telling
from clipeval.runs.compare import (
    Comparison,
    compare_runs,
    label_runs,
    paired_tests,
    sign_flip,
)
from clipeval.runs.compare_report import write_comparison
from clipeval.runs.compare_wide import wide
from clipeval.runs.finished import Run, load_run
from clipeval.runs.several_models import (
    model_slug,
    named,
    parse_models,
    plan_models,
    read_models,
    told_models,
)
from clipeval.session.parameters import Parameters, parse
from clipeval.session.record import RunRecord
from clipeval.stats import FEW_CLUSTERS
from clipeval.studies import STUDIES, fairface, get_study, headlines, outcomes


def perturb(folder, target, scale=0.08):
    """A copy of a checkpoint with noise on its weights: another model for the same images."""
    import torch
    from safetensors.torch import load_file, save_file

    shutil.copytree(folder, target)
    for path in target.rglob("*"):
        path.chmod(0o644)
    weights = next(target.glob("*.safetensors"))
    noise = torch.Generator().manual_seed(0)
    tensors = load_file(weights)
    for name, value in tensors.items():
        if value.is_floating_point() and value.ndim > 1:
            drawn = torch.randn(value.shape, generator=noise) * value.float().std()
            tensors[name] = (value.float() + scale * drawn).to(value.dtype)
    save_file(tensors, weights)
    return target


def run_fairface(out, model, store, data, **more):
    """One run folder with the zero-shot part of fairface, without its notebook."""
    study = get_study("fairface")
    values = {"model": model, "dataset": "fairface", "data": str(data), "out": str(out)}
    values |= {"limit": 500, "methods": "zero-shot", "store": str(store), "workers": 0} | more
    parameters = parse(study.Parameters, values, study="fairface")
    session = get_study("fairface").open(parameters, progress=False)
    predictions = study.predict(session)
    session.save_predictions(predictions)
    session.table("accuracy_by_white", fairface.accuracy_by_white(predictions), "Accuracy.")
    session.finish()
    return out


@pytest.fixture(scope="module")
def runs(real, tiny_face_clip, tmp_path_factory):
    """Run folders: two models on the same photos, one with other prompts, one with other photos."""
    home = tmp_path_factory.mktemp("runs")
    data, store = real / "fairface", home / "store"
    tiny = f"local-dir:{tiny_face_clip}"
    other = f"local-dir:{perturb(tiny_face_clip, home / 'perturbed')}"
    return {
        "a": run_fairface(home / "a", tiny, store, data),
        "b": run_fairface(home / "b", other, store, data),
        "prompts": run_fairface(home / "prompts", tiny, store, data, templates="bare"),
        "photos": run_fairface(home / "photos", tiny, store, data, limit=499),
    }


def right(folder, labels, task):
    """Top-1 hits by plain pandas: predicted label against the data set's own label file."""
    found = pd.read_parquet(folder / "fairface" / "predictions.parquet")
    top = found[(found["rank"] == 1) & (found["task"] == task)].set_index("image_id")["label"]
    truth = labels.loc[top.index, task]
    return (top.astype(str) == truth).sort_index()


@pytest.fixture(scope="module")
def labels(real):
    return pd.read_csv(real / "fairface" / "labels_val.csv").set_index("file")


def pick(table, **where):
    for name, value in where.items():
        table = table[table[name] == value]
    assert len(table) == 1, table
    return table.iloc[0]


def test_rates_equal_the_label_file_and_the_study_table(runs, labels):
    found = compare_runs([runs["a"], runs["b"]])
    names = {
        "gender": "gender accuracy",
        "age": "age accuracy",
        "race": "race accuracy (7 classes)",
    }
    for label, folder in zip(found.labels, (runs["a"], runs["b"]), strict=True):
        own = pd.read_csv(folder / "fairface" / "tables" / "accuracy_by_white.csv")
        for task, quantity in names.items():
            hits = right(folder, labels, task)
            row = pick(found.rates, model=label, quantity=quantity, images_of="All")
            assert (row["n"], row["count"]) == (500, hits.sum())
            assert row["percent"] == pytest.approx(100 * hits.mean())
        for attribute in ("gender", "age", "race"):
            for part in ("White", "Non-White"):
                told = pick(own, method="zero-shot", attribute=attribute, images_of=part)
                quantity = (
                    names[attribute] if attribute != "race" else "race accuracy (White or not)"
                )
                row = pick(found.rates, model=label, quantity=quantity, images_of=part)
                columns = ["n", "count", "percent", "ci_low", "ci_high", "published", "difference"]
                assert row[columns].astype(float).to_numpy() == pytest.approx(
                    told[columns].astype(float).to_numpy(), abs=1e-4
                )


def test_paired_tests_equal_statsmodels_and_scipy(runs, labels):
    from statsmodels.stats.contingency_tables import mcnemar
    from statsmodels.stats.multitest import multipletests

    paired = compare_runs([runs["a"], runs["b"]]).paired
    a, b = right(runs["a"], labels, "age"), right(runs["b"], labels, "age")
    assert (a.index == b.index).all() and a.sum() != b.sum()
    row = pick(paired, quantity="age accuracy", images_of="All")
    table = np.array([[(a & b).sum(), (a & ~b).sum()], [(~a & b).sum(), (~a & ~b).sum()]])
    assert (row["only_a"], row["only_b"]) == (table[0, 1], table[1, 0])
    assert table[0, 1] + table[1, 0] >= 25
    assert row["p"] == pytest.approx(mcnemar(table, exact=False, correction=False).pvalue, rel=1e-9)
    assert row["percent"] == pytest.approx(100 * (b.mean() - a.mean()))
    newcombe = paired_change(a.to_numpy(), b.to_numpy())
    assert (row["ci_low"], row["ci_high"]) == (newcombe["ci_low"], newcombe["ci_high"])
    assert (paired["interval"] == "Newcombe").all() and not paired["few"].any()
    assert paired["smallest_p"].isna().all()
    exact = pick(paired, quantity="gender accuracy", images_of="White")
    few = [[0, exact["only_a"]], [exact["only_b"], 0]]
    assert exact["p"] == pytest.approx(mcnemar(few, exact=True).pvalue)
    assert paired["p_adjusted"].to_numpy() == pytest.approx(
        multipletests(paired["p"], method="holm")[1]
    )


def test_the_papers_models_have_rows_of_their_own(runs):
    rates = compare_runs([runs["a"], runs["b"]]).rates
    known = rates[rates["n"].isna()]
    assert known["percent"].isna().all() and known["published"].notna().all()
    gender = {"quantity": "gender accuracy", "images_of": "White"}
    assert pick(known, model="CLIP, published", **gender)["published"] == 95.9
    assert pick(known, model="FairFace model, published", **gender)["published"] == 94.2
    assert pick(known, model="ViT-L-14-336 openai, replication", **gender)["published"] == 96.2
    assert not known["model"].str.startswith("Instagram").any()  # a probe, and no probe was run


def test_runs_that_do_not_match_are_refused_or_left_out(runs):
    with pytest.raises(DataError, match="different class sets or prompts"):
        compare_runs([runs["a"], runs["prompts"]])
    with pytest.raises(DataError, match="different images or their labels"):
        compare_runs([runs["a"], runs["photos"]])
    found = compare_runs([runs["photos"], runs["a"], runs["b"]])
    assert len(found.labels) == 2 and set(found.rates["n"].dropna().unique()) >= {500}
    assert not found.rates["source"].str.contains("run photos").any()
    assert len(found.notes) == 1 and "(photos)" in found.notes[0]


def test_a_join_is_on_the_image_id_not_on_the_position(runs, tmp_path):
    shuffled = tmp_path / "a"
    shutil.copytree(runs["a"], shuffled)
    path = shuffled / "fairface" / "predictions.parquet"
    pd.read_parquet(path).sample(frac=1, random_state=0).to_parquet(path, index=False)
    before, after = (compare_runs([folder, runs["b"]]).paired for folder in (runs["a"], shuffled))
    keys = ["quantity", "images_of"]
    columns = [*keys, "n", "percent", "only_a", "only_b", "p"]
    pd.testing.assert_frame_equal(
        before.sort_values(keys)[columns].reset_index(drop=True),
        after.sort_values(keys)[columns].reset_index(drop=True),
    )


def test_folders_that_are_no_runs_are_refused(runs, tmp_path):
    with pytest.raises(DataError, match="no run.json"):
        compare_runs([tmp_path, runs["a"]])
    with pytest.raises(DataError, match="two or more"):
        compare_runs([runs["a"], runs["a"]])
    (tmp_path / "run.json").write_text('{"clipeval": "0.1.0", "studies": {}}')
    with pytest.raises(DataError, match="no study of"):
        compare_runs([tmp_path, runs["a"]])


@pytest.mark.parametrize(
    "text, reason",
    [
        ('{"half', "(the file is not what clipeval writes there)"),
        ("[]", "(the file is not what clipeval writes there)"),
        ('{"studies": []}', "(clipeval is missing)"),
        (
            '{"clipeval": "0.1.0", "studies": {"fairface": 3}}',
            "(studies.fairface is not what clipeval writes there)",
        ),
    ],
)
def test_a_damaged_or_foreign_run_is_refused_by_name(tmp_path, monkeypatch, capsys, text, reason):
    write_records(tmp_path / "good", fairface=study_json())
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "run.json").write_text(text)
    code, said = command(monkeypatch, capsys, "compare", tmp_path / "good", tmp_path / "bad")
    assert code == 2 and "Traceback" not in said.err and reason in said.err
    assert f"{tmp_path / 'bad' / 'run.json'} is not a record" in " ".join(said.err.split())


def test_what_a_run_does_not_say_or_hold_leaves_it_out(tmp_path):
    parameters = {"class_set": "denigration", "templates": "photo", "seed": 0}
    whole = study_json("denigration", parameters=parameters)
    answers = pd.DataFrame(
        {
            "image_id": ["a", "b"], "task": "denigration", "method": "zero-shot", "rank": 1,
            "class_set": "denigration v1", "label": ["animal", "thief"], "race": "White",
        }
    )  # fmt: skip
    bad = {"unsaid": whole | {"dataset": None}, "other": whole, "damaged": whole}
    for name in ("good", *bad):
        write_records(tmp_path / name, denigration=bad.get(name, whole))
        answers.to_parquet(tmp_path / name / "denigration" / "predictions.parquet")
    answers.drop(columns="label").to_parquet(
        tmp_path / "other" / "denigration" / "predictions.parquet"
    )
    (tmp_path / "damaged" / "denigration" / "predictions.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(DataError) as refused:
        compare_runs([tmp_path / name for name in ("good", *bad)])
    said = str(refused.value)
    assert "unsaid does not say what it ran on; run it again." in said
    assert "as what other kept lacks 'label'" in said
    assert "only m, good (good) was run." in said
    with pytest.raises(DataError) as refused:  # alone, as long sentences are shortened
        compare_runs([tmp_path / "good", tmp_path / "damaged"])
    path, said = tmp_path / "damaged" / "denigration" / "predictions.parquet", str(refused.value)
    assert f"{path} cannot be read" in said and "run denigration again." in said


def test_a_run_in_which_nothing_finished_is_noted_while_two_are_left(runs, tmp_path):
    (tmp_path / "run.json").write_text('{"clipeval": "0.1.0", "studies": {}, "state": "failed"}')
    found = compare_runs([runs["a"], tmp_path, runs["b"]])
    whole = compare_runs([runs["a"], runs["b"]])
    pd.testing.assert_frame_equal(found.rates, whole.rates)
    pd.testing.assert_frame_equal(found.paired, whole.paired)
    assert found.notes[0] == f"no study of {tmp_path} finished; run it again, then compare."
    with pytest.raises(DataError, match=f"no study of {tmp_path} finished"):
        compare_runs([runs["a"], tmp_path])


def test_written_tables_figures_and_page(runs, tmp_path):
    folders = [runs["a"], runs["b"]]
    found = compare_runs(folders)
    object.__setattr__(found, "notes", ["<script>alert(1)</script>"])
    page = write_comparison(found, tmp_path / "out", folders).read_text("utf-8")
    assert "<script>alert" not in page and "&lt;script&gt;alert" in page
    soup = BeautifulSoup(page, "html.parser")
    for link in [
        tag[key] for key in ("href", "src") for tag in soup.main.find_all(attrs={key: True})
    ]:
        here = (tmp_path / "out" / link).is_file() or (link[0] == "#" and soup.find(id=link[1:]))
        assert link.startswith("..") or here, link  # but to the runs
    # which model and weights each name stands for, and on what they were asked
    records = [json.loads((Path(run) / "fairface/study.json").read_text()) for run in folders]
    caption = soup.select_one("#compare-figure-compare-cite p").get_text()
    for label, record in zip(found.labels, records, strict=True):
        known = f"{label} ({record['model']['model']}, weights sha256 {record['model']['weights_sha256'][:12]})"
        assert known in soup.main.ul.get_text() and known in caption
    assert f"{records[0]['dataset']['read']} photographs" in caption
    for link in soup.nav.find_all("a"):
        assert soup.find(id=link["href"].removeprefix("#"))
    assert all("by what" not in image["alt"] for image in soup.find_all("img"))
    assert all(
        soup.find(id=table["aria-labelledby"]).name == "figcaption" for table in soup("table")
    )
    for name in ("compare", "paired"):
        assert (tmp_path / "out" / "tables" / f"{name}.tex").is_file()
    for part in soup.select("figure.models"):
        (link,) = [a["href"] for a in part.find_all("a")]
        numbers = pd.read_csv(tmp_path / "out" / link)
        head = [th.get_text() for th in part.thead.find_all("th")]
        assert list(numbers)[::3] == [head[0], *[f"{q}, ci_high" for q in head[1:]]]
        first = [td["data-value"] for td in part.tbody.tr.find_all("td")]
        assert numbers[head[1:]].iloc[0].map("{:.6g}".format).tolist() == first
    rates = pd.read_csv(tmp_path / "out" / "tables" / "compare.csv")
    assert list(rates)[:5] == ["study", "quantity", "method", "images_of", "model"]
    assert rates["percent"].to_numpy() == pytest.approx(
        found.rates["percent"].to_numpy(float), abs=1e-4, nan_ok=True
    )
    for suffix in ("pdf", "svg", "png"):
        assert (tmp_path / "out" / "figures" / f"compare.{suffix}").stat().st_size > 3000
    first = {p.name: p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()}
    write_comparison(found, tmp_path / "out", folders)
    again = {p.name: p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert first == again


def entry(label, hits, clusters, image_ids=None):
    """One run's answers to one made-up quantity."""
    n = len(hits)
    outcomes = pd.DataFrame(
        {
            "image_id": image_ids if image_ids is not None else [f"{i}.jpg" for i in range(n)],
            "quantity": "made-up rate",
            "method": "zero-shot",
            "images_of": "All",
            "task": "",
            "hit": np.asarray(hits, bool),
            "cluster": clusters,
        }
    )
    return compare.Entry(label, None, {}, outcomes)


def test_clustered_images_are_resampled_and_tested_by_cluster():
    from scipy.stats import bootstrap, norm, t

    rng = np.random.default_rng(3)
    clusters = np.repeat([f"s{i}" for i in range(20)], 30)
    a = np.repeat(rng.random(20) < 0.5, 30) ^ (rng.random(600) < 0.1)
    b = np.repeat(rng.random(20) < 0.7, 30) ^ (rng.random(600) < 0.1)
    row = paired_tests([entry("a", a, clusters), entry("b", b, clusters)]).iloc[0]
    means = (b.astype(float) - a).reshape(20, 30).mean(axis=1)  # clusters of one size
    # expanded percentiles: the level that Student's t asks for at 20 clusters
    level = 1 - 2 * norm.cdf(-np.sqrt(20 / 19) * t.ppf(0.975, 19))
    how = {"method": "percentile", "confidence_level": level, "rng": 1}
    found = bootstrap((means,), np.mean, n_resamples=20_000, **how)
    ends = 100 * np.array(found.confidence_interval)
    assert [row["ci_low"], row["ci_high"]] == pytest.approx(ends, abs=1.3)
    assert row["ci_low"] < ends[0] + 0.3 and row["ci_high"] > ends[1] - 0.3  # never the narrower
    assert (row["clusters"], row["test"]) == (20, "sign flips of clusters")
    alone = paired_tests([entry("a", a, None), entry("b", b, None)]).iloc[0]
    assert alone["clusters"] == 600
    assert alone["ci_high"] - alone["ci_low"] < 0.5 * (row["ci_high"] - row["ci_low"])
    assert alone["p"] < row["p"]  # as if 600 images were 600 sequences


def test_changes_one_way_have_an_interval_and_clusters_without_change_none():
    """Four images change, all one way: the bootstrap's end lay at 0 or above in a third of draws."""
    a = np.zeros(40, bool)
    b = np.arange(40) < 4
    row = paired_tests([entry("a", a, None), entry("b", b, None)]).iloc[0]
    newcombe = paired_change(a, b)
    assert (row["ci_low"], row["ci_high"]) == (newcombe["ci_low"], newcombe["ci_high"])
    clusters = np.repeat(list("pqrs"), 10)
    same = paired_tests([entry("a", a, clusters), entry("b", a, clusters)]).iloc[0]
    assert np.isnan(same["ci_low"]) and np.isnan(same["ci_high"]) and np.isnan(same["p"])
    # two images swap within a cluster: no cluster's rate changed, so nothing tells how it varies
    swapped = paired_tests([entry("a", np.roll(b, 1), clusters), entry("b", b, clusters)]).iloc[0]
    assert swapped["only_a"] == swapped["only_b"] == 1 and np.isnan(swapped["ci_low"])


def test_few_clusters_are_said_and_what_p_they_can_reach():
    clusters = np.repeat([f"s{i}" for i in range(7)], 10)
    a, b = np.zeros(70, bool), np.arange(70) % 10 < 3
    row = paired_tests([entry("a", a, clusters), entry("b", b, clusters)]).iloc[0]
    assert row["few"] and row["clusters"] == 7 < FEW_CLUSTERS
    assert (
        row["p"] == row["smallest_p"] == pytest.approx(2 / 2**7)
    )  # all of one sign, or all others
    one = paired_tests([entry("a", a, clusters), entry("b", b & (clusters == "s1"), clusters)])
    assert one["smallest_p"].tolist() == [1.0]  # a single cluster changed
    ids = np.repeat(np.arange(200), 2)
    many = paired_tests([entry("a", ids < 0, ids), entry("b", ids % 3 == 0, ids)]).iloc[0]
    assert not many["few"] and many["p"] == many["smallest_p"] == pytest.approx(1 / 10_001)


def clustered() -> compare.Comparison:
    """Two models on 40 frames of four sequences, half of them of one group."""
    clusters = np.repeat(list("pqrs"), 10)
    entries = [entry("a", np.zeros(40), clusters), entry("b", np.arange(40) < 4, clusters)]
    for e in entries:
        group = e.outcomes[:20].assign(images_of="night")
        object.__setattr__(e, "outcomes", pd.concat([e.outcomes, group], ignore_index=True))
    rates = compare._side_by_side("cctv", entries_with_records(entries), 0)
    paired = compare._adjusted(paired_tests(entries).assign(study="cctv"))
    paired = paired[["study", *(c for c in paired if c != "study")]]
    return compare.Comparison(rates, paired, [], ["a", "b"], False)


def test_captions_say_what_the_bars_are(tmp_path):
    """Of every figure, on the page and in the file itself."""
    soup = BeautifulSoup(write_comparison(clustered(), tmp_path).read_text("utf-8"), "html.parser")
    captions = [figure.figcaption.get_text() for figure in soup.select("figure:has(img)")]
    captions += [path.read_text("utf-8") for path in (tmp_path / "figures").glob("*.svg")]
    assert len(captions) == 4  # the overview, and the only quantity by group
    for caption in captions:
        bars = "bars: 95 % Wilson intervals, over clusters (sequences, people) a bootstrap"
        assert bars in caption.replace("Bars", "bars") and "'y'" not in caption


def test_the_page_shows_clusters_where_there_are_some(runs, tmp_path):
    page = write_comparison(clustered(), tmp_path).read_text("utf-8")
    for head in ("interval", "clusters", "few", "smallest p"):
        assert f">{head}</th>" in page, head
    assert "bootstrap over few clusters" in page
    plain = compare_runs([runs["a"], runs["b"]])
    assert ">smallest p</th>" not in write_comparison(plain, tmp_path).read_text("utf-8")


def entries_with_records(entries):
    record, run = study_record("cctv", model={"model": "tiny"}), Run(Path("run"), None)
    return [compare.Entry(e.label, run, record, e.outcomes) for e in entries]


def test_what_decides_an_answer_is_declared_once_by_each_study():
    for study in STUDIES:
        kind = get_study(study).Parameters
        assert "seed" in kind.decides and issubclass(kind, Parameters)
        assert set(kind.decides + kind.probe_decides) <= set(kind.model_fields)
    kind = get_study("fairface").Parameters

    def conditions(method, labels="0", **values):
        train, parameters = {"images": 300, "hash": labels}, kind(**values).model_dump()
        return matching.conditions(study_record(train=train, parameters=parameters), method)

    other = {"probe_features": "pre_projection", "train_limit": 9, "probe_race_rule": "collapse"}
    for name, value in other.items():
        first, second = (conditions("linear probe", **v) for v in ({}, {name: value}))
        assert first["rules"] != second["rules"], name
        assert conditions("zero-shot") == conditions("zero-shot", **{name: value}), name
    assert conditions("zero-shot") != conditions("zero-shot", race_rule="binary")
    first = conditions("linear probe")
    assert conditions("linear probe", labels="1")["train"] != first["train"]


def test_sign_flips_equal_mcnemars_exact_test_and_counting_by_hand():
    from scipy.stats import binomtest

    change = np.array([1] * 9 + [-1] * 3 + [0] * 40)
    exact = binomtest(3, 12, 0.5).pvalue
    assert sign_flip(change, np.arange(52)) == pytest.approx(exact)
    many = np.array([1] * 20 + [-1] * 9)  # more than 13 clusters: drawn, not counted
    assert sign_flip(many, np.arange(29)) == pytest.approx(binomtest(9, 29, 0.5).pvalue, abs=0.012)
    # sums 3, 1 and -1: every choice of signs, by hand
    ways = [abs(3 * x + y - z) >= 3 for x in (1, -1) for y in (1, -1) for z in (1, -1)]
    found = sign_flip([1, 1, 1, 1, -1], ["p", "p", "p", "q", "r"])
    assert found == pytest.approx(np.mean(ways))
    # no cluster changed, or changes within each cancel: nothing to test
    assert np.isnan(sign_flip([0, 0], ["p", "q"])) and np.isnan(sign_flip([1, -1], ["p", "p"]))


def test_only_common_images_are_paired():
    first = entry("a", [1, 1, 0], None, ["x", "y", "z"])
    second = entry("b", [0, 1, 1], None, ["z", "y", "w"])
    row = paired_tests([first, second]).iloc[0]
    assert (row["n"], row["only_a"], row["only_b"]) == (2, 0, 0)


def test_an_image_that_counts_twice_is_refused(runs):
    record = load_run(runs["a"]).record.studies["fairface"]
    predictions = pd.read_parquet(runs["a"] / "fairface" / "predictions.parquet")
    with pytest.raises(DataError, match="counts twice"):
        headlines.outcomes_of("fairface", pd.concat([predictions, predictions.head(1)]), record)


def test_a_class_set_that_changed_since_is_refused():
    words = {"fairface v1": {"hash": "0"}}
    record = study_record(parameters={"class_set": "fairface"}, class_sets=words)
    with pytest.raises(ClassSetError, match="changed since"):
        outcomes.recorded_class_set(record)


def test_labels_say_as_much_as_tells_runs_apart(tmp_path):
    def run(name, precision="fp32", model="ViT-B-32", tag="openai"):
        model = {"model": model, "pretrained": tag, "precision": precision, "resize": "model"}
        studies = {"fairface": study_record(model=model)}
        return Run(tmp_path / name, RunRecord(clipeval="0.1.0", studies=studies))

    assert label_runs([run("x"), run("y", tag="laion2b")]) == [
        "ViT-B-32 openai",
        "ViT-B-32 laion2b",
    ]
    assert label_runs([run("x"), run("y", "bf16")]) == [
        "ViT-B-32 openai, fp32",
        "ViT-B-32 openai, bf16",
    ]
    assert label_runs([run("x"), run("y")]) == ["ViT-B-32 openai, x", "ViT-B-32 openai, y"]
    own = [f"python:{name}" for name in ("mine.py:load", "mine.py:load:small")]
    own = [run(str(i), model=model, tag="") for i, model in enumerate([*own, "local-dir:clip"])]
    assert label_runs(own) == ["mine.py:load", "small", "clip"]


def test_lists_of_models():
    text = "ViT-B-32@openai, timm:resnet10t@c3_in1k, local-dir:/a@b/c,hf-hub:x/y@main,testcard"
    assert parse_models(text) == [
        ("ViT-B-32", "openai"),
        ("timm:resnet10t", "c3_in1k"),
        ("local-dir:/a@b/c", ""),
        ("hf-hub:x/y@main", ""),
        ("testcard", ""),
    ]
    for text in ("", "a,,b", "a@", "@openai"):
        with pytest.raises(ParameterError, match="empty entry"):
            parse_models(text)
    with pytest.raises(ParameterError, match="twice"):
        parse_models("a@b,a@b")
    assert model_slug("local-dir:/home/me/my model/") == "my-model"
    assert model_slug("ViT-B-32", "/data/epoch_3.pt") == "ViT-B-32_epoch_3"
    assert model_slug("python:/home/me/mine.py:load:a") == "mine.py-load-a"
    assert model_slug("hf-hub:apple/MobileCLIP-S1") == "apple-MobileCLIP-S1"


def test_models_have_names_and_may_stand_in_a_file(tmp_path):
    text = "ours=local-dir:/a/clip,ViT-B-32@openai,theirs=hf-hub:x/y=z,local-dir:/a=b"
    assert parse_models(text) == [
        ("local-dir:/a/clip", ""),
        ("ViT-B-32", "openai"),
        ("hf-hub:x/y=z", ""),
        ("local-dir:/a=b", ""),
    ]
    assert named(text) == ["ours", "", "theirs", ""]
    assert (
        told_models("ours=local-dir:/home/me/clip,local-dir:/b/c")
        == "ours=local-dir:clip,local-dir:c"
    )
    plans = plan_models(text, ["fairface"], "quick", {}, tmp_path)
    assert [p.name for p in plans] == ["ours", "ViT-B-32_openai", "theirs", "a=b".replace("=", "-")]
    (tmp_path / "models.txt").write_text("# mine\nours=ViT-B-32@openai  # the first\n\ntestcard,\n")
    assert read_models(tmp_path / "models.txt") == "ours=ViT-B-32@openai,testcard"
    with pytest.raises(ParameterError, match="two models x"):
        parse_models("x=a,x=b")
    (tmp_path / "empty.txt").write_text("# none\n")
    for name, said in (("empty.txt", "names no model"), ("gone.txt", "cannot be read")):
        with pytest.raises(ParameterError, match=said):
            read_models(tmp_path / name)


def three_models(p_ac: float) -> Comparison:
    """Three models with one headline: a 10 %, b 20 %, c 30 %; b and c differ, a and c by `p_ac`."""
    rates = pd.DataFrame(
        {
            "study": "fairface",
            "quantity": "gender accuracy",
            "method": "zero-shot",
            "images_of": "All",
            "model": ["a", "b", "c"],
            "n": 50,
            "metric": "rate",
            "percent": [10.0, 20.0, 30.0],
            "ci_low": [5.0, 15.0, 25.0],
            "ci_high": [15.0, 25.0, 35.0],
        }
    )
    pairs = pd.DataFrame(
        {"model_a": ["a", "a", "b"], "model_b": ["b", "c", "c"], "p_adjusted": [0.3, p_ac, 0.01]}
    )
    same = {k: rates[k].iloc[0] for k in ("study", "quantity", "method", "images_of")}
    return Comparison(rates, pairs.assign(**same), [], ["a", "b", "c"], False)


@pytest.mark.parametrize(("p_ac", "marks"), [(0.04, ["", "", "high"]), (0.06, ["", "", ""])])
def test_highest_and_lowest_are_marked_only_where_every_test_supports_it(p_ac, marks):
    (part,) = wide(three_models(p_ac))
    assert part["head"] == ["gender accuracy"] and [model for model, _ in part["rows"]] == [
        "a",
        "b",
        "c",
    ]
    quantity = "gender accuracy"
    assert part["id"] == "headlines_fairface" and part["numbers"].to_dict("list") == {
        "model": ["a", "b", "c"],
        quantity: [10.0, 20.0, 30.0],
        f"{quantity}, ci_low": [5.0, 15.0, 25.0],
        f"{quantity}, ci_high": [15.0, 25.0, 35.0],
    }
    cells = [cell for _, (cell,) in part["rows"]]
    assert [cell["mark"] for cell in cells] == marks  # a is not told from b
    assert cells[0]["text"].startswith("10.0 [5.0, 15.0") and cells[2]["value"] == "30"


def test_skews_and_changes_stand_beside_rates_with_the_intervals_of_their_runs():
    skews = pd.DataFrame(
        {"words": "berg2022", "grouping": "gender", "target": "data", "k": [30, 1000], "n": 50}
        | {"metric": "MaxSkew", "percent": [0.2, 0.1], "ci_low": [0.15, 0.05], "ci_high": 0.3}
    )
    changes = pd.DataFrame(
        {
            "method": ["added: any"] * 2,
            "n": 50,
            "percent": [-3.0, -1.5],
            "ci_low": -5,
            "ci_high": -1,
        }
        | {"metric": ["change in crime-related", "change in agreement with race and gender labels"]}
    )
    outcomes = pd.DataFrame({"method": ["zero-shot"]})
    found = []
    for study, table in (("retrieval", {"skew": skews}), ("mitigation", {"changes": changes})):
        own = get_study(study).measures(table)
        rows = compare._measures(study, compare.Entry("a", None, None, outcomes, own))
        found.append(rows.assign(study=study, model="a"))
        probe = compare.Entry("a", None, None, outcomes.assign(method="linear probe"), own)
        assert compare._measures(study, probe).empty
    rates = pd.concat(found, ignore_index=True)
    same = ["study", "method", "images_of", "quantity", "model_a", "model_b", "p_adjusted"]
    pairs = pd.DataFrame(columns=same)
    shown = wide(Comparison(rates, pairs, [], ["a"], False))
    ids = ["headlines_retrieval_nats", "headlines_mitigation_percentage_points"]
    assert [part["id"] for part in shown] == ids
    told = [
        (part["title"], part["head"], [c["text"] for c in part["rows"][0][1]]) for part in shown
    ]
    assert told == [
        ("Retrieval, in nats", ["MaxSkew by gender, k 30"], ["0.200 [0.150, 0.300]"]),
        (
            "Mitigation: what if, in percentage points",
            [
                "change in crime-related, added: any",
                "change in agreement with race and gender labels, added: any",
            ],
            ["−3.0 [−5.0, −1.0]", "−1.5 [−5.0, −1.0]"],
        ),
    ]


def test_every_model_gets_a_plan_and_a_folder_of_its_own(tmp_path):
    text = "ViT-B-32@openai,local-dir:/a/tiny,local-dir:/b/tiny,timm:resnet10t.c3_in1k"
    given = {"limit": "10", "denigration.seed": "3"}
    plans = plan_models(text, ["fairface", "denigration"], "quick", given, tmp_path)
    assert [p.name for p in plans] == ["ViT-B-32_openai", "tiny", "tiny-2", "resnet10t.c3_in1k"]
    first = plans[tmp_path / "ViT-B-32_openai"]
    assert (first["fairface"].model, first["fairface"].pretrained) == ("ViT-B-32", "openai")
    assert first["denigration"].seed == 3 and first["denigration"].limit == 10
    assert first["fairface"].out == str(tmp_path / "ViT-B-32_openai")
    probe = plans[tmp_path / "resnet10t.c3_in1k"]
    assert list(probe) == ["fairface"] and probe["fairface"].methods == "linear probe"
    with pytest.raises(ParameterError, match="no text encoder"):
        plan_models("timm:resnet10t", ["denigration"], "demo", {}, tmp_path)
    with pytest.raises(ParameterError, match="leave out -p model"):
        plan_models("a,b", [], "demo", {"model": "c"}, tmp_path)
    with pytest.raises(ParameterError, match="did you mean limit"):
        plan_models("timm:resnet10t", ["fairface"], "demo", {"limits": "3"}, tmp_path)


def command(monkeypatch, capsys, *arguments):
    from clipeval.cli import main

    monkeypatch.setattr(sys, "argv", ["clipeval", *map(str, arguments)])
    code = 0
    try:
        main()
    except SystemExit as done:
        code = done.code or 0
    return code, capsys.readouterr()


def test_command_compare(runs, tmp_path, monkeypatch, capsys):
    out = tmp_path / "cmp"
    code, said = command(monkeypatch, capsys, "compare", runs["a"], runs["b"], "--out", out)
    assert code == 0 and "2 models compared" in said.out and (out / "index.html").is_file()
    code, said = command(monkeypatch, capsys, "compare", runs["a"], runs["photos"], "--out", out)
    assert code == 2 and "cannot be compared" in said.err and "Traceback" not in said.err


def test_run_models_compares_those_that_finished(runs, tmp_path, monkeypatch, capsys):
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "run.json").write_text('{"clipeval": "0.1.0", "studies": {}, "state": "failed"}')
    monkeypatch.setattr(telling, "tell_check", lambda plan, quiet: 0)
    monkeypatch.setattr(telling, "tell_run", lambda plan, into, *how: int(into == bad))
    for good, said in ((["a", "b"], "2 models compared"), (["a"], "")):
        plans = {runs[name]: {} for name in good} | {bad: {}}
        models = ",".join([*good, "bad"])
        monkeypatch.setattr(
            "clipeval.runs.several_models.plan_models", lambda *a, plans=plans: plans
        )
        out = ("--out", tmp_path / "out")
        code, told = command(monkeypatch, capsys, "run", "fairface", "--models", models, *out)
        assert code == 1 and said in told.out
        assert f"clipeval: no study of {bad} finished; run it again" in told.err
        assert (tmp_path / "out" / "compare" / "index.html").is_file()


@pytest.mark.slow
@pytest.mark.thorough
def test_command_run_models(runs, real, tiny_face_clip, tmp_path, monkeypatch, capsys):
    perturbed = runs["b"].parent / "perturbed"
    models = f"local-dir:{tiny_face_clip},local-dir:{perturbed}"
    given = {"dataset": "fairface", "data": real / "fairface", "limit": 200, "methods": "zero-shot"}
    given |= {"store": runs["b"].parent / "store"}
    options = [x for name, value in given.items() for x in ("-p", f"{name}={value}")]
    out = tmp_path / "out"
    code, said = command(
        monkeypatch, capsys, "run", "fairface", "--models", models, "--out", out, *options
    )
    assert code == 0, said.err
    rates = pd.read_csv(out / "compare" / "tables" / "compare.csv")
    assert set(rates["model"].iloc[:2]) == {"tiny-face-clip", "perturbed"}
    record = json.loads((out / "perturbed" / "run.json").read_text("utf-8"))
    # where they lie is in local.json alone
    assert record["arguments"]["models"] == "local-dir:tiny-face-clip,local-dir:perturbed"
    assert (out / "tiny-face-clip" / "fairface" / "report.html").is_file()


# -- the hooks of the studies, against the label and class files read by plain pandas ----------------


def hits_of(study, values, tmp_path):
    """Predictions and outcomes of a study, straight from its module."""
    asked = get_study(study)
    values = {"store": str(tmp_path / "store"), "out": str(tmp_path), "workers": 0} | values
    session = asked.open(parse(asked.Parameters, values, study=study), progress=False)
    predictions = session.predict()
    predictions.to_parquet(tmp_path / "p.parquet", index=False)  # as a comparison reads them
    predictions = pd.read_parquet(tmp_path / "p.parquet")
    return predictions, headlines.outcomes_of(study, predictions, session.record())


def tiny_values(real, tiny_face_clip, **more):
    model = {"model": f"local-dir:{tiny_face_clip}", "limit": 300}
    return model | {"dataset": "fairface", "data": str(real / "fairface")} | more


def test_hooks_of_denigration_and_class_design(real, tiny_face_clip, labels, tmp_path):
    import yaml

    from clipeval.paths import DATA

    groups = yaml.safe_load((DATA / "class_sets" / "denigration.yaml").read_text("utf-8"))
    groups = groups["categories"]
    harmful = set(groups["non-human"]) | set(groups["crime-related"])
    values = tiny_values(real, tiny_face_clip)
    predictions, found = hits_of("denigration", values, tmp_path)
    top = predictions[predictions["rank"] == 1].set_index("image_id")["label"].astype(str)
    expected = {name: top.isin(members) for name, members in groups.items()}
    expected["crime-related or non-human"] = top.isin(harmful)
    for quantity, hits in expected.items():
        rows = found[found["quantity"] == quantity].set_index(["images_of", "image_id"])["hit"]
        pd.testing.assert_series_equal(rows["All"], hits, check_names=False)
        for race in labels["race"].unique():
            mine = hits[labels.loc[hits.index, "race"] == race]
            assert rows[race].sort_index().to_dict() == mine.sort_index().to_dict()

    predictions, found = hits_of("class_design", values, tmp_path)
    for name in ("denigration", "denigration:child"):
        top = predictions[(predictions["rank"] == 1) & (predictions["class_set"] == f"{name} v1")]
        top = top.set_index("image_id")["label"].astype(str)
        rows = found[found["quantity"] == f"crime-related or non-human, classes {name}"]
        whole = rows[rows["images_of"] == "All"].set_index("image_id")["hit"]
        pd.testing.assert_series_equal(whole, top.isin(harmful), check_names=False)
        ages = [age for age in rows["images_of"].unique() if age != "All"]
        assert ages == [a for a in found_order(labels["age"]) if a in ages] and len(ages) > 5


def found_order(ages):
    """FairFace's bins from young to old."""
    return sorted(ages.unique(), key=lambda a: 99 if a.startswith("more") else int(a.split("-")[0]))


def test_hook_of_cctv_counts_frames_and_names_their_sequence(real, tiny_face_clip, tmp_path):
    values = {"model": f"local-dir:{tiny_face_clip}", "dataset": "cctv", "data": str(real / "cctv")}
    predictions, found = hits_of("cctv", values, tmp_path)
    frames = pd.read_csv(real / "cctv" / "frames.csv").set_index("image_id")
    top = predictions[predictions["rank"] == 1]
    wanted = {
        "coarse top-1": ("coarse", "caption"),
        "stress top-1": ("stress", "caption"),
        "stress close caption chosen": ("stress", "close_caption"),
    }
    assert set(found["quantity"]) == {*wanted, "fine accuracy"}
    for quantity, (task, column) in wanted.items():
        label = top[top["task"] == task].set_index("image_id")["label"].astype(str)
        rows = found[found["quantity"] == quantity].set_index("image_id")
        truth = frames.loc[label.index, column]
        assert rows["hit"].sort_index().to_dict() == (label == truth).sort_index().to_dict()
        assert rows["cluster"].to_dict() == frames.loc[rows.index, "sequence"].to_dict()
    assert len(found[found["quantity"] == "fine accuracy"]) == frames["fine_truth"].notna().sum()
    rates = headlines.headline_rates(found)
    assert set(rates["interval"]) == {"bootstrap over few clusters: may be too narrow"}


def test_published_values_of_the_other_studies():
    def known(study, **parameters):
        model = {"model": "RN50x16-quickgelu"}
        parameters = {"class_set": "denigration"} | parameters
        record = study_record(study, parameters=parameters, model=model)
        return headlines.published_headlines(study, record), get_study(study).counterpart(record)

    table, beside = known("denigration")
    everyone = table[(table["images_of"] == "All") & (table["quantity"] == "non-human")]
    assert everyone["published"].tolist() == [4.9] and beside == "CLIP ViT-L/14"
    assert pick(table, images_of="Black", quantity="crime-related")["published"] == 16.4
    table, _ = known("class_design", other="denigration:child")
    either = "crime-related or non-human, classes denigration"
    assert pick(table, images_of="0-2", quantity=either)["published"] == 30.3
    assert pick(table, images_of="0-2", quantity=f"{either}:child")["published"] == 2.3
    table, _ = known("cctv")
    assert pick(table, quantity="stress close caption chosen")["published"] == 40.7
    assert pick(known("congress")[0], quantity="gender accuracy")["published"] == 100.0
    table, beside = known("celebrities")
    assert len(table) == 4 * 3 * 2 and beside == "CLIP RN50x16"
    found = pick(table, model=beside, quantity="top-1 among 1000 names, closed")
    assert found["published"] == 37.4


def test_hook_of_congress(real, tiny_face_clip, tmp_path):
    values = {"model": f"local-dir:{tiny_face_clip}", "dataset": "congress", "limit": 60}
    values |= {"data": str(real / "congress_2017"), "label_sets": "occupations"}
    predictions, found = hits_of("congress", values, tmp_path)
    top = predictions[(predictions["task"] == "gender") & (predictions["rank"] == 1)]
    members = pd.read_csv(real / "congress_2017" / "members.tsv", sep="\t").set_index(
        "wiki_img_url"
    )
    said = top.set_index("image_id")["label"].astype(str)
    whole = found[found["images_of"] == "All"].set_index("image_id")["hit"]
    assert len(whole) == 60 and 0 < whole.sum() < 60
    for image_id, hit in whole.items():
        truth = members.loc[image_id, "gender"]
        truth = {"F": "Female", "M": "Male"}.get(truth[:1].upper())
        assert hit == (said[image_id] == truth)
    parts = found[found["images_of"] != "All"]
    assert sorted(parts["image_id"]) == sorted(whole.index)


def test_hook_of_celebrities(real, tiny_face_clip, tmp_path):
    values = {"model": f"local-dir:{tiny_face_clip}", "dataset": "celebrities", "n_names": "3,50"}
    data = real / "congress_portraits" / "two_photos_per_member.csv"
    predictions, found = hits_of("celebrities", values | {"data": str(data)}, tmp_path)
    for task, rows in predictions.groupby("task", observed=True):
        k, protocol = str(task).removeprefix("K=").split()
        named = rows[rows["label"].astype(str) == rows["person"].astype(str)]
        for top, best in ((1, named[named["rank"] == 1]), (5, named)):
            hits = found[found["quantity"] == f"top-{top} among {k} names, {protocol}"]
            assert len(hits) == (0 if k == "3" and top == 5 else rows["image_id"].nunique())
            if len(hits):
                assert set(hits[hits["hit"]]["image_id"]) == set(best["image_id"])
    people = predictions.drop_duplicates("image_id").set_index("image_id")["person"].astype(str)
    rates = found.drop_duplicates("image_id").set_index("image_id")["cluster"]
    assert rates.to_dict() == people.loc[rates.index].to_dict()
