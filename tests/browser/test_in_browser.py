"""The pages of a run in a real browser, opened from disk."""

import pandas as pd
import pytest
from hostile import SCRIPT, site

from clipeval.output import markup
from clipeval.output.markup import Grid
from clipeval.output.tables import show_table
from clipeval.runs import pages

PAGES = ["index.html", "fairface/report.html", "denigration/report.html", "card/report.html"]

# contrast of every text with what lies behind it, as WCAG 2 defines it
CONTRAST = """() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => {
    const part = (v) => ((v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  };
  const behind = (element) => {
    for (; element; element = element.parentElement) {
      const color = parse(getComputedStyle(element).backgroundColor);
      if (color.length === 3 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  document.querySelectorAll("details").forEach((part) => (part.open = true));
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const text = [...element.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!text || ["SCRIPT", "STYLE"].includes(element.tagName)) continue;
    const [a, b] = [light(parse(getComputedStyle(element).color)), light(behind(element))];
    found.push([(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), element.tagName]);
  }
  return found;
}"""


@pytest.mark.parametrize("name", PAGES)
def test_a_page_loads_from_disk_and_asks_for_nothing_else(visit, name):
    window = visit()
    page = window.open(site() / name)
    assert window.said == [] and window.failed == [] and window.dialogs == []
    assert all(url.startswith(("file://", "data:")) for url in window.requests)
    pictures = page.eval_on_selector_all("img", "all => all.map(i => i.complete && i.naturalWidth)")
    assert all(pictures)
    assert len(pictures) == {"index.html": 1, "denigration/report.html": 0}.get(name, len(pictures))


@pytest.mark.parametrize("name", PAGES)
def test_text_stands_out(visit, name):
    found = visit().open(site() / name).evaluate(CONTRAST)
    assert len(found) > 10
    assert min(found)[0] >= 4.5, min(found)


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("width", [320, 375])
def test_a_phone_needs_no_scrolling_sideways(visit, name, width):
    page = visit(width, 700).open(site() / name)
    page.evaluate("document.querySelectorAll('details').forEach((part) => (part.open = true))")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    wide = page.eval_on_selector_all(
        "div.scroll", "all => all.filter(b => b.scrollWidth > b.clientWidth).length"
    )
    # other frames scroll in their own boxes; of a study's tables nothing lies beside the screen
    assert wide or name != "fairface/report.html"
    beside = "all => all.filter(c => c.getBoundingClientRect().right > innerWidth).length"
    assert page.eval_on_selector_all("figure.table :is(th, td)", beside) == 0


@pytest.mark.parametrize("name", ["fairface/report.html", "card/report.html"])
def test_the_finding_and_its_figure_are_on_the_first_screen(visit, name):
    page = visit(1280, 900).open(site() / name)
    ends = [page.locator(part).bounding_box() for part in (".question", ".finding", ".first img")]
    assert all(end["y"] + end["height"] <= 900 for end in ends), ends


def test_the_index_shows_what_was_found_on_the_first_screen(visit):
    page = visit(1280, 900).open(site() / "index.html")
    assert page.locator(".findings").bounding_box()["y"] < 450
    assert page.locator("figure img").bounding_box()["y"] < 900


def test_a_phone_shows_figures_as_they_are_drawn_for_a_column(visit):
    page = visit(390, 844).open(site() / "fairface/report.html")
    used = page.eval_on_selector_all("figure img", "all => all.map(i => i.currentSrc)")
    assert used and all("/page/" in url or "/figures/" in url for url in used)
    wide = page.eval_on_selector_all("figure.wide img", "all => all.map(i => i.currentSrc)")
    assert wide and all("/page/" in url for url in wide)


@pytest.mark.parametrize("name", PAGES)
def test_a_desk_and_a_sheet_of_paper_hold_every_table(visit, name):
    page = visit(1280, 900).open(site() / name)
    page.evaluate("document.querySelectorAll('details').forEach((part) => (part.open = true))")
    cut = "all => all.filter(b => b.scrollWidth > b.clientWidth).map(b => b.textContent)"
    assert page.eval_on_selector_all("div.scroll", cut) == []
    page.set_viewport_size(
        {"width": 680, "height": 970}
    )  # of a4 within the margins, 96 pixels an inch
    page.emulate_media(media="print")
    if name != "fairface/report.html":  # names there that try to be markup are longer than words
        assert page.evaluate("document.documentElement.scrollWidth") <= 680


COLUMN = "all => all.map((row) => row.cells[{0}].textContent)"


def test_tables_sort_by_click(visit):
    page = visit().open(site() / "fairface/report.html")
    table = "#fairface-table-by_race"
    race, rate = (page.locator(f"{table} thead th:nth-child({i}) button") for i in (3, 5))
    assert (race.inner_text().split()[0], rate.inner_text().split()[0]) == ("race", "accuracy,")

    def column(i):
        return page.eval_on_selector_all(f"{table} tbody tr", COLUMN.format(i))

    before = column(2)
    race.click()
    assert column(2) == sorted(before, key=str.lower) != before
    assert page.get_attribute(f"{table} thead th:nth-child(3)", "aria-sort") == "ascending"
    race.click()
    assert column(2)[0] == max(before, key=str.lower)
    race.click()
    assert column(2) == before
    assert page.get_attribute(f"{table} thead th:nth-child(3)", "aria-sort") is None
    rate.click()
    rates = [float(text.split()[0]) for text in column(4)]
    assert rates == sorted(rates) and min(rates) < max(rates)
    assert page.get_attribute(f"{table} thead th:nth-child(3)", "aria-sort") is None


def test_bins_of_ages_sort_by_their_numbers(visit, tmp_path):
    ages = ("20-29", "more than 70", "3-9", "0-2", "")
    rows = "".join(f"<tr><td>{age}</td></tr>" for age in ages)
    table = f"<table><thead><tr><th>age</th></tr></thead><tbody>{rows}</tbody></table>"
    (tmp_path / "page.html").write_text(pages.page("page", "Ages", main=table))
    page = visit().open(tmp_path / "page.html")
    seen = []
    for _ in range(3):
        page.click("th button")
        seen.append(page.eval_on_selector_all("tbody tr", COLUMN.format(0)))
    assert seen == [
        ["0-2", "3-9", "20-29", "more than 70", ""],
        ["more than 70", "20-29", "3-9", "0-2", ""],
        ["20-29", "more than 70", "3-9", "0-2", ""],
    ]


def test_tables_sort_by_keyboard_and_put_what_is_missing_last(visit, tmp_path):
    rows = pd.DataFrame(
        {"race": list("abcdef"), "n": 100, "metric": "accuracy", "percent": 50.0}
        | {"ci_low": 40.0, "ci_high": 60.0, "published": [70.5, None, 61.0, 8.25, None, 9.5]}
    )
    shown = show_table(rows.assign(difference=rows["percent"] - rows["published"]), "t", "Rates.")
    (tmp_path / "page.html").write_text(pages.page("page", "Rates", main=shown.html))
    page = visit().open(tmp_path / "page.html")
    table = "table"
    wanted = f"{table} thead th:nth-child(4) button"
    assert "published" in page.inner_text(wanted)
    for _ in range(400):
        page.keyboard.press("Tab")
        if page.evaluate("s => document.activeElement === document.querySelector(s)", wanted):
            break
    else:
        raise AssertionError("Tab never came to the heading")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    for key, down in (("Enter", False), ("Space", True)):
        page.keyboard.press(key)
        texts = page.eval_on_selector_all(f"{table} tbody tr", COLUMN.format(3))
        numbers = [float(text) for text in texts if text != "–"]
        assert numbers == sorted(numbers, reverse=down) and len(numbers) > 3
        assert texts == [f"{number:.1f}" for number in numbers] + ["–"] * texts.count("–")
        assert texts.count("–")


def test_the_first_stop_of_the_keyboard_skips_to_the_content(visit):
    page = visit().open(site() / "index.html")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    page.wait_for_function("location.hash === '#main'")


def test_names_from_data_are_seen_as_text(visit):
    page = visit().open(site() / "fairface/report.html")
    assert page.get_by_text(SCRIPT, exact=True).count() > 5


def test_a_script_that_came_in_all_the_same_would_not_run(visit, tmp_path):
    text = (site() / "fairface/report.html").read_text("utf-8")
    hostile = "<script>window.taken = true</script><img src='x' onerror='window.taken = true'>"
    path = tmp_path / "page.html"
    path.write_text(
        text.replace("<main", f"{hostile}<img src='http://127.0.0.1:9/x.png'><main"), "utf-8"
    )
    window = visit()
    page = window.open(path)
    page.wait_for_timeout(200)
    assert page.evaluate("window.taken") is None
    assert dict(window.failed)["http://127.0.0.1:9/x.png"] == "csp", "it was not stopped but sent"


def test_a_page_prints_with_its_folded_tables(visit, tmp_path):
    rows = [[f"row {i}"] for i in range(41)]
    about = {"id": "long", "caption": "Long.", "table": Grid(["a"], rows).about()}
    parts = markup.environment(pages._PAGE).get_template("shown.html.j2").module
    (tmp_path / "page.html").write_text(pages.page("page", "x", main=parts.table(about, "x")))
    page = visit().open(tmp_path / "page.html")
    page.evaluate(
        "addEventListener('beforeprint', () => (window.printed ="
        " [...document.querySelectorAll('details.more')].map((part) => part.open)))"
    )
    file = page.pdf(path=tmp_path / "page.pdf")
    assert file.startswith(b"%PDF") and len(file) > 10_000
    assert page.evaluate("window.printed") == [True]
    assert not page.eval_on_selector("details.more", "part => part.open")


def test_more_than_a_few_rows_are_folded_on_a_phone_and_many_everywhere(visit, tmp_path):
    parts = markup.environment(pages._PAGE).get_template("shown.html.j2").module
    tables = [Grid(["a"], [[f"row {i}"] for i in range(n)]).about() for n in (8, 9, 40, 41)]
    abouts = [
        {"id": f"{'long_' * 20}{i}", "caption": "x", "table": t} for i, t in enumerate(tables)
    ]
    entry = {"bibtex": "x" * 200, "caption": "x"}
    main = "".join(parts.table(about, "x", entry=entry) for about in abouts)
    (tmp_path / "page.html").write_text(pages.page("page", "x", main=main))
    for width, seen in ((1280, [True, True, True, False]), (390, [True, False, False, False])):
        page = visit(width, 900).open(tmp_path / "page.html")
        shown = "all => all.map((table) => table.checkVisibility())"
        assert page.eval_on_selector_all("table", shown) == seen
        page.locator(
            ".more > summary:visible"
        ).first.click()  # whoever wants to see them opens them
        assert page.eval_on_selector_all("table", shown).count(True) == seen.count(True) + 1
        page.evaluate("document.querySelectorAll('.cite').forEach((part) => (part.open = true))")
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_links_between_the_pages_work(visit):
    page = visit().open(site() / "index.html")
    page.click("#fairface a")
    assert page.url.endswith("fairface/report.html")
    page.click("nav a")
    assert page.url.endswith("index.html")
    page.click(".findings a")
    assert page.url.endswith("fairface/report.html")
