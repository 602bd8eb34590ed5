"""A run as a paper, a model card and Croissant metadata; tables, labels and YAML typed again by hand."""

import hashlib
import json
import re
import shutil
import subprocess
import zipfile

import numpy as np
import pandas as pd
import pytest
import yaml
from records import study_json, write_records

from clipeval.errors import DataError, ParameterError
from clipeval.export import export
from clipeval.export.bibliography import references
from clipeval.export.model_card import results
from clipeval.export.paper import _Float, _noted
from clipeval.export.wide import across, fitting, unsaid, wide_table
from clipeval.files import as_json
from clipeval.output.figures import interval_plot
from clipeval.output.provenance import Provenance
from clipeval.output.saving import save_figure
from clipeval.output.tables import write_table
from clipeval.packs.files import to_parquet, write_zip
from clipeval.runs.finished import load_run
from clipeval.sources.pack_file import FORMAT, MANIFEST

RACES = ["White", "Black & Brown", "50 %_of #1", "{x}\\y~^$", "Middle Eastern", "Latino_Hispanic"]
LONG = (
    "Bars: 95 % Wilson intervals, of which " + "every one is said to be what it is " * 9 + "here."
)
FAIRFACE = (
    "Kärkkäinen, K. and Joo, J. (2021). FairFace: Face Attribute Dataset for Balanced Race, Gender, and "
    "Age for Bias Measurement and Mitigation. WACV 2021."
)
KEPT = {
    "id": "by_race",
    "text": "Images by race.",
    "legend": "Images by race. Bars: 95 % intervals.",
}


def rates(groups, metrics=("non-human", "crime-related")) -> pd.DataFrame:
    """A study table with made-up rates: group i of metric m has 10 (m + 1) + i percent."""
    rows = [
        {"race": group, "n": 100 * (i + 1), "count": 40, "metric": metric}
        | {"percent": 10.0 * (m + 1) + i % 20, "ci_low": 5.0, "ci_high": 45.5}
        | {
            "published": 11.0 if i == 0 else np.nan,
            "difference": 10.0 * m - 1 if i == 0 else np.nan,
        }
        for i, group in enumerate(groups)
        for m, metric in enumerate(metrics)
    ]
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run folder of two studies with tables and figures of the same ids, drawn and written as by a session."""
    out = tmp_path_factory.mktemp("run") / "my_run & 100 %"
    overall = rates(["all"]).drop(columns="race").assign(n=10954)
    label = rates([f"label {i}" for i in range(70)], ["rate"]).rename(columns={"race": "label"})
    tables = {"overall": overall, "by_race": rates(RACES), "labels": label.assign(n=10954)}
    for study in ("denigration", "own"):
        for id, table in tables.items():
            write_table(table, out / study / "tables", id, "C.", label=f"tab:{study}-{id}")
        for id, width in {"by_race": "double", "one": "single"}.items():
            save_figure(
                interval_plot(rates(RACES), y="race", panel="metric", width=width),
                out / study / "figures", id, "C.", Provenance(), column=out / study / "page",
            )  # fmt: skip
    long = {"id": "one", "text": "One column.", "legend": f"One column. {LONG}"}
    said = {
        "dataset": {
            "name": "FairFace",
            "version": "val",
            "citation": FAIRFACE,
            "read": 10954,
            "labels": "Labels by A & B.",
            "notes": ["A sample of 5 %."],
        },
        "title": "Denigration & harms",
        "finding": ["Calls 24.9 % [23.1, 26.8] of those labelled A_B crime-related."],
        "tables": [KEPT | {"id": id, "intervals": "95 % Wilson intervals"} for id in tables],
        "figures": [KEPT | {"wide": True, "column": True}, long],
        "code": {"version": "0.1.0", "commit": "1a2b3c4" + "0" * 33, "dirty": False},
        "parameters": {"dataset": "fairface", "split": "val"},
    }
    write_records(out, **{s: study_json(s, **said) for s in ("denigration", "own")})
    return out


@pytest.fixture(scope="module")
def paper(run, tmp_path_factory):
    out = tmp_path_factory.mktemp("paper")
    assert export(run, "paper", out) == out / "main.tex"
    return out


def source(paper) -> str:
    """main.tex with its tables in it."""
    return re.sub(
        r"\\input\{(.*?)\}", lambda m: (paper / m[1]).read_text("utf-8"),
        (paper / "main.tex").read_text("utf-8"),
    )  # fmt: skip


def test_every_label_is_its_own_and_every_reference_is_resolved(paper):
    text = source(paper)
    labels = re.findall(r"\\label\{(.*?)\}", text)
    assert len(labels) == len(set(labels))
    tables = {f"tab:{s}-{id}" for s in ("own", "denigration") for id in ("overall", "by_race")}
    figures = {f"fig:{s}-{id}" for s in ("own", "denigration") for id in ("by_race", "one")}
    assert {label for label in labels if label[:4] in ("tab:", "fig:")} == tables | figures
    assert set(re.findall(r"\\ref\{(.*?)\}", text)) == tables | figures | {"sec:methods"}
    keys = set(re.findall(r"^@\w+\{(.*?),$", (paper / "references.bib").read_text("utf-8"), re.M))
    of_run = {"agarwal2021evaluating", "radford2021learning", "clipeval", "data-fairface"}
    assert keys == of_run | {"wilson1927probable"}
    assert set(re.findall(r"\\cite[pt]\{(.*?)\}", text)) == keys
    for name in re.findall(r"\\includegraphics(?:\[.*?\])?\{(.*?)\}", text):
        assert (paper / name).is_file()
    # long tables are there to be used, and are not printed
    assert (paper / "tables" / "own-labels.tex").is_file() and "tab:own-labels" not in labels


def test_races_are_across_and_each_rate_has_its_interval_below():
    table = rates(["White", "Southeast Asian"])
    assert wide_table(table, "Rates, in 5 % steps.", "tab:a-b").splitlines() == [
        "% needs \\usepackage{booktabs}",
        r"\begin{table}[tp]",
        r"\centering",
        r"\caption{Rates, in 5 \% steps.}\vspace{4pt}",
        r"\label{tab:a-b}",
        r"\footnotesize\setlength{\tabcolsep}{3pt}",
        r"\begin{tabular*}{\linewidth}{@{\extracolsep{\fill}}lrr@{}}",
        r"\toprule",
        r" & White & \begin{tabular}[b]{@{}r@{}}Southeast\\Asian\end{tabular} \\",
        r"\midrule",
        r"$n$ & 100 & 200 \\",
        r"non-human & 10.0 & 11.0 \\",
        r" & {\scriptsize {[}5.0, 45.5{]}} & {\scriptsize {[}5.0, 45.5{]}} \\",
        r"\quad {\scriptsize published} & {\scriptsize 11.0} & {\scriptsize {--}} \\",
        r"crime-related & 20.0 & 21.0 \\",
        r" & {\scriptsize {[}5.0, 45.5{]}} & {\scriptsize {[}5.0, 45.5{]}} \\",
        r"\quad {\scriptsize published} & {\scriptsize 11.0} & {\scriptsize {--}} \\",
        r"\bottomrule",
        r"\end{tabular*}",
        r"\end{table}",
    ]
    seven = wide_table(rates([*RACES, "Indian"]), "C.", "tab:c")
    assert r"\begin{table*}" in seven and r"{x\}\textbackslash{}y" in seven.replace(r"\{", "{")
    assert r"Black \&\\Brown" in seven and r"50 \%\_of \#1" in seven.replace(r"\\", " ")


def test_a_metric_that_goes_with_a_group_is_said_in_the_caption():
    table = rates(["White", "Black"], ["accuracy"])
    mean = rates(["x", "y", "Average"], ["mean accuracy"])[2:]  # n is 300
    table = pd.concat([table, mean])
    table.insert(0, "method", "probe")
    both = pd.concat([table, table.assign(method="zero-shot")])
    lines = wide_table(both.assign(published=np.nan, difference=np.nan), "C.", "t").splitlines()
    assert lines[8:12] == [
        r"method & White & Black & Average \\",
        r"\midrule",
        r"$n$ & 100 & 200 & 300 \\",
        r"probe & 10.0 & 11.0 & 12.0 \\",
    ]
    assert across(both) == ("race", ["method"])
    assert unsaid(both) == " Percent: accuracy, mean accuracy."
    assert across(rates(["a", "b"])) == ("race", ["metric"]) and unsaid(rates(["a", "b"])) == ""


def test_what_is_in_nats_has_three_digits_and_is_not_called_percent():
    table = rates(["White", "Southeast Asian"], metrics=["MaxSkew"])
    table = table.assign(percent=[0.2574, 0.3129], ci_low=0.2361, ci_high=0.4)
    table = pd.concat([table.assign(words=words) for words in ("some", "others")])
    table = table[["words", *table.columns[:-1]]]
    assert unsaid(table) == " Nats: MaxSkew."
    said = wide_table(table, "Skew.", "tab:a-b")
    assert "0.257" in said and "0.313" in said and "0.236, 0.400" in said and "11.000" in said


def test_tables_without_groups_of_images_stay_as_they_are():
    labels = rates([f"label {i}" for i in range(40)]).rename(columns={"race": "label"})
    assert wide_table(labels, "C.", "tab:l") is None
    same = rates(["one class set", "another"]).assign(n=100)  # asked of the same images
    assert wide_table(same, "C.", "tab:s") is None
    assert wide_table(rates(["W" * 60, "M" * 60]), "C.", "tab:w") is None  # heads of many lines
    nine = rates(list("ABCDEFGHI"), ["many words " * 3, "x"])
    assert wide_table(nine, "C.", "tab:n") is not None
    hair = [table.assign(hair=f"{k} and many words more") for k, table in enumerate([nine, nine])]
    hair = pd.concat(hair)
    hair.insert(0, "hat", hair.pop("hair"))
    hair.insert(0, "hair", hair["hat"])
    assert wide_table(hair, "C.", "tab:h") is None  # wider than a page
    many = rates(["a", "b"], [f"metric {i}" for i in range(30)])
    assert (
        wide_table(many.assign(percent=20.0, difference=np.nan, published=np.nan), "C.", "t")
        is None
    )


def test_captions_have_three_lines_and_lose_nothing(paper):
    assert fitting("Short. Bars: intervals.", 242) == ("Short. Bars: intervals.", "")
    said, rest = fitting(f"One column. {LONG}", 242)
    assert (said, rest) == ("One column.", LONG)
    text = source(paper)
    assert text.count(r"\caption{One column.}") == 2
    assert text.count(LONG.replace(" %", r"~\%")) == 2  # in the text, with the figure's number


def test_methods_stand_before_what_was_found_and_say_shared_things_once(paper):
    text = source(paper)
    sections = re.findall(r"\\section\{(.*?)\}", text)
    assert sections[0] == "Methods" and sections[1] == r"Denigration \& harms"
    assert r"as Section~\ref{sec:methods} says." in text
    for said in (
        r"\paragraph{Images.} The images were FairFace, val: n = 10,954. A sample of 5~\%.",
        r"\paragraph{Group labels.} Labels by A \& B.",
        r"clipeval 0.1.0, commit 1a2b\allowbreak{}3c40\allowbreak{}0000.",
        r"\paragraph{Intervals.} Tables give 95~\% Wilson~\citep{wilson1927probable} intervals.",
    ):
        assert text.count(said) == 1


def test_figures_are_as_wide_as_a_column_and_not_scaled(paper):
    text = (paper / "main.tex").read_text("utf-8")
    assert r"\begin{figure*}" not in text and r"\includegraphics[" not in text
    assert "textwidth=6.9in" in text and "columnsep=0.2in" in text  # two columns of 3.35 in
    for path in (paper / "figures").glob("*.pdf"):
        width = re.search(rb"/MediaBox \[ ?0 0 ([\d.]+)", path.read_bytes())[1]
        assert float(width) == pytest.approx(3.35 * 72)
    assert len(list((paper / "figures").glob("*.pdf"))) == 4


def test_a_figure_without_a_column_is_set_across_the_page(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "own" / "page" / "by_race.pdf").unlink()
    export(tmp_path / "run", "paper", tmp_path / "paper")
    text = (tmp_path / "paper" / "main.tex").read_text("utf-8")
    assert text.count(r"\begin{figure*}") == 1
    across = (tmp_path / "run" / "own" / "figures" / "by_race.pdf").read_bytes()
    assert (tmp_path / "paper" / "figures" / "own-by_race.pdf").read_bytes() == across


def test_references_have_year_and_address(run):
    found = references(load_run(run).record)
    for key, year, url in [
        ("agarwal2021evaluating", 2021, "https://arxiv.org/abs/2108.02818"),
        ("radford2021learning", 2021, "https://arxiv.org/abs/2103.00020"),
    ]:
        assert f"  year = {{{year}}}," in found[key] and f"  url = {{{url}}}," in found[key]
    assert re.search(r"  year = \{20\d\d\},", found["clipeval"])
    assert found["data-fairface"] == (
        "@misc{data-fairface,\n"
        "  title = {{FairFace: Face Attribute Dataset for Balanced Race, Gender, and Age for Bias "
        "Measurement and Mitigation}},\n"
        "  author = {K\\\"{a}rkk\\\"{a}inen, K. and Joo, J.},\n"
        "  year = {2021},\n"
        "  note = {WACV 2021},\n"
        "  howpublished = {hub HuggingFaceM4/FairFace; github.com/joojs/fairface},\n"
        "}\n"
    )  # fmt: skip


def test_it_compiles_without_a_warning(paper):
    if not (shutil.which("pdflatex") and shutil.which("bibtex")):
        pytest.skip("pdflatex and bibtex are not installed")
    latex = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "main"]
    for command in (latex, ["bibtex", "main"], latex, latex):
        done = subprocess.run(command, cwd=paper, capture_output=True, text=True, errors="replace")
        assert done.returncode == 0, done.stdout[-2000:]
    log = (paper / "main.log").read_text("utf-8", "replace")
    assert re.findall(r".*(?:Warning|Overfull|Underfull|undefined).*", log) == []
    assert "Warning--" not in (paper / "main.blg").read_text("utf-8", "replace")


def test_what_the_author_edited_stays_and_then_nothing_is_written(run, tmp_path):
    export(run, "paper", tmp_path)
    (tmp_path / "main.aux").write_text("of the compiler")
    bib = tmp_path / "references.bib"
    (tmp_path / "tables" / "own-overall.tex").unlink()
    export(run, "paper", tmp_path)  # again, beside what a compiler left
    assert (tmp_path / "tables" / "own-overall.tex").is_file()
    bib.unlink()
    main = tmp_path / "main.tex"
    main.write_text(main.read_text("utf-8").replace("Name the authors here", "A. Author"), "utf-8")
    with pytest.raises(ParameterError, match="holds main.tex, which clipeval did not write"):
        export(run, "paper", tmp_path)
    assert "A. Author" in main.read_text("utf-8") and not bib.exists()


def test_the_model_card_survives_a_round_trip(run, tmp_path):
    from huggingface_hub import EvalResult, ModelCard

    path = export(run, "model-card", tmp_path)
    assert path.name == "README.md"
    text = path.read_text("utf-8")
    head, body = text.split("---\n", 2)[1:]
    index = yaml.safe_load(head)["model-index"][0]
    assert index["name"] == "m"
    result = next(r for r in index["results"] if r["dataset"]["config"] == "denigration")
    assert result["task"] == {
        "type": "zero-shot-image-classification",
        "name": "Denigration & harms",
    }
    assert result["dataset"] == {
        "name": "FairFace, val", "type": "fairface", "config": "denigration", "split": "val",
        "revision": "0" * 64,
    }  # fmt: skip
    assert result["source"]["name"].startswith("clipeval 0.1.0 at 1a2b3c4, study denigration")
    metrics = {m["name"]: m for m in result["metrics"]}
    assert metrics["crime-related, all images"] == {
        "type": "crime_related", "value": 20.0, "name": "crime-related, all images",
        "args": {
            "unit": "percent", "part": "Harm rates", "ci_low": 5.0, "ci_high": 45.5,
            "published": 11.0, "n": 10954,
        },
    }  # fmt: skip
    # 40 of 600 Latino_Hispanic is the highest of six, so its interval is wider
    picked = metrics["crime-related, highest race: Latino_Hispanic"]
    assert picked["value"] == 25.0 and "highest of 6" in picked["args"]["note"]

    card = ModelCard(text)
    again = ModelCard(str(card))
    assert card.data.eval_results == again.data.eval_results
    assert card.data.to_dict() == yaml.safe_load(head)
    assert all(isinstance(result, EvalResult) for result in again.data.eval_results)
    assert len(again.data.eval_results) == sum(len(r["metrics"]) for r in index["results"])
    assert "| crime-related, all images | 10,954 | 20.0 % [5.0, 45.5] |" in body
    assert "not evidence of safety" in body and body.count("A sample of 5 %.") == 1
    said = body.partition("## Methods\n\n")[2].split("\n\n")
    assert r"**Group labels.** Labels by A \& B." in said
    assert "**Intervals.** Tables give 95 % Wilson intervals." in said


def test_what_several_captions_had_no_room_for_is_said_once():
    one, two = _Float("fig:a", "", "", "", "One. Two. Both."), _Float("tab:b", "", "", "", "Both.")
    said = [
        r"On Figure~\ref{fig:a}: One. Two.",
        r"On Figure~\ref{fig:a} and Table~\ref{tab:b}: Both.",
    ]
    assert _noted([one, two]) == said


def test_a_split_is_told_only_of_data_that_come_in_splits(run):
    record = load_run(run).record.studies["denigration"]
    row = {"study": "denigration", "metric": "rate", "quantity": "q", "part": "p", "percent": 1.0}
    row |= {"unit": "percent"}
    card = pd.DataFrame([row | {"n": 2}])
    for name, split in (("fairface", "val"), ("congress", None), ("manifest", None)):
        asked = {"dataset": name, "split": "val"}  # of which every study has the second
        (found,) = results(card, {"denigration": record.model_copy(update={"parameters": asked})})
        assert (found.dataset_type, found.dataset_split) == (name, split)


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    """A pack of two images, written by hand."""
    path = tmp_path_factory.mktemp("pack") / "my pack.zip"
    images = pd.DataFrame(
        {
            "image_id": ["a.png", "b.png"],
            "hair colour": ["x", "y"],
            "hair  colour": ["u", "v"],
            "frame": [1, 2],
        }
    )
    attrs = {"name": "Own", "groups": ["hair colour"], "labels": "Ours."}
    members = {
        "README.txt": b"A pack.\n",
        "class_sets/0/my classes.yaml": b"name: mine\n",
        "images/0.parquet": to_parquet(images),
        "images/0.json": as_json({"attrs": attrs, "objects": []}).encode(),
    }
    record = study_json(
        dataset={"name": "Own", "version": "1", "licence": "CC BY 4.0", "citation": "Us (2026)."}
    )
    parameters = {"model": "m", "pretrained": "", "dataset": "manifest"}
    manifest = {
        "format": FORMAT,
        "clipeval": "0.1.0",
        "studies": {
            "fairface": {
                "dataset": record["dataset"], "parameters": parameters, "tables": {},
                "model": "f" * 64, "images": {"{}": "images/0"}, "files": {},
            }
        },
        "left_out": {},
        "models": {"f" * 64: record["model"]},
        "members": {name: hashlib.sha256(content).hexdigest() for name, content in members.items()},
    }  # fmt: skip
    write_zip(path, {MANIFEST: as_json(manifest).encode()} | members)
    return path


def test_croissant_describes_every_file_and_column_of_a_pack(pack, tmp_path):
    path = export(pack, "croissant", tmp_path)
    assert path == tmp_path / "croissant.json"
    found = json.loads(path.read_text("utf-8"))
    assert found["@type"] == "sc:Dataset"
    assert found["conformsTo"] == "http://mlcommons.org/croissant/1.0"
    assert found["@context"]["cr"] == "http://mlcommons.org/croissant/"
    assert found["name"] == "clipeval pack of my pack" and found["license"] == ["CC BY 4.0"]
    assert "personal data" in found["description"] and "Us (2026)." in found["citeAs"]
    whole, *members = found["distribution"]
    assert whole["@id"] == "pack" and whole["contentUrl"] == "my pack.zip"
    assert whole["sha256"] == hashlib.sha256(pack.read_bytes()).hexdigest()
    with zipfile.ZipFile(pack) as archive:
        sums = {n: hashlib.sha256(archive.read(n)).hexdigest() for n in archive.namelist()}
    ids = {m["@id"] for m in members}  # mlcroissant takes none with a space
    assert len(ids) == len(members) and not any(" " in id for id in ids)
    assert {m["contentUrl"]: m["sha256"] for m in members} == sums
    assert {m["containedIn"]["@id"] for m in members} == {"pack"}
    (records,) = found["recordSet"]
    assert records["key"] == {"@id": "images/0/image_id"}
    assert [(f["@id"], f["name"], f["dataType"], f["source"]) for f in records["field"]] == [
        (f"images/0/{id}", name, kind,
         {"fileObject": {"@id": "images/0.parquet"}, "extract": {"column": name}})
        for id, name, kind in [
            ("image_id", "image_id", "sc:Text"),
            ("hair-colour", "hair colour", "sc:Text"),
            ("hair-colour-2", "hair  colour", "sc:Text"),
            ("frame", "frame", "sc:Integer"),
        ]
    ]  # fmt: skip


def test_mlcroissant_reads_it(pack, tmp_path):
    mlcroissant = pytest.importorskip("mlcroissant")
    shutil.copy(pack, tmp_path)
    dataset = mlcroissant.Dataset(jsonld=str(export(pack, "croissant", tmp_path)))
    rows = list(dataset.records("images/0"))
    assert [row["images/0/hair-colour-2"] for row in rows] == [b"u", b"v"]


def test_what_cannot_be_written_is_said(run, pack, tmp_path):
    for of, format, said in [
        (run, "word", 'format "word" is unknown; the formats are paper, model-card, croissant.'),
        (run, "croissant", "croissant describes a pack and .* is a folder; write one with"),
        (pack, "paper", "paper is made of a run folder and my pack.zip is a file; if it is a pack"),
    ]:
        with pytest.raises(ParameterError, match=said):
            export(of, format, tmp_path / "out")
    with pytest.raises(DataError, match="is not a run folder"):
        export(tmp_path, "model-card", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_says_what_to_open(run, tmp_path, capsys):
    from clipeval.cli import app

    arguments = ["export", str(run), "--format", "model-card", "--out", str(tmp_path)]
    app(arguments, standalone_mode=False)
    assert capsys.readouterr().out == f"Open {tmp_path / 'README.md'}\n"


def test_the_citation_file_is_complete():
    from pathlib import Path

    from clipeval.output.provenance import YEAR

    path = Path(__file__).resolve().parents[2] / "CITATION.cff"
    if not path.is_file():
        pytest.skip("an installed package has no CITATION.cff; run this in a checkout")
    found = yaml.safe_load(path.read_text("utf-8"))
    needed = {"cff-version", "title", "abstract", "message", "type", "authors", "version"}
    assert needed | {"date-released", "license", "keywords", "references"} <= set(found)
    assert found["date-released"].year == YEAR
    for reference, authors in zip(found["references"], (6, 12), strict=True):
        assert len(reference["authors"]) == authors and reference["year"] == 2021
        assert reference["url"].startswith("https://arxiv.org/abs/") and reference["doi"]
