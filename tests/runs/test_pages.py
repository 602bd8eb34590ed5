"""Pages of a run folder: whole, readable by machines and by people with them, and never taken in by text."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pandas as pd
import pytest
from bs4 import BeautifulSoup
from hostile import FILE, IMAGE, SCRIPT, site

from clipeval.output.provenance import TEST_CARDS
from clipeval.runs import pages
from clipeval.runs.notebook_page import blocks

PAGES = ["index.html", "fairface/report.html", "denigration/report.html", "card/report.html"]
FILES = {"figures": ("pdf", "svg", "png"), "tables": ("csv", "tex")}


@pytest.fixture(params=PAGES)
def soup(request):
    return _soup(request.param)


def _soup(name: str) -> BeautifulSoup:
    return BeautifulSoup((site() / name).read_text("utf-8"), "html.parser")


def _cells(*cells) -> dict:
    return {"cells": [{"cell_type": "code", "source": "x", "metadata": {}, "outputs": list(cells)}]}


def _shown(**data) -> str:
    data = {name.replace("_", "/"): text for name, text in data.items()}
    found = blocks(
        _cells({"output_type": "display_data", "data": data, "metadata": {}}), study="fairface"
    )
    return "".join(block.html for block in found if block.kind != "code")


def test_every_page_is_whole(soup):
    assert soup.html["lang"] == "en" and soup.find("meta", charset="utf-8")
    assert len(soup.find_all("h1")) == 1 and len(soup.find_all("main")) == 1 and soup.find("nav")
    levels = [int(h.name[1]) for h in soup.find_all(re.compile("^h[1-6]$"))]
    assert levels[0] == 1 and all(b - a <= 1 for a, b in zip(levels, levels[1:], strict=False))
    ids = [tag["id"] for tag in soup.find_all(id=True)]
    assert len(ids) == len(set(ids))
    for image in soup.find_all("img"):
        assert len(image["alt"]) > 10
    for box in soup.select("div.scroll"):
        assert box["tabindex"] == "0" and (
            box.get("aria-label") or soup.find(id=box["aria-labelledby"])
        )
    for table in soup.select("table.clipeval"):
        assert soup.find(id=table["aria-labelledby"]).get_text(strip=True)
        assert all(th.get("scope") for th in table.find_all("th"))


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_somewhere(name):
    assert _follow_links(site() / name) >= 3


def _follow_links(path: Path) -> int:
    """Number of links of a page; each leads to a file, and to a place in it where it names one."""
    soup, folder = BeautifulSoup(path.read_text("utf-8"), "html.parser"), path.parent
    found = [tag[key] for key in ("href", "src") for tag in soup.find_all(attrs={key: True})]
    for link in found:
        parts = urlsplit(link)
        if parts.scheme == "data":
            continue
        assert not parts.scheme and not parts.netloc, link
        target = folder / unquote(parts.path) if parts.path else path
        assert target.is_file(), link
        if parts.fragment:
            page = BeautifulSoup(target.read_text("utf-8"), "html.parser")
            assert page.find(id=parts.fragment), link
    return len(found)


def test_links_to_a_table_too_long_for_the_index_lead_to_its_place(tmp_path):
    folder = tmp_path / "fairface"
    (folder / "tables").mkdir(parents=True)
    rows = "".join(f'<tr><th scope="row">{i}</th></tr>' for i in range(61))
    table = '<table class="clipeval" data-sortable id="table-long"><thead><tr><th scope="col">a</th></tr>'
    output = {"output_type": "display_data", "metadata": {}}
    output["data"] = {"text/html": f"{table}</thead><tbody>{rows}</tbody></table>"}
    (folder / "notebook.ipynb").write_text(json.dumps(_cells(output)))
    entry = {"id": "long", "text": "A long table.", "rows": 1234, "bibtex": ""}
    record = {"tables": [entry], "figures": []}
    (folder / "study.json").write_text(json.dumps(record))
    (tmp_path / "run.json").write_text(json.dumps({"studies": {"fairface": record}}))
    for end in FILES["tables"]:
        (folder / "tables" / f"long.{end}").touch()
    pages.write_study(folder)
    index = pages.write_index(tmp_path)
    assert "A long table. (1,234 rows)" in index.read_text() and "<table" not in index.read_text()
    assert "#fairface-table-long" in index.read_text() and _follow_links(index) > 5


def test_names_from_data_stay_text(soup):
    """The page's own script is the only one; no attribute acts; nothing is fetched from elsewhere."""
    assert [script.string for script in soup.find_all("script")] == [pages._script()]
    for tag in soup.find_all(True):
        assert not [name for name in tag.attrs if name.startswith("on")], tag
    assert all(urlsplit(image["src"]).scheme == "" for image in soup.find_all("img"))
    assert not soup.find(["iframe", "object", "embed", "form", "base"])


def test_names_from_data_are_shown():
    page = _soup("fairface/report.html")
    cells = [cell.get_text() for cell in page.find_all(["td", "th"])]
    assert SCRIPT in cells and IMAGE in cells and FILE in cells
    assert "<i>x" in page.get_text()  # the data set's name
    index = _soup("index.html").get_text()
    assert SCRIPT in index and f"ValueError: {SCRIPT}" in index
    svg = (site() / "fairface/figures/gender_by_race.svg").read_text("utf-8")
    assert "<script" not in svg and "&lt;script" in svg


def test_markup_of_a_class_stays_text_in_the_notebook_itself():
    notebook = json.loads((site() / "fairface/notebook.ipynb").read_text("utf-8"))
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    shown = [
        "".join(text)
        for output in outputs
        for kind, text in output.get("data", {}).items()
        if kind in ("text/html", "text/markdown")
    ]
    assert any("&lt;script&gt;" in text for text in shown)
    for text in shown:
        plain = text.replace("\\<", "")  # escaped in Markdown
        assert "<script" not in plain and '<img src="http' not in plain and "<i>x" not in plain


@pytest.mark.parametrize(
    "data",
    [
        {"text_html": f"<table><tr><td>{SCRIPT}</td></tr></table>"},  # as a Styler leaves it
        {"text_html": f"<style>{SCRIPT}</style><p onclick='alert(1)'>{IMAGE}</p>"},
        {"text_html": f'<table class="clipeval" data-sortable id="table-x{SCRIPT}">'},
        {
            "text_markdown": f"# a {SCRIPT}\n\n{IMAGE} [x](javascript:alert(1)) ![y](http://example.org/y.png)"
        },
        {"text_plain": SCRIPT},
        {"application_javascript": "alert(1)", "text_plain": SCRIPT},
        {"image_svg+xml": f"<svg>{SCRIPT}</svg>", "text_plain": IMAGE},
    ],
)
def test_outputs_of_any_kind_cannot_act(data):
    html = _shown(**data)
    soup = BeautifulSoup(html, "html.parser")
    assert not soup.find(["script", "style", "svg"])
    assert not [k for tag in soup.find_all(True) for k in tag.attrs if k.startswith("on")]
    assert "javascript:" not in str([tag.get("href") for tag in soup.find_all("a")])


def test_a_frame_reads_like_the_tables():
    frame = pd.DataFrame({"label": ["a", "<b>"], "prob": [0.25, -1e-05], "n": [1, 22]})
    soup = BeautifulSoup(_shown(text_html=frame._repr_html_()), "html.parser")
    rows = [[cell.get_text() for cell in row.find_all("td")] for row in soup.tbody.find_all("tr")]
    assert rows == [["a", "0.25000", "1"], ["<b>", "-0.00001", "22"]]
    numbers = [
        [bool(cell.get("class")) for cell in row.find_all("td")]
        for row in soup.tbody.find_all("tr")
    ]
    assert numbers == [[False, True, True]] * 2
    assert soup.find("div", class_="scroll").table


def test_a_failed_study_keeps_its_error_in_place():
    page = _soup("denigration/report.html")
    said = [p.get_text() for p in page.select("p.failed")]
    assert said == [
        f"This study failed: ValueError: {SCRIPT}",
        f"Stopped here: ValueError: {SCRIPT}",
    ]
    place = page.select("p.failed")[1]
    assert "raise ValueError" in place.find_previous("details", class_="code").get_text()
    assert "Traceback" in place.find_next("details").get_text()
    index = _soup("index.html").find(id="denigration")
    assert f"Failed: ValueError: {SCRIPT}" in index.get_text()
    assert "(failed)" in _soup("index.html").nav.get_text()


def test_what_a_failed_study_would_have_concluded_is_left_out():
    page = _soup("denigration/report.html")
    assert page.main.find_all(True, recursive=False)[-1].get_text() == (
        "The rest of the notebook was not run, and is left out here."
    )
    assert "What may" in _soup("index.html").find(id="fairface").get_text()
    for part in (page, _soup("index.html").find(id="denigration")):
        assert "Accuracy of gender by race" in part.get_text() and "What may" not in part.get_text()


def test_a_study_whose_process_died_shows_what_had_run():
    cells = [
        {"cell_type": "code", "source": "a = 1", "metadata": {}, "outputs": [], "execution_count": 1},
        {"cell_type": "markdown", "source": "## Then", "metadata": {}},
        {"cell_type": "code", "source": "b = 1", "metadata": {}, "outputs": [], "execution_count": None},
        {"cell_type": "markdown", "source": "## What may be concluded", "metadata": {}},
    ]  # fmt: skip
    for failed, kinds in ((True, ["code", "text"]), (False, ["code", "text", "code", "text"])):
        found = blocks({"cells": cells}, study="fairface", failed=failed)
        assert [block.kind for block in found] == kinds


def test_changes_since_the_run_before_are_told_on_top(tmp_path):
    effects = {"rows": 3, "moved": 1, "added": 0, "removed": 0}
    effects["largest"] = {"row": {"race": "Black"}, "by": -1.5}
    found = {"causes": [], "tables": {"t": effects}, "new_tables": [], "lost_tables": []}
    found |= {"labels": None, "unsure": False}
    (tmp_path / "changes.json").write_text(json.dumps({"congress": found}))
    soup = BeautifulSoup(pages.write_index(tmp_path).read_text("utf-8"), "html.parser")
    assert soup.nav.find("a", href="#changes").get_text() == "Since the run before"
    told = soup.find("a", href="#changes", string="What changed").parent
    assert told.get_text() == "Since the run before results changed in congress. What changed"
    assert told.find_previous("h1") and not told.find_previous("h2")
    assert "1 of 3 rows moved, the largest by −1.50 points" in soup.find(id="changes").get_text()
    (tmp_path / "changes.json").unlink()
    assert "changes" not in pages.write_index(tmp_path).read_text("utf-8").split("</style>")[1]


def test_the_index_holds_the_card_first_then_each_study():
    index = _soup("index.html")
    assert [s["id"] for s in index.select("section.study")] == ["card", "fairface", "denigration"]
    card = index.find(id="card")
    assert card.select_one("#card-table-card table") and card.select_one("#card-figure-card img")
    study = index.find(id="fairface")
    titles = [h.get_text() for h in study.find_all("h3")]
    assert titles == ["What may be concluded", "What may not be concluded"]
    assert "agrees with FairFace's annotators" in study.get_text()
    assert study.find("summary", string="Provenance")


@pytest.mark.parametrize("page, base", [("index.html", "fairface/"), ("fairface/report.html", "")])
def test_every_table_and_figure_says_how_to_cite_it(page, base):
    record = json.loads((site() / "fairface/study.json").read_text("utf-8"))
    soup = _soup(page)
    assert len(record["tables"]) >= 3 and len(record["figures"]) >= 2
    for kind, ends in FILES.items():
        for entry in record[kind]:
            name = f"fairface-{kind[:-1]}-{entry['id']}"
            box = soup.find(id=f"{name}-cite")
            assert entry["bibtex"] == box.pre.get_text()
            assert "@misc{clipeval-fairface-" in box.pre.get_text()
            text = box.get_text()
            assert f"fairface/{entry['id']}" in text and "model='testcard'" in text
            assert not record["code"]["commit"] or record["code"]["commit"] in text
            links = {a["href"] for a in box.find_all("a")}
            assert {f"{base}{kind}/{entry['id']}.{end}" for end in ends} <= links


def test_figures_are_files_of_the_run_and_no_face_is_shown(soup):
    assert all(re.search(r"figures/\w+\.svg$", image["src"]) for image in soup.find_all("img"))


def test_numbers_of_a_page_are_those_of_the_tables():
    table = pd.read_csv(site() / "fairface/tables/gender_by_race.csv")
    rows = _soup("fairface/report.html").select("#fairface-table-gender_by_race tbody tr")
    assert len(rows) == len(table)
    for row, (_, want) in zip(rows, table.iterrows(), strict=True):
        cells = [cell.get_text() for cell in row.find_all(["th", "td"])]
        assert cells[1] == want["race"] and cells[2] == want["gender"]
        assert cells[4] == f"{want['n']:,}" and cells[5].startswith(f"{want['percent']:.1f} [")


def test_a_replay_is_said_in_every_title(tmp_path):
    folder = tmp_path / "fairface"
    folder.mkdir()
    (folder / "notebook.ipynb").write_text(json.dumps(_cells()))
    (folder / "study.json").write_text(json.dumps({"test_cards": True}))
    run = {"studies": {"fairface": {"test_cards": True}}}
    (tmp_path / "run.json").write_text(json.dumps(run))
    for path in (pages.write_study(folder), pages.write_index(tmp_path)):
        soup = BeautifulSoup(path.read_text("utf-8"), "html.parser")
        assert "replay on test cards" in soup.title.get_text()
        assert soup.select_one("p.replay").get_text() == f"{TEST_CARDS}."
    (tmp_path / "run.json").write_text("{}")
    (folder / "study.json").write_text("{}")
    assert "replay" not in pages.write_study(folder).read_text().split("</head>")[1]
    assert "replay" not in pages.write_index(tmp_path).read_text().split("</style>")[1]


def test_headings_in_fenced_code_are_no_sections():
    cell = {"cell_type": "markdown", "metadata": {}, "source": "## One\n\n```\n# no\n```\n"}
    other = {"cell_type": "markdown", "metadata": {}, "source": "## Two\ntext\n\n### Three\n#no"}
    found = list(blocks({"cells": [cell, other]}, study="fairface"))
    assert [block.section for block in found] == ["One", "Two", "Three"]


def test_colours_of_the_page_stand_out_by_the_formula_of_wcag():
    colours = dict(re.findall(r"--(\w+): (#[0-9a-f]+);", pages._asset("style.css")))

    def light(name):
        digits = (
            colours[name][1:]
            if len(colours[name]) == 7
            else "".join(c * 2 for c in colours[name][1:])
        )
        parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        parts = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    for text in ("ink", "soft", "accent", "bad"):
        for behind in ("paper", "shade"):
            assert (light(behind) + 0.05) / (light(text) + 0.05) >= 4.5, (text, behind)


def test_what_a_box_says_to_cite_passes_bibtex(tmp_path):
    if not (shutil.which("pdflatex") and shutil.which("bibtex")):
        pytest.skip("pdflatex and bibtex are not installed")
    boxes = _soup("fairface/report.html").select("details.cite pre")
    entry = boxes[0].get_text()
    figure, paper = re.findall(r"@\w+\{([^,]+),", entry)
    (tmp_path / "cited.bib").write_text(entry)
    (tmp_path / "paper.tex").write_text(
        f"\\documentclass{{article}}\\begin{{document}}\\cite{{{figure}}}, \\cite{{{paper}}}"
        "\\bibliographystyle{plain}\\bibliography{cited}\\end{document}"
    )
    for command in ("pdflatex -halt-on-error", "bibtex", "pdflatex -halt-on-error", "pdflatex"):
        done = subprocess.run([*command.split(), "paper"], cwd=tmp_path, capture_output=True)
        assert done.returncode == 0, done.stdout.decode(errors="replace")[-2000:]
    log = (tmp_path / "paper.log").read_text(errors="replace")
    assert "undefined" not in log.split("(./paper.aux)")[-1]
    record = json.loads((site() / "fairface/study.json").read_text("utf-8"))
    assert "Study fairface, id" in entry and "; parameters " in entry
    assert not record["code"]["commit"] or record["code"]["commit"] in entry


def test_a_page_is_light():
    for name in PAGES:
        assert Path(site() / name).stat().st_size < 400_000
