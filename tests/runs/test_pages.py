"""Pages of a run folder: whole, readable by machines and by people with them, and never taken in by text."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from hostile import FILE, IMAGE, SCRIPT, site
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from records import study_json, write_records

from clipeval.output.provenance import TEST_CARDS
from clipeval.output.tables import show_frame
from clipeval.paths import DOCS
from clipeval.runs import pages
from clipeval.runs.notebook_page import body
from clipeval.studies import STUDIES

PAGES = ["index.html", "fairface/report.html", "denigration/report.html", "card/report.html"]
FILES = {"figures": ("pdf", "svg", "png"), "tables": ("csv", "tex")}


@pytest.fixture(params=PAGES)
def soup(request):
    return _soup(request.param)


def _soup(name: str) -> BeautifulSoup:
    return BeautifulSoup((site() / name).read_text("utf-8"), "html.parser")


def _notebook(*cells):
    return new_notebook(cells=list(cells))


def _cell(source: str = "x", *outputs, count: int | None = 1):
    return new_code_cell(source, outputs=list(outputs), execution_count=count)


def _body(*cells, failed: bool = False) -> BeautifulSoup:
    """What the page of a notebook with these cells shows."""
    html = body(_notebook(*cells), failed=failed, study="fairface", entries={}, first="")
    return BeautifulSoup(html, "html.parser")


def _shown(metadata=None, **data) -> BeautifulSoup:
    data = {name.replace("_", "/"): text for name, text in data.items()}
    soup = _body(_cell("x", new_output("display_data", data=data, metadata=metadata or {})))
    soup.find("details", class_="code").decompose()
    return soup


def test_every_page_is_whole(soup):
    assert soup.html["lang"] == "en" and soup.find("meta", charset="utf-8")
    assert len(soup.find_all("h1")) == 1 and len(soup.find_all("main")) == 1 and soup.find("nav")
    levels = [int(h.name[1]) for h in soup.find_all(re.compile("^h[1-6]$"))]
    assert levels[0] == 1 and all(b - a <= 1 for a, b in zip(levels, levels[1:], strict=False))
    ids = [tag["id"] for tag in soup.find_all(id=True)]
    assert len(ids) == len(set(ids))
    landmarks = [tag["aria-label"] for tag in soup.select("nav, [role=region]")]
    assert len(landmarks) == len(set(landmarks)), "who jumps between them hears the same name twice"
    for image in soup.find_all("img"):
        assert len(image["alt"]) > 10
    for box in soup.select("div.scroll"):
        assert box["tabindex"] == "0" and (
            box.get("aria-label") or soup.find(id=box["aria-labelledby"])
        )
    for table in soup.select("table.clipeval"):
        # by its caption; a frame without one by the box that it scrolls in
        name = table.get("aria-labelledby")
        assert soup.find(id=name).get_text(strip=True) if name else table.parent["aria-label"]
        assert all(th.get("scope") for th in table.find_all("th"))


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_somewhere(name):
    assert _follow_links(site() / name) >= 3


def _follow_links(path: Path) -> int:
    """Number of links of a page; each leads to a file, and to a place in it where it names one."""
    soup, folder = BeautifulSoup(path.read_text("utf-8"), "html.parser"), path.parent
    keys = ("href", "src", "srcset")
    found = [tag[key] for key in keys for tag in soup.find_all(attrs={key: True})]
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


def test_names_from_data_stay_text(soup):
    """The page's own script is the only one; no attribute acts; nothing is fetched from elsewhere."""
    assert [script.string for script in soup.find_all("script")] == [pages._asset("page.js")]
    for tag in soup.find_all(True):
        assert not [name for name in tag.attrs if name.startswith("on")], tag
    assert all(urlsplit(image["src"]).scheme == "" for image in soup.find_all("img"))
    assert not soup.find(["iframe", "object", "embed", "form", "base"])


def test_names_from_data_are_shown():
    page = _soup("fairface/report.html")
    cells = [cell.get_text() for cell in page.find_all(["td", "th"])]
    assert SCRIPT in cells and IMAGE in cells and FILE in cells
    assert "<i>x" in page.get_text()  # the data set's name
    assert f"ValueError: {SCRIPT}" in _soup("index.html").get_text()
    svg = (site() / "fairface/figures/by_race.svg").read_text("utf-8")
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
    soup = _shown(**data)
    assert not soup.find(["script", "style", "svg"])
    assert not [k for tag in soup.find_all(True) for k in tag.attrs if k.startswith("on")]
    assert "javascript:" not in str([tag.get("href") for tag in soup.find_all("a")])


def test_a_frame_reads_like_the_tables():
    frame = pd.DataFrame({"label": ["a", "<b>"], "prob": [0.25, -1e-05], "n": [1, 2200]})
    data, metadata = show_frame(frame, decimals=5)._repr_mimebundle_()
    for soup in (
        _shown(metadata, text_html=data["text/html"]),
        BeautifulSoup(data["text/html"], "html.parser"),
    ):
        rows = [[cell.get_text() for cell in row.find_all("td")] for row in soup.tbody("tr")]
        assert rows == [["a", "0.25000", "1"], ["<b>", "−0.00001", "2,200"]]
        values = [[cell.get("data-value") for cell in row("td")] for row in soup.tbody("tr")]
        assert values == [[None, "0.25", "1"], [None, "-1e-05", "2200"]]
        assert [head["data-type"] for head in soup.thead("th")] == ["text", "number", "number"]
    assert _shown(metadata, text_html="").find("div", class_="scroll").table


def test_a_frame_of_pandas_is_shown_as_it_is():
    frame = pd.DataFrame({"label": ["a", "<b>"], "n": [1, 22]})
    soup = _shown(text_html=frame._repr_html_())
    rows = [[cell.get_text() for cell in row("td")] for row in soup.tbody("tr")]
    assert rows == [["a", "1"], ["<b>", "22"]]
    assert soup.find("div", class_="scroll").table and "vertical-align" not in soup.get_text()


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
    index = _soup("index.html")
    assert f"Failed: ValueError: {SCRIPT}" in index.find(id="denigration").get_text()
    assert "(failed)" in index.nav.get_text()


def test_what_a_failed_study_would_have_concluded_is_left_out():
    page = _soup("denigration/report.html")
    *_, last, files = page.main.find_all(True, recursive=False)
    assert last.get_text() == "The rest of the notebook was not run, and is left out here."
    assert files.get_text(" ", strip=True).startswith("Files: Jupyter notebook")
    assert "What may" in _soup("fairface/report.html").get_text()
    assert "Accuracy of gender by race" in page.get_text() and "What may" not in page.get_text()


def test_a_study_whose_process_died_shows_what_had_run():
    cells = [
        _cell("a = 1"),
        new_markdown_cell("## Then"),
        _cell("b = 1", count=None),
        new_markdown_cell("## What may be concluded"),
    ]
    for failed, shown in ((True, ["details", "h2"]), (False, ["details", "h2"] * 2)):
        assert [tag.name for tag in _body(*cells, failed=failed)(True, recursive=False)] == shown


def test_changes_since_the_run_before_are_told_on_top(tmp_path):
    effects = {"rows": 3, "moved": 1, "added": 0, "removed": 0}
    effects["largest"] = {"row": {"race": "Black"}, "by": -1.5}
    found = {"causes": [], "tables": {"t": effects}, "new_tables": [], "lost_tables": []}
    found |= {"labels": None, "unsure": False}
    (tmp_path / "changes.json").write_text(json.dumps({"congress": found}))
    soup = BeautifulSoup(pages.write_index(tmp_path).read_text("utf-8"), "html.parser")
    told = soup.find("a", href="#changes", string="What changed").parent
    assert (
        told.get_text()
        == "Compared with the previous run results changed in congress. What changed"
    )
    assert told.find_previous("h1") and not told.find_previous("h2")
    assert "1 of 3 rows moved, the largest by −1.50 points" in soup.find(id="changes").get_text()
    (tmp_path / "changes.json").unlink()
    assert "changes" not in pages.write_index(tmp_path).read_text("utf-8").split("</style>")[1]


def test_the_index_says_what_was_run_and_points_to_each_study():
    index = _soup("index.html")
    record = json.loads((site() / "fairface/study.json").read_text("utf-8"))
    summary = dict(
        zip(*([tag.get_text() for tag in index.dl(name)] for name in ("dt", "dd")), strict=True)
    )
    assert "testcard" in summary["Model"]
    assert record["model"]["weights_sha256"][:12] in summary["Model"]
    assert "<i>x" in summary["Data"] and "24 photographs" in summary["Data"]
    studies = index.select(".studies li")
    assert [s["id"] for s in studies] == ["card", "fairface", "denigration"]
    assert [s.a["href"] for s in studies] == [f"{s['id']}/report.html" for s in studies]
    assert studies[1].p.get_text() == STUDIES["fairface"].question
    assert not index.find("table"), "studies are not repeated"


def test_the_index_opens_with_what_was_found_and_what_was_not_measured():
    index = _soup("index.html")
    said = [li.get_text(" ", strip=True) for li in index.select(".findings li")]
    of = pd.read_csv(site() / "fairface/tables/accuracy.csv").set_index("attribute")
    rate = "{percent:.1f} % [{ci_low:.1f}, {ci_high:.1f}]".format(**of.loc["gender"])
    assert len(said) == 2 and f"gender for {rate} and race for" in said[0]
    # a study that failed was not measured
    assert said[1].startswith("Not measured in this run: Denigration harms, Class design, ")
    order = [index.dl, index.select_one(".findings"), index.find("figure"), index.nav]
    assert [index.main(True).index(part) for part in order] == sorted(
        index.main(True).index(part) for part in order
    )
    assert index.find("figure").img["src"].startswith("card/figures/card")


def test_a_study_opens_with_question_finding_and_figure():
    page = _soup("fairface/report.html")
    record = json.loads((site() / "fairface/study.json").read_text("utf-8"))
    first = [tag for tag in page.main(True, recursive=False)][:6]
    assert [tag.name for tag in first] == ["h1", "p", "p", "p", "div", "h2"]
    assert [tag.get_text() for tag in first[1:3]] == [
        STUDIES["fairface"].question,
        " ".join(record["finding"]),
    ]
    assert record["model"]["weights_sha256"][:12] in first[3].get_text()
    assert first[4].img["src"] == "figures/by_race.svg"
    assert page.find_all("img", src=first[4].img["src"]) == [first[4].img], "it is shown once"


def test_provenance_is_said_once_a_page():
    record = json.loads((site() / "fairface/study.json").read_text("utf-8"))
    page = _soup("fairface/report.html")
    for caption in page.find_all("figcaption"):
        assert "clipeval" not in caption.get_text() and "testcard" not in caption.get_text()
    assert page.main.get_text().count(record["model"]["weights_sha256"]) == 1
    said = {caption.get_text() for caption in page.find_all("figcaption")}
    for entry in record["figures"]:
        assert entry["legend"] in said and entry["caption"] not in said
        assert entry["legend"].startswith(entry["text"]) and "clipeval" in entry["caption"]


def test_a_page_is_written_of_a_notebook_without_any_record(tmp_path):
    """As of a study that defines no finding and no figure, or that failed before its end."""
    (tmp_path / "fairface").mkdir()
    nbformat.write(_notebook(_cell()), tmp_path / "fairface" / "notebook.ipynb")
    soup = BeautifulSoup(pages.write_study(tmp_path / "fairface").read_text("utf-8"), "html.parser")
    assert [tag.name for tag in soup.main(True, recursive=False)] == ["h1", "p", "details", "p"]
    index = BeautifulSoup(pages.write_index(tmp_path).read_text("utf-8"), "html.parser")
    assert [a["href"] for a in index.select(".studies a")] == ["fairface/report.html"]


def test_every_table_and_figure_says_how_to_cite_it():
    record = json.loads((site() / "fairface/study.json").read_text("utf-8"))
    soup = _soup("fairface/report.html")
    assert len(record["tables"]) >= 3 and len(record["figures"]) >= 2
    for kind, ends in FILES.items():
        for entry in record[kind]:
            name = f"fairface-{kind[:-1]}-{entry['id']}"
            box = soup.find(id=f"{name}-cite")
            assert entry["bibtex"] == box.pre.get_text()
            assert "@misc{clipeval-fairface-" in box.pre.get_text()
            text = box.get_text()
            assert f"fairface/{entry['id']}" in text and entry["caption"] in text
            assert not record["code"]["commit"] or record["code"]["commit"] in text
            # in sight, beside the table or figure
            links = {a["href"] for a in soup.select(f"#{name} > .links > a")}
            assert links == {f"{kind}/{entry['id']}.{end}" for end in ends}


def test_figures_are_files_of_the_run_and_no_face_is_shown(soup):
    assert all(re.search(r"figures/\w+\.svg$", image["src"]) for image in soup.find_all("img"))


def test_numbers_of_a_page_are_those_of_the_tables():
    table = pd.read_csv(site() / "fairface/tables/by_race.csv")
    rows = _soup("fairface/report.html").select("#fairface-table-by_race tbody tr")
    assert len(rows) == len(table)
    for row, (_, want) in zip(rows, table.iterrows(), strict=True):
        cells = [cell.get_text() for cell in row.find_all(["th", "td"])]
        assert cells[1] == want["attribute"] and cells[2] == want["race"]
        assert cells[3] == f"{want['n']:,}" and cells[4].startswith(f"{want['percent']:.1f} [")


def test_a_replay_is_said_in_every_title(tmp_path):
    folder = tmp_path / "fairface"
    folder.mkdir()
    nbformat.write(_notebook(_cell()), folder / "notebook.ipynb")
    write_records(tmp_path, fairface=study_json(test_cards=True))
    for path in (pages.write_study(folder), pages.write_index(tmp_path)):
        soup = BeautifulSoup(path.read_text("utf-8"), "html.parser")
        assert "replay on test cards" in soup.title.get_text()
        assert soup.select_one("p.replay").get_text().startswith(f"{TEST_CARDS}.")
    write_records(tmp_path, fairface=study_json())
    for path in (pages.write_study(folder), pages.write_index(tmp_path)):
        soup = BeautifulSoup(path.read_text("utf-8"), "html.parser")
        assert "replay" not in soup.title.get_text() + soup.main.get_text()


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


def test_every_page_explains_its_words(soup):
    """In the footer, as a run folder has no other documentation beside it; the text is that of the docs."""
    terms = [dt.get_text() for dt in soup.footer.find_all("dt")]
    assert {"test card", "planted", "deck", "replay", "class set", "template"} <= set(terms)
    lines = (DOCS / "glossary.md").read_text("utf-8").splitlines()
    assert len(terms) == sum(line.startswith("- ") for line in lines) == len(soup.footer("dd"))
