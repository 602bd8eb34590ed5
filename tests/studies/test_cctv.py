"""The CCTV study: what is asked, equal to a plain loop on real frames, and cards of known truth."""

import json

import numpy as np
import pandas as pd
import pytest
from decks import cluster_interval
from keeping import Keeping

import clipeval
from clipeval.errors import ClassSetError, DataError
from clipeval.output.tables import check_table
from clipeval.studies import cctv
from clipeval.studies.cctv.questions import questions


def frame(image_id, sequence, caption=None, close=None, truth=None, main=None):
    return {
        "image_id": image_id,
        "sequence": sequence,
        "caption": caption,
        "close_caption": close,
        "present_caption": "a bag" if truth else None,
        "absent_caption": "no bag" if truth else None,
        "fine_truth": truth,
        "main_caption": main,
    }


FRAMES = pd.DataFrame(
    [
        frame("a1", "a", "a yard", "a full yard", "present", "a yard"),
        frame("a2", "a", "a yard with a van", "a yard with a bus", None, "a yard"),
        frame("b1", "b", "a hall", "a yard", "absent", "a hall"),
        frame("b2", "b", "A  Yard", "a hall", None, "a hall"),
        frame("c1", "c", "a road", "a path", None, "a road"),
        frame("c2", "c", None, None, None, "a road"),
    ]
)


def asked_of(table, image_id, task):
    rows = table[(table["image_id"] == image_id) & (table["task"] == task)]
    assert len(rows) == 1
    return rows.iloc[0]


def test_options_are_the_own_caption_and_those_of_other_sequences():
    table = questions(FRAMES)
    # "A  Yard" of b is a caption of a as well: never offered to a's frames beside their own
    assert asked_of(table, "a2", "coarse")["offered"] == ("a hall", "a road", "a yard with a van")
    first = asked_of(table, "a1", "coarse")
    assert first["offered"] == ("a hall", "a road", "a yard")
    assert (first["truth"], first["scenes"]) == ("a yard", ("b", "c", "a"))
    road = asked_of(table, "c1", "coarse")
    assert road["offered"] == ("a hall", "a road", "a yard", "a yard with a van")
    assert road["scenes"] == ("b", "c", "several", "a")
    assert set(table.loc[table["image_id"] == "c2", "task"]) == set()
    assert table["task"].value_counts().to_dict() == {"coarse": 5, "stress": 5, "fine": 2}


def test_stress_adds_the_close_caption_once():
    table = questions(FRAMES)
    stress = asked_of(table, "c1", "stress")
    assert set(stress["offered"]) == {*asked_of(table, "c1", "coarse")["offered"], "a path"}
    assert stress["close"] == "a path" and stress["scenes"][stress["offered"].index("a path")] == (
        "close caption"
    )
    # the close caption of b1 is a caption of its own sequence in another spelling, so on offer once
    assert asked_of(table, "b1", "stress")["offered"] == (
        "a hall",
        "a road",
        "a yard",
        "a yard with a van",
    )


def test_main_options_are_one_a_scene():
    table = questions(FRAMES, options="main")
    assert asked_of(table, "c1", "coarse")["offered"] == ("a hall", "a road", "a yard")
    without = questions(FRAMES.assign(main_caption=None), options="main")
    # the most frequent stands in (of equals, the first by alphabet): for a and b the same yard
    assert asked_of(without, "c1", "coarse")["offered"] == ("a road", "a yard")


def test_fine_asks_present_against_absent():
    table = questions(FRAMES)
    assert asked_of(table, "a1", "fine")["truth"] == "a bag"
    assert asked_of(table, "b1", "fine")["truth"] == "no bag"
    assert asked_of(table, "b1", "fine")["offered"] == ("a bag", "no bag")


def test_a_sample_of_frames_keeps_all_captions_on_offer():
    table = questions(FRAMES.iloc[[4]], FRAMES)
    assert len(asked_of(table, "c1", "coarse")["offered"]) == 4


def test_nothing_to_choose_from_is_refused():
    with pytest.raises(DataError, match="add frames of other scenes"):
        questions(FRAMES[FRAMES["sequence"] == "c"])
    with pytest.raises(DataError, match="write captions first"):
        questions(FRAMES.iloc[[5]])


def answers(rows):
    return pd.DataFrame(rows, columns=["image_id", "task", "label"]).assign(rank=1)


def test_two_answers_of_one_frame_are_refused():
    asked = questions(FRAMES)
    rows = asked[asked["task"] == "coarse"]
    said = answers(rows[["image_id", "task", "truth"]].to_numpy())
    twice = pd.concat([said, said.tail(1)])
    with pytest.raises(DataError, match="image c1 has two answers to task coarse"):
        cctv.accuracy(twice, asked)


SAID = answers(
    [
        ("a1", "coarse", "a yard"),
        ("a2", "coarse", "a hall"),
        ("b1", "coarse", "a hall"),
        ("b2", "coarse", "A  Yard"),
        ("c1", "coarse", "a yard"),
        ("a1", "stress", "a full yard"),
        ("a2", "stress", "a yard with a van"),
        ("b1", "stress", "a yard"),
        ("b2", "stress", "a road"),
        ("c1", "stress", "a road"),
        ("a1", "fine", "no bag"),
        ("b1", "fine", "no bag"),
    ]
)


def test_rates_by_hand():
    asked, said = questions(FRAMES), SAID
    table = check_table(cctv.accuracy(said, asked))
    frames = table[table["interval"] == "frame (Wilson)"].set_index(["task", "metric"])
    assert frames["count"].to_dict() == {
        ("coarse", "top-1"): 3,
        ("stress", "top-1"): 2,
        ("stress", "close caption chosen"): 2,
        ("fine", "accuracy"): 1,
    }
    assert frames["published"].tolist()[:3] == [91.8, 51.1, 40.7]
    fine = frames.loc[("fine", "accuracy")]  # the paper printed "near random" and no number
    assert np.isnan(fine["published"]) and np.isnan(fine["difference"]) and fine["chance"] == 50
    # 3, 3, 3, 3 and 4 captions on offer
    sizes = asked.loc[asked["task"] == "coarse", "offered"].map(len)
    assert frames["chance"][("coarse", "top-1")] == pytest.approx(100 * (1 / sizes).mean())
    assert frames["few_clusters"].all() and frames["clusters"].tolist() == [3, 3, 3, 2]
    matrix = cctv.confusion(said, asked)
    assert matrix.attrs["n"] == {"a": 2, "b": 2, "c": 1}
    assert matrix.loc["c", "several"] == 100 and matrix.loc["a"].tolist() == [50, 50, 0, 0]
    assert cctv.confusion(said, asked, task="stress").loc["a", "close caption"] == 50
    assert cctv.in_words(table) == (
        "The true caption is chosen for 60.0 % of the frames, and for 40.0 % once a close one is on "
        "offer, which is chosen for 40.0 %. Whether the small thing is there is answered rightly for "
        "50.0 %, where guessing gives 50 % (published: near random)."
    )
    by = check_table(cctv.by_sequence(said, asked))
    assert by.groupby(["task", "metric"])["n"].sum().to_dict() == {
        ("coarse", "top-1"): 5,
        ("stress", "top-1"): 5,
        ("stress", "close caption chosen"): 5,
        ("fine", "accuracy"): 2,
    }


@pytest.mark.parametrize("comparable", [True, False])
def test_what_the_notebook_shows(comparable, capsys):
    """Counts are those of the answers above; a detail is drawn for all frames, and not by sequence."""
    session, asked = Keeping(), questions(FRAMES)
    session.comparable, session.images = comparable, FRAMES
    cctv.show_questions(session, asked)
    assert "5 of 6 frames have a caption (coarse, stress) and 2 a truth" in capsys.readouterr().out
    cctv.show_accuracy(session, SAID, asked)
    printed = capsys.readouterr().out
    assert "The true caption is chosen for 60.0 % of the frames" in printed
    assert ("(published: near random)" in printed) == comparable
    kept, (rows, look) = session.tabled("accuracy"), session.drawn("accuracy")
    assert kept.what["count"].tolist() == [3, 3, 2, 2, 2, 2, 1, 1]
    assert kept.what["published"].notna().any() == comparable
    known = "arXiv 2103.00020, section 7.2 (fine: “near random”)" if comparable else None
    assert kept.published_source == known and kept.intervals.endswith("over whole sequences")
    names = ["coarse: top-1", "stress: top-1", "stress: close caption chosen", "fine: accuracy"]
    assert rows["question"].tolist() == [name for name in names for _ in range(2)]
    assert look["xlim"] == (0, 100) and look["xlabel"] == "percent of frames"
    cctv.show_sequences(session, SAID, asked)
    assert session.tabled("by_sequence").what["count"].sum() == 3 + 2 + 2 + 1
    rows, look = session.drawn("by_sequence")
    assert rows["count"].sum() == 3 + 2 + 2 and look["panel"] == "question"
    cctv.show_confusion(session, SAID, asked)
    matrix, look = session.drawn("confusion")
    assert matrix.loc["a"].tolist() == [50, 50, 0, 0] and look["n"] == {"a": 2, "b": 2, "c": 1}


# -- real frames ----------------------------------------------------------------------------------


def start(real, model, out, **values):
    base = {"dataset": "cctv", "data": str(real / "cctv"), "model": f"local-dir:{model}"}
    return clipeval.start("cctv", {**base, "out": str(out), "workers": 0, **values})


@pytest.fixture(scope="module")
def plain(real, tiny_face_clip):
    """Embeddings of frames and captions by open_clip alone: a frame's row, a caption's row."""
    import open_clip
    import torch
    from PIL import Image

    name = f"local-dir:{tiny_face_clip}"
    model, _, preprocess = open_clip.create_model_and_transforms(name)
    tokenizer = open_clip.get_tokenizer(name)
    model.eval()
    table = pd.read_csv(real / "cctv" / "frames.csv")
    texts = pd.unique(
        table[["caption", "close_caption", "present_caption", "absent_caption"]].to_numpy().ravel()
    )
    texts = [text for text in texts if isinstance(text, str)]
    with torch.no_grad():
        pixels = [preprocess(Image.open(real / "cctv" / f).convert("RGB")) for f in table["file"]]
        images = model.encode_image(torch.stack(pixels)).float()
        words = model.encode_text(tokenizer(texts)).float()
        scale = model.logit_scale.exp().item()
    images = torch.nn.functional.normalize(images, dim=-1).numpy()
    words = torch.nn.functional.normalize(words, dim=-1).numpy()
    return table, images, dict(zip(texts, words, strict=True)), scale


def expected(plain):
    """(image, task) -> captions on offer with their probabilities, by a loop of its own."""
    table, images, words, scale = plain
    found = {}
    for i, row in table.iterrows():
        offers = {}
        if isinstance(row["caption"], str):
            own = set(table.loc[table["sequence"] == row["sequence"], "caption"].dropna())
            rest = set(table.loc[table["sequence"] != row["sequence"], "caption"].dropna()) - own
            offers["coarse"] = rest | {row["caption"]}
            offers["stress"] = offers["coarse"] | {row["close_caption"]}
        if isinstance(row["fine_truth"], str):
            offers["fine"] = {row["present_caption"], row["absent_caption"]}
        for task, captions in offers.items():
            captions = sorted(captions)
            logits = scale * np.array([images[i] @ words[c] for c in captions], dtype=np.float64)
            odds = np.exp(logits - logits.max())
            found[row["image_id"], task] = dict(zip(captions, odds / odds.sum(), strict=True))
    return found


def test_real_frames_equal_a_plain_open_clip_loop(real, tiny_face_clip, tmp_path, plain):
    # the checkpoint knows no word for scenes: its answers are arbitrary, but exact
    session = start(real, tiny_face_clip, tmp_path)
    asked = cctv.session_questions(session)
    assert asked["task"].value_counts().to_dict() == {"coarse": 228, "stress": 228, "fine": 65}
    said = cctv.remarks(session.images, asked)
    assert said[0].startswith("228 of 239 frames have a caption (coarse, stress) and 65 a truth")
    assert cctv.study.check(session) == " ".join(said)
    predictions = cctv.study.predict(session)
    truth = expected(plain)
    mine = {
        key: dict(zip(rows["label"].astype(str), rows["prob"], strict=True))
        for key, rows in predictions.groupby(["image_id", "task"], observed=True)
    }
    assert mine.keys() == truth.keys() and len(mine) == 228 + 228 + 65
    for key, options in truth.items():
        assert mine[key].keys() == options.keys()
        assert max(abs(mine[key][c] - p) for c, p in options.items()) < 1e-4
        assert max(mine[key], key=mine[key].get) == max(options, key=options.get)
    ranks = predictions.groupby(["image_id", "task"], observed=True)["rank"].agg(list)
    assert all(ranks_of == list(range(1, len(ranks_of) + 1)) for ranks_of in ranks)
    assert predictions["sequence"].notna().all()


def test_real_rates_and_intervals(real, tiny_face_clip, tmp_path, plain):
    from statsmodels.stats.proportion import proportion_confint

    session = start(real, tiny_face_clip, tmp_path)
    asked = cctv.session_questions(session)
    table = check_table(cctv.accuracy(cctv.study.predict(session), asked, seed=3))
    frames = plain[0].set_index("image_id")
    best = {key: max(options, key=options.get) for key, options in expected(plain).items()}
    hits = {key: [] for key in cctv.METRICS}
    for (image_id, task), label in best.items():
        row = frames.loc[image_id]
        if task == "fine":
            good = row["present_caption" if row["fine_truth"] == "present" else "absent_caption"]
            hits["fine", "accuracy"].append((row["sequence"], label == good))
            continue
        hits[task, "top-1"].append((row["sequence"], label == row["caption"]))
        if task == "stress":
            chosen = label == row["close_caption"]
            hits["stress", "close caption chosen"].append((row["sequence"], chosen))
    for (task, metric), values in hits.items():
        rows = table[(table["task"] == task) & (table["metric"] == metric)].set_index("interval")
        count, n = sum(hit for _, hit in values), len(values)
        low, high = proportion_confint(count, n, method="wilson")
        wilson = rows.loc["frame (Wilson)"]
        assert (wilson["n"], wilson["count"]) == (n, count)
        assert wilson["percent"] == 100 * count / n
        assert wilson["ci_low"] == pytest.approx(100 * low, abs=1e-6)
        assert wilson["ci_high"] == pytest.approx(100 * high, abs=1e-6)
        # an interval over sequences, drawn by other means: close, as far as 10,000 draws can be
        groups = pd.DataFrame(values, columns=["s", "hit"]).groupby("s")["hit"].agg(["sum", "size"])
        ends = cluster_interval(groups["sum"].to_numpy(), groups["size"].to_numpy(), seed=99)
        clustered = rows.loc["sequence (bootstrap)"]
        assert [clustered["ci_low"], clustered["ci_high"]] == pytest.approx(ends, abs=2.0)
        assert clustered["few_clusters"] and clustered["percent"] == wilson["percent"]
    again = cctv.accuracy(cctv.study.predict(session), asked, seed=3)
    pd.testing.assert_frame_equal(table, again)


@pytest.mark.parametrize("options", ["all", "main"])
def test_captions_name_the_options_and_the_frames_that_were_asked(
    real, tiny_face_clip, tmp_path, options
):
    from clipeval.output.provenance import caption

    session = start(real, tiny_face_clip, tmp_path / "out", options=options)
    said = caption("Accuracy", session.provenance)
    assert f"templates bare v1, options {options};" in said and "n = 239" not in said
    assert "239 frames read, questions: 228 for coarse, 228 for stress and 65 for fine" in said


def test_prompts_file_keeps_captions_out(real, tiny_face_clip, tmp_path):
    session = start(real, tiny_face_clip, tmp_path, limit=20)
    session.save_predictions(cctv.study.predict(session))
    folder = session.finish()
    text = (folder / "prompts.json").read_text()
    assert "parking" not in text and list(json.loads(text)) == ["coarse", "fine", "stress"]
    assert "captions:all v1" in json.loads((folder / "study.json").read_text())["class_sets"]


def test_a_caption_that_would_be_truncated_is_refused(real, tiny_face_clip, tmp_path):
    path = tmp_path / "frames"
    path.mkdir()
    table = pd.read_csv(real / "cctv" / "frames.csv", dtype="str")
    table["file"] = [str(real / "cctv" / name) for name in table["file"]]
    table.loc[table["sequence"] == "classroom", "caption"] = "a very long room " * 20
    table.to_csv(path / "frames.csv", index=False)
    with pytest.raises(ClassSetError, match="very long room"):
        start(real, tiny_face_clip, tmp_path, data=str(path))


# -- test cards -----------------------------------------------------------------------------------


def test_planted_rates_are_recovered(tmp_path):
    session = clipeval.start("cctv", {"out": str(tmp_path), "workers": 0})
    assert len(session.images) == 515 and session.images["sequence"].nunique() == 12
    asked = cctv.session_questions(session)
    assert asked.loc[asked["task"] == "coarse", "offered"].map(len).min() >= 6
    predictions = cctv.study.predict(session)
    table = session.tabulate(cctv.accuracy, predictions, asked=asked)
    assert table["percent"].tolist() == table["planted"].tolist()  # every card is read rightly
    assert (table["percent"] - table["published"]).abs().max() <= 100 * 0.5 / 515
    assert table.loc[table["task"] != "fine", "published"].notna().all()
    said = table[table["published"].notna()]
    inside = (said["ci_low"] <= said["published"]) & (said["published"] <= said["ci_high"])
    assert inside.all()
    width = (table["ci_high"] - table["ci_low"]).to_numpy().reshape(-1, 2)
    assert width[1, 1] > 1.5 * width[1, 0]  # stress: frames of a sequence are not independent
    by = session.tabulate(cctv.by_sequence, predictions, asked=asked)
    assert (by["percent"] == by["planted"]).all()
