import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from clipeval.errors import DataError
from clipeval.output import latex
from clipeval.output.latex import booktabs, escape, text_width, wrap
from clipeval.output.tables import (
    TABLE_COLUMNS,
    check_table,
    grid,
    group_columns,
    show_table,
    write_table,
)

COMMITTED = Path(__file__).resolve().parents[2] / "reports" / "demo"
NASTY = (
    r"""a_b 100 % & # {x} ~ ^ \ $5$ <script>alert("1")</script> | [y] *z -- '' ` é Å ł ğ 中 😀"""
)


def study_table(groups=("White", "Non-White"), metric="accuracy"):
    rows = [
        (group, 2085 + i, metric, 58.3 + i % 9, 56.2 + i % 9, 60.4 + i % 9, 58.3, float(i % 9))
        for i, group in enumerate(groups)
    ]
    return pd.DataFrame(rows, columns=["images_of", *TABLE_COLUMNS])


def test_a_good_table_passes():
    table = study_table()
    assert check_table(table) is table
    assert group_columns(table) == ["images_of"]


def test_what_is_in_nats_has_three_decimals_and_no_upper_limit(tmp_path):
    table = study_table(metric="MaxSkew@10")
    table = table.assign(percent=[0.2334, 120.0], ci_low=[0.2, 110.0], ci_high=[0.25, 130.0])
    table = table.assign(published=[0.233, np.nan], difference=[0.0004, np.nan])
    shown = show_table(table, "skew", "Skew.").html
    assert "0.233 [0.200, 0.250]" in shown and "+0.000" not in shown and "0.000" in shown
    assert "MaxSkew@10" in shown and "MaxSkew@10, %" not in shown
    tex = write_table(table, tmp_path, "skew", "Skew.")["tex"].read_text("utf-8")
    assert "0.233" in tex and "120.000" in tex
    with pytest.raises(DataError, match="not a percentage"):
        check_table(table.assign(percent=[-0.1, 120.0], ci_low=[-0.1, 110.0], difference=np.nan))


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("percent", 101.0, "not a percentage"),
        ("ci_low", -1.0, "not a percentage"),
        ("percent", 61.0, "outside its interval"),
        ("ci_high", 58.0, "outside its interval"),
        ("ci_low", np.nan, "one end of an interval"),
        ("percent", np.nan, "interval but no percent"),
        ("difference", 3.0, "published"),
        ("published", 700.0, "not a percentage"),
        ("n", -1, "count of images"),
        ("n", 1.5, "count of images"),
        ("images_of", "Non-White", "second row"),
        ("percent", "many", "not a number"),
    ],
)
def test_a_broken_table_is_refused_with_the_row(column, value, message):
    table = study_table().astype(object)
    table.loc[0, column] = value
    if column in ("percent", "published") and not isinstance(value, str):
        table.loc[0, "difference"] = table.loc[0, "percent"] - table.loc[0, "published"]
    with pytest.raises(DataError, match=message) as error:
        check_table(table)
    assert isinstance(value, str) or "images_of" in str(error.value)


def test_a_missing_column_is_named():
    with pytest.raises(DataError, match="published"):
        check_table(study_table().drop(columns="published"))


def test_changes_may_be_negative_and_empty_groups_have_no_percent():
    table = study_table()
    table.loc[0, ["percent", "ci_low", "ci_high", "difference"]] = [-27.2, -29.0, -25.0, np.nan]
    table["published"] = np.nan
    table["difference"] = np.nan
    with pytest.raises(DataError):
        check_table(table)
    check_table(table.assign(metric="change in harm"))
    empty = study_table()
    empty.loc[0, ["n", "percent", "ci_low", "ci_high", "difference"]] = [0, *[np.nan] * 4]
    check_table(empty)


def test_csv_is_tidy_rounded_and_the_same_twice(tmp_path):
    table = study_table(["Latino_Hispanic", "Women, young", "<script>"])
    table["percent"] += 1 / 3
    table["difference"] = table["percent"] - table["published"]
    table["n"] = table["n"].astype(float)
    table["p_value"] = [1.23456789e-12, 0.5, np.nan]
    first = write_table(table, tmp_path / "a", "t", "Caption.")
    second = write_table(table.copy(), tmp_path / "b", "t", "Caption.")
    for suffix in ("csv", "tex"):
        assert first[suffix].read_bytes() == second[suffix].read_bytes()
        assert b"\r" not in first[suffix].read_bytes()
    back = pd.read_csv(first["csv"])
    assert list(back.columns) == ["images_of", *TABLE_COLUMNS, "p_value"]
    assert back["percent"].tolist() == [58.63333333, 59.63333333, 60.63333333]
    assert back["n"].dtype == np.int64 and back["p_value"][0] == 1.23457e-12
    assert back["images_of"].tolist() == table["images_of"].tolist()
    assert "-0.0" not in first["csv"].read_text()


def test_tiny_noise_from_another_machine_changes_no_byte(tmp_path):
    table = study_table()
    noisy = table.assign(percent=table["percent"] + 1e-11, difference=table["difference"] - 1e-13)
    a = write_table(table, tmp_path / "a", "t", "C.")
    b = write_table(noisy, tmp_path / "b", "t", "C.")
    assert a["csv"].read_bytes() == b["csv"].read_bytes()
    assert a["tex"].read_bytes() == b["tex"].read_bytes()


def test_latex_shows_interval_published_and_signed_difference(tmp_path):
    table = study_table()
    table.loc[1, ["published", "difference"]] = [70.0, 59.3 - 70.0]
    text = write_table(table, tmp_path, "accuracy_by_white", "Cap 95 % x_y.")["tex"].read_text()
    assert r"White & 2,085 & 58.3 {[}56.2, 60.4{]} & 58.3 & 0.0 \\" in text
    assert r"Non-White & 2,086 & 59.3 {[}57.2, 61.4{]} & 70.0 & $-$10.7 \\" in text
    assert r"\caption{Cap 95 \% x\_y.}" in text and r"\label{tab:accuracy_by_white}" in text
    assert r"accuracy, \%" in text and text.isascii()


def test_intervals_of_few_hits_or_misses_are_marked(tmp_path):
    table = study_table(("a", "b", "c")).assign(n=100, published=np.nan, difference=np.nan)
    table["count"] = [4, 5, 96]  # hits; misses are 96, 95 and 4
    table["percent"] = [4.0, 5.0, 96.0]
    table["ci_low"], table["ci_high"] = table["percent"] - 3, table["percent"] + 3
    said = "Fewer than 5 images with or without the outcome: the interval may be too narrow."
    write_table(table, tmp_path, "few", "Few.")
    text = (tmp_path / "few.tex").read_text("utf-8").replace("{[}", "[").replace("{]}", "]")
    for percent, marked in (("4.0 [1.0, 7.0]", True), ("5.0 [2.0, 8.0]", False)):
        assert (rf"{percent}\textdagger" in text) == marked
    assert r"96.0 [93.0, 99.0]\textdagger" in text and said in " ".join(text.split())


def test_differences_of_few_images_are_marked_where_their_interval_is_of_one_rate(tmp_path):
    """Wilson's of the images that moved, and one group against all: 83 to 98 % there; paired changes: 95 to 100 %."""
    table = study_table(("a", "b", "c")).assign(n=100, published=np.nan, difference=np.nan)
    table["count"], table["percent"] = [4, 5, 96], [-4.0, -5.0, -96.0]
    table["ci_low"], table["ci_high"] = table["percent"] - 3, table["percent"] + 3
    tested = table.assign(p_adjusted=[0.1, 0.1, np.nan])
    for frame, metric, marks in (
        (table, "change in harm", 2),
        (table, "difference from all images", 2),
        (table, "gap in harm", 0),
        (tested, "change in harm", 1),  # in either direction, but for the last
        (tested, "rate", 2),
    ):
        frame = frame.assign(metric=metric)
        if metric == "rate":
            frame = frame.assign(**{c: -frame[c] for c in ("percent", "ci_low", "ci_high")})
            frame = frame.rename(columns={"ci_low": "ci_high", "ci_high": "ci_low"})
        write_table(frame, tmp_path, "few", "Few.")
        text = (tmp_path / "few.tex").read_text("utf-8")
        assert text.count("textdagger") == (marks + 1 if marks else 0), (
            metric
        )  # once in the caption


def test_missing_values_are_dashes(tmp_path):
    table = study_table()
    table[["ci_low", "ci_high"]] = np.nan
    table.loc[0, ["published", "difference"]] = np.nan
    text = write_table(table, tmp_path, "t", "C.")["tex"].read_text()
    assert r"White & 2,085 & 58.3 & {--} & {--} \\" in text
    table[["published", "difference"]] = np.nan  # a column without any value is left out
    text = write_table(table, tmp_path, "t", "C.")["tex"].read_text()
    assert r"White & 2,085 & 58.3 \\" in text and "publ." not in text


def test_escape_leaves_no_bare_special():
    text = escape(NASTY)
    assert text.isascii()
    bare = re.sub(r"\\[_%&#{}$]|\\text\w+\{\}|\$[<>|]\$", "", text)
    assert not re.search(r"[_%&#~$<>|]", bare)
    assert escape("Müller é ñ Š ø ß") == r"M\"{u}ller \'{e} \~{n} \v{S} {\o} {\ss}"
    assert escape("é") == r"\'{e}"  # decomposed on input
    assert escape("a--b ''") == "a-{}-b '{}'"
    assert escape("中") == "{[}U+4E2D{]}"
    assert escape("[x]*") == "{[}x{]}{*}"


def test_wrap_keeps_every_letter_within_the_width():
    for text in ("a person who walks", "averyveryverylongwordwithoutanybreak", "a_b/c-d " * 9, ""):
        lines = wrap(text, 40.0)
        assert "".join(lines).replace(" ", "") == text.replace(" ", "")
        assert all(text_width(line) <= 40.0 for line in lines)


def test_planted_values_are_shown(tmp_path):
    table = study_table().assign(planted=[58.0, np.nan])
    paths = write_table(table, tmp_path, "t", "C.")
    assert r"& 58.3 & 0.0 & 58.0 \\" in paths["tex"].read_text()
    assert pd.read_csv(paths["csv"])["planted"][0] == 58.0
    reader = Reader()
    reader.feed(show_table(table, "t", "C.").html)
    assert [row[-1] for row in reader.rows] == ["planted", "58.0", "–"]


class Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.rows, self.values = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        attrs = dict(attrs)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            if "data-value" in attrs:
                self.values.append(attrs["data-value"])
                assert "text-align:right" in attrs["style"]
            if tag == "th":
                assert attrs["scope"] in ("col", "row")

    def handle_data(self, data):
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data.strip("\n")


@pytest.mark.parametrize(
    ("metrics", "head"),
    [
        (["accuracy"], "accuracy, %"),
        (["largest gap"], "largest gap, points"),
        (["difference from all images"], "difference from all images, points"),
        (["MaxSkew"], "MaxSkew"),
        (["accuracy", "top-1"], "percent"),
        (["change in a", "change in b"], "points"),
        (["a", "change in a"], "percent or points"),
        (["a", "MaxSkew"], "value"),
    ],
)
def test_the_head_of_the_numbers_says_their_unit(metrics, head):
    tables = [study_table(metric=metric) for metric in metrics]
    assert head in grid(pd.concat(tables, ignore_index=True)).head


def test_html_escapes_text_and_carries_numbers():
    table = study_table(["<script>alert(1)</script>", NASTY])
    text = show_table(table, 'x"y', "<b>&").html
    reader = Reader()
    reader.feed(text)
    assert "script" not in reader.tags and "b" not in reader.tags
    assert "&lt;b&gt;&amp;" in text and 'id="table-x&#34;y"' in text
    assert reader.rows[0] == ["images of", "n", "accuracy, %", "published", "difference"]
    assert reader.rows[1] == [
        "<script>alert(1)</script>", "2,085", "58.3 [56.2, 60.4]", "58.3", "0.0",
    ]  # fmt: skip
    assert reader.rows[2][0] == NASTY and reader.rows[2][-1] == "+1.0"
    assert reader.values == ["2085", "58.3", "58.3", "0", "2086", "59.3", "58.3", "1"]


def test_html_shows_several_metrics_and_extra_columns():
    table = pd.concat([study_table(metric="accuracy"), study_table(metric="top-5")])
    table["p_value"] = 0.00123456
    reader = Reader()
    reader.feed(show_table(table, "t", "C.", extra=["p_value"]).html)
    assert reader.rows[0][:2] == ["images of", "metric"] and reader.rows[0][-1] == "p value"
    assert reader.rows[1][-1] == "0.00123"


def compile_tex(folder, body):
    if not shutil.which("pdflatex"):
        pytest.skip("pdflatex is not installed")
    (folder / "paper.tex").write_text(
        "\\documentclass[twocolumn]{article}\n\\usepackage{booktabs}\n\\begin{document}\n"
        f"Text.\n{body}\n\\end{{document}}\n"
    )
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"],
        cwd=folder, capture_output=True, text=True, errors="replace",
    )  # fmt: skip
    log = (folder / "paper.log").read_text(errors="replace")
    assert done.returncode == 0, log[-3000:]
    assert "Float too large" not in log
    over = [float(x) for x in re.findall(r"Overfull \\hbox \(([\d.]+)pt", log)]
    assert max(over, default=0) < 1.0, over
    return log


def test_tables_compile_in_a_two_column_paper(tmp_path):
    races = ["White", "Black", "Indian", "East Asian", "Southeast Asian", "Latino_Hispanic"]
    simple = study_table(races)
    nasty = study_table([NASTY, NASTY * 5, "word" * 60, "[x", "*y"])
    several = pd.concat([simple, study_table(races, metric="top-1 accuracy in 7 classes")])
    several.insert(0, "class_set", "denigration with the class `child` and many more words")
    several.insert(0, "method", "linear probe on features before the projection")
    several["p_value"] = 1e-12
    long = study_table([f"label number {i} & more" for i in range(300)])
    long.insert(0, "gender", "Female")
    wide = several.assign(label_set="occupations", threshold=0.5, label="a person of note")
    wide = wide[["label_set", "threshold", "label", *several.columns]].assign(
        holds="direction only"
    )
    tables = {"simple": simple, "nasty": nasty, "several": several, "long": long, "wide": wide}
    caption = f"Images by race, and what a caption may hold: {NASTY} " * 2
    body = ""
    for id, table in tables.items():
        extra = [name for name in ("p_value", "holds") if name in table]
        body += f"\\input{{{id}.tex}}\nSee table~\\ref{{tab:{id}}}.\n"
        write_table(table, tmp_path, id, caption, extra=extra)
    log = compile_tex(tmp_path, body + "\\clearpage\n")
    assert re.search(r"Output written on paper.pdf \((\d+) pages", log)
    assert "\\begin{table}" in (tmp_path / "simple.tex").read_text()
    assert "\\begin{table*}" in (tmp_path / "several.tex").read_text()
    assert "footnotesize" in (tmp_path / "several.tex").read_text()
    assert "footnotesize" not in (tmp_path / "wide.tex").read_text()
    text = (tmp_path / "long.tex").read_text()
    assert "The first 120 of 300 rows; all of them are in long.csv." in text
    assert "number 119" in text and "number 120" not in text and text.count("(continued)") >= 2
    assert len(pd.read_csv(tmp_path / "long.csv")) == 300


def test_a_table_of_many_pages_compiles(tmp_path):
    rows = [[f"label number {i}", str(i)] for i in range(3000)]
    text = booktabs(["label", "n"], rows, numeric={1}, caption="C", label="tab:many")
    floats = text.count(r"\begin{table}")
    assert floats > 60 and text.count(r"\clearpage") == (floats - 1) // 12
    log = compile_tex(tmp_path, text)
    assert re.search(r"Output written on paper.pdf \((\d+) pages", log)


@pytest.mark.parametrize("study", sorted(path.name for path in COMMITTED.glob("*/")))
def test_every_committed_table_compiles_in_a_two_column_paper(tmp_path, study):
    files = sorted((COMMITTED / study / "tables").glob("*.tex"))
    assert files
    compile_tex(tmp_path, "\\clearpage\n".join(path.read_text("utf-8") for path in files))


def test_text_width_is_never_below_what_tex_sets(tmp_path):
    texts = [
        "Southeast Asian",
        "58.3 [56.2, 60.4]",
        "MWmw@%",
        "−10.7",
        "Latino_Hispanic",
        "{x}~^<>",
    ]
    boxes = "".join(
        f"\\sbox0{{\\footnotesize {escape(t)}}}\\typeout{{WIDTH \\the\\wd0}}" for t in texts
    )
    log = compile_tex(tmp_path, boxes)
    widths = [float(w) for w in re.findall(r"WIDTH ([\d.]+)pt", log)]
    assert len(widths) == len(texts)
    for text, width in zip(texts, widths, strict=True):
        assert width <= text_width(text) <= 1.6 * width, (text, width, text_width(text))


@pytest.mark.parametrize("size", latex._SIZES)
def test_smaller_letters_are_as_narrow_as_the_layout_takes_them_for(tmp_path, size):
    text = "Southeast Asian 58.3 images with the label"
    boxes = "".join(
        f"\\sbox0{{\\{font} {text}}}\\typeout{{WIDTH \\the\\wd0}}"
        for font in ("footnotesize", size)
    )
    full, small = map(float, re.findall(r"WIDTH ([\d.]+)pt", compile_tex(tmp_path, boxes)))
    assert small / full == pytest.approx(latex._SIZES[size], abs=0.015)


def test_no_word_is_broken_and_letters_are_no_smaller_than_the_page_asks_for():
    with_words = "class set denigration:seven_races, templates article"
    header = "study quantity n rate publ. diff. lowest highest choices".split()
    row = [
        "denigration",
        "crime-related or non-human",
        "10,954",
        "20.1 [19.4, 20.9]",
        "4.9",
        "+0.3",
    ]
    row += ["6.15", "32.2", "16", with_words, with_words]
    numeric = set(range(2, 9))
    text = booktabs(
        [*header, "lowest with", "highest with"], [row] * 3, numeric=numeric, caption="C", label="l"
    )
    assert r"denigration:\\seven\_" in text and r"class set\\denigration:" in text
    assert r"crime-\\related" in text and r"\footnotesize" in text
    for columns in range(2, 7):  # whatever fills the page to the last digit fits
        rows = [["ten words of text that wrap to fit the page"] * columns + ["10,954"] * 4]
        names = [f"c{i}" for i in range(columns + 4)]
        asked = {"numeric": set(range(columns, columns + 4)), "caption": "C", "label": "l"}
        assert r"\footnotesize" in booktabs(names, rows, **asked)


def test_the_widest_tables_have_headings_and_intervals_under_numbers_and_no_tiny_letters(tmp_path):
    header = (
        "statement set threshold label gender metric n percent planted p least test holds".split()
    )
    cells = [
        "0.5",
        "housekeeper",
        "Female",
        "images with the label",
        "110",
        "10.0 [5.7, 17.0]",
        "10.0",
    ]
    last = ["6.14e-08", "8.96", "chi-squared", "direction only"]
    rows = [
        [f"appear for {who}", "occupations", *cells, *last] for who in ["women"] * 40 + ["men"] * 3
    ]
    text = booktabs(header, rows, numeric={2, 6, 7, 8, 9, 10}, caption="C", label="tab:w")
    assert r"\tiny" not in text and r"\scriptsize" in text
    floats = text.count(r"\begin{table*}")
    # a float that goes on with a group says which
    assert floats > 1 and text.count(r"{\itshape appear for women}") == floats
    assert text.count(r"{\itshape appear for men}") == 1
    assert text.count(r"\begin{tabular}[t]{@{}r@{}}10.0\\{[}5.7, 17.0{]}\end{tabular}") == 43
    compile_tex(tmp_path, text)


def test_booktabs_needs_no_numeric_column():
    text = booktabs(["a", "b"], [["x", "y"]], numeric=set(), caption="C", label="tab:c")
    assert r"\begin{tabular}{@{}ll@{}}" in text and "x & y" in text
