import base64
import io
import json
import os
import re
import subprocess
import sys
import warnings
import xml.etree.ElementTree as ElementTree
import zlib
from functools import partial

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from PIL import Image

from clipeval.errors import ParameterError, SetAside
from clipeval.files import LIST
from clipeval.output import figures, style, values
from clipeval.output.provenance import TEST_CARDS, Provenance, caption
from clipeval.output.saving import seen_in

PROVENANCE = Provenance(model="m", dataset="FairFace", n=10_954, device="cuda", class_set="a_b")
RACES = ["White", "Black", "Latino_Hispanic"]
NASTY = [
    "<script>alert(1)</script>",
    "$x_1$ & 100 %",
    "word" * 30,
    "中 é ﬁ \\frac{1}{2} #",
    "a\nb " * 30,
]


def table(seed=0, **groups):
    """Study table over the product of the groups, with a missing interval and published value."""
    index = pd.MultiIndex.from_product(groups.values(), names=groups.keys())
    out = index.to_frame(index=False)
    rng = np.random.default_rng(seed)
    out["n"] = rng.integers(900, 2_000, len(out))
    out["metric"] = "accuracy"
    out["percent"] = rng.uniform(10, 80, len(out))
    out["ci_low"] = out["percent"] - rng.uniform(1, 3, len(out))
    out["ci_high"] = out["percent"] + rng.uniform(1, 3, len(out))
    out["published"] = rng.uniform(10, 80, len(out))
    out.loc[0, "published"] = np.nan
    out.loc[1, ["ci_low", "ci_high"]] = np.nan
    return out.assign(difference=out["percent"] - out["published"])


def sequences(n=5):
    names = [f"VIRAT_S_{i:05d} parking lot" for i in range(n)]
    return pd.DataFrame(np.arange(n * n).reshape(n, n), names, names)


def moves(classes, seed=0):
    rng = np.random.default_rng(seed)
    rows = [(a, b, int(rng.integers(0, 400))) for a in classes for b in classes]
    return pd.DataFrame(rows, columns=["before", "after", "n"])


def by_names(**groups):
    out = table(names=[100, 1_000, 2_000], **groups)
    return out.assign(chance=100 / out["names"])


FIGURES = {
    "rows": lambda: figures.interval_plot(table(race=RACES), y="race"),
    "hues": lambda: figures.interval_plot(
        table(race=RACES, method=["zero-shot", "a probe with a long name", "other"]),
        y="race", hue="method",
    ),
    "panels": lambda: figures.interval_plot(
        table(category=["crime-related", "non-human"], race=RACES, gender=["Male", "Female"]),
        y="race", hue="gender", panel="category", width="double",
    ),
    "nasty": lambda: figures.interval_plot(
        table(category=NASTY[:2], race=NASTY, gender=NASTY),
        y="race", hue="gender", panel="category", xlabel=NASTY[0] * 9,
    ),
    "many": lambda: figures.interval_plot(table(label=[f"no {i}" for i in range(30)]), y="label"),
    "bars": lambda: figures.grouped_bars(
        table(top=["women", "men"], label=[*RACES, *NASTY], gender=["women", "men"]),
        y="label", hue="gender", panel="top",
    ),
    "lines": lambda: figures.line_by(
        by_names(model=["ViT-L/14", "RN50", "$x$"]), x="names", hue="model", log_x=True,
        chance="chance", xlabel="number of names",
    ),
    "sweep": lambda: figures.line_by(table(value=[0.1 * i for i in range(1, 60)]), x="value"),
    "titles beside n": lambda: figures.interval_plot(
        table(label=[f"{who} (occupations, at 0.5 %)" for who in ("lawyer", "nurse", "farmer", "x")],
              party=["Democrat", "Independent"]),
        y="party", panel="label", width="double",
    ),
    "small numbers": lambda: figures.line_by(
        table(left=[0.0, 10.0, 20.0], rule=["a", "b"]).assign(percent=0.01, ci_low=0, ci_high=0.014),
        x="left", hue="rule", ylabel="harmful answers avoided (percent of photographs)",
    ),
    "from none": lambda: figures.line_by(
        table(k=[0, 1, 2, 4, 8, 16, 32, 64], task=["race", "age", "x"]), x="k", hue="task", log_x=True
    ),
    "flow": lambda: figures.flow(moves([*RACES, *NASTY]), source="before", target="after"),
    "confusion": lambda: figures.confusion(sequences()),
    "confusion, nasty": lambda: figures.confusion(
        pd.DataFrame(np.eye(5) * 1234, NASTY, [*NASTY[:4], "z"])
    ),
}  # fmt: skip


def close(a, b):
    return np.allclose(sorted(a), sorted(b), rtol=0, atol=1e-9)


def dots(ax):
    """x of the measured markers, x of the diamonds, and the ends of the interval bars, as drawn."""
    measured, published = [], []
    for line in ax.get_lines():
        if line.get_marker() == "D":
            published += list(line.get_xdata())
        elif line.get_marker() in "os^vPX<":
            measured += list(line.get_xdata())
    ends = [s[:, 0] for c in ax.collections for s in c.get_segments() if len(s)]
    return measured, published, ends


def ends_of(part):
    part = part[part["ci_low"].notna()]
    return list(part["ci_low"]) + list(part["ci_high"])


def test_dots_intervals_and_diamonds_are_the_tables_numbers():
    data = table(category=["a", "b"], race=RACES, gender=["Male", "Female"])
    fig = figures.interval_plot(data, y="race", hue="gender", panel="category", width="double")
    assert len(fig.axes) == 2
    for ax, (_, part) in zip(fig.axes, data.groupby("category"), strict=True):
        measured, published, ends = dots(ax)
        assert close(measured, part["percent"])
        assert close(published, part["published"].dropna())
        ends = np.concatenate([e for e in ends if not np.isnan(e).any()])
        assert close(ends, ends_of(part))


def test_each_row_stands_beside_its_own_label_and_n():
    data = table(race=RACES)
    ax = figures.interval_plot(data, y="race").axes[0]
    assert [t.get_text() for t in ax.get_yticklabels()] == RACES
    line = next(x for x in ax.get_lines() if x.get_marker() == "o")
    assert np.allclose(line.get_xdata(), data["percent"])
    assert np.allclose(line.get_ydata(), ax.get_yticks())
    notes = {t.get_position()[1]: t.get_text() for t in ax.texts}
    assert [notes[y] for y in ax.get_yticks()] == [f"{n:,}" for n in data["n"]]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # first row on top


def test_missing_percent_leaves_the_row_and_its_published_value():
    data = table(race=RACES)
    data.loc[2, ["percent", "ci_low", "ci_high", "difference"]] = np.nan
    ax = figures.interval_plot(data, y="race").axes[0]
    measured, published, _ = dots(ax)
    assert close(measured, data["percent"].dropna()) and close(published, data["published"][1:])
    assert len(ax.get_yticks()) == 3


def test_two_rows_for_one_place_are_refused():
    data = pd.concat([table(race=RACES), table(race=RACES).assign(metric="top-5")])
    with pytest.raises(ParameterError, match="several rows for White"):
        figures.interval_plot(data, y="race")


def test_bars_start_at_zero_and_are_the_tables_numbers():
    data = table(top=["women", "men"], label=RACES, gender=["women", "men"])
    fig = figures.grouped_bars(data, y="label", hue="gender", panel="top")
    for ax, name in zip(fig.axes, ["women", "men"], strict=True):
        bars = [p for p in ax.patches if p.get_width() > 0]
        assert close([b.get_width() for b in bars], data[data["top"] == name]["percent"])
        assert {b.get_x() for b in bars} == {0.0} and ax.get_xlim()[0] == 0.0


def test_bars_say_n_once_where_it_depends_on_the_hue_alone():
    data = table(label=RACES, gender=["women", "men"])
    data["n"] = np.where(data["gender"] == "women", 110, 430)
    fig = figures.grouped_bars(data, y="label", hue="gender")
    texts = [t.get_text() for t in fig.legends[0].get_texts()]
    assert texts == ["women (n = 110)", "men (n = 430)", "published"]


def test_a_share_without_n_has_bars_without_n():
    data = table(label=RACES, gender=["a", "b"]).drop(columns="n")
    fig = figures.grouped_bars(data, y="label", hue="gender")
    assert [t.get_text() for t in fig.legends[0].get_texts()] == ["a", "b", "published"]
    assert not any(t.get_text() == "n" for t in fig.axes[0].texts)


def test_a_line_stands_at_the_percent_of_no_preference():
    for mark, at in ((50.0, [50]), (None, [])):
        ax = figures.interval_plot(table(label=RACES), y="label", mark=mark).axes[0]
        lines = [list(line.get_xdata()) for line in ax.get_lines()]
        assert [x[0] for x in lines if len(x) == 2 and x[0] == x[1]] == at


def test_lines_are_the_tables_numbers():
    data = by_names(model=["A", "B"])
    ax = figures.line_by(data, x="names", hue="model", log_x=True, chance="chance").axes[0]
    drawn = {}
    for line in ax.get_lines():
        drawn.setdefault((line.get_marker(), line.get_linestyle()), []).append(line)
    kinds = (
        (-1, "o", "-"),
        (1, "s", "--"),
    )  # side by side, 0.06 inches apart, and told apart by dashes
    for (side, *kind), (_, part) in zip(kinds, data.groupby("model"), strict=True):
        line = drawn[tuple(kind)][0]
        at, true = (ax.transData.transform([(x, 0) for x in xs])[:, 0] / ax.figure.dpi
                    for xs in (line.get_xdata(), [100, 1_000, 2_000]))  # fmt: skip
        assert np.allclose(at - true, side * 0.03)
        assert np.allclose(line.get_ydata(), part["percent"])
    (diamonds,) = drawn["D", "None"]  # of no line's colour, each number once at its x
    assert diamonds.get_markeredgecolor() == "0.1"
    known = data.dropna(subset="published")[["names", "published"]].drop_duplicates()
    assert close(diamonds.get_ydata(), known["published"])
    assert close(diamonds.get_xdata(), known["names"])
    assert np.allclose(drawn["None", "--"][0].get_ydata(), [1, 0.1, 0.05])
    assert [t.get_text() for t in ax.get_xticklabels()] == ["100", "1,000", "2,000"]
    ends = np.concatenate([s[:, 1] for c in ax.collections for s in c.get_segments() if len(s)])
    assert close(ends[~np.isnan(ends)], ends_of(data))


def test_flow_draws_the_largest_moves_and_counts_the_rest():
    data = moves(["a", "b", "c", "d"])
    fig = figures.flow(data, source="before", target="after", top=5)
    moved = data[data["before"] != data["after"]].sort_values("n", ascending=False)
    ax, shown = fig.axes[0], moved.head(5)
    bands = [p.get_path().vertices for p in ax.patches]
    # as thick at both ends as images moved, and every band leaves and reaches its own class
    thick = sorted(v[7, 1] - v[0, 1] for v in bands)
    assert thick == pytest.approx(sorted(v[4, 1] - v[3, 1] for v in bands))
    assert np.allclose(np.array(thick) / sorted(shown["n"]), thick[0] / shown["n"].min())
    labels = [t.get_text().strip(")").split(" (") for t in ax.texts]
    for side, column in (("right", "before"), ("left", "after")):
        found = {x[0]: int(x[1].replace(",", "")) for x, t in zip(labels, ax.texts, strict=True)
                 if t.get_ha() == side and len(x) == 2}  # fmt: skip
        assert found == shown.groupby(column, observed=True)["n"].sum().to_dict()
    for end, (lost, won) in enumerate(((0, 7), (3, 4))):  # no two bands share a place on a side
        spans = sorted((v[lost, 1], v[won, 1]) for v in bands)
        assert all(a[1] <= b[0] + 1e-9 for a, b in zip(spans, spans[1:], strict=False)), end
    below = " ".join(fig.texts[0].get_text().split())
    assert below == f"images moved (7 other moves, not shown: {sum(moved['n'][5:]):,} in all)"
    assert f"{sum(moved['n']):,} in all" in fig.alt
    none = figures.flow(data.assign(n=0), source="before", target="after")
    assert "no image moved" in none.alt


def test_confusion_prints_its_counts():
    data = sequences(4)
    ax = figures.confusion(data).axes[0]
    assert np.array_equal(ax.images[0].get_array(), data.to_numpy())
    shown = {tuple(map(int, t.get_position())): t.get_text() for t in ax.texts}
    assert shown == {(j, i): str(v) for (i, j), v in np.ndenumerate(data.to_numpy()) if v > 0}
    assert [t.get_text() for t in ax.get_xticklabels()] == ["1", "2", "3", "4"]


def test_confusion_names_its_unit_and_the_images_of_each_row():
    """Shares of rows are no counts: nothing is summed over rows of different size."""
    share = pd.DataFrame([[75.0, 25.0], [40.0, 60.0]], ["a", "b"], ["a", "b"])
    fig = figures.confusion(share, unit="percent of the row", n={"a": 8, "b": 1234}, width="double")
    names = [t.get_text() for t in fig.axes[0].get_yticklabels()]
    assert names == ["a (n = 8)", "b (n = 1,234)"]
    assert fig.alt == (
        "Heat map of 2 true by 2 chosen, percent of the row: on the diagonal 60 to 75 a row."
    )
    assert any("numbers: percent of the row" in t.get_text() for t in fig.texts)


@pytest.mark.parametrize("name", FIGURES)
def test_nothing_is_cut_and_no_texts_overlap(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a missing glyph warns
        fig = FIGURES[name]()
        agg = FigureCanvasAgg(fig)
        style.styled(agg.draw)()
    renderer = agg.get_renderer()
    page = fig.bbox
    beyond = set()  # ticks outside the limits exist, but are not drawn
    for ax in fig.axes:
        for axis, limits in ((ax.xaxis, sorted(ax.get_xlim())), (ax.yaxis, sorted(ax.get_ylim()))):
            ticks = axis.get_major_ticks() + axis.get_minor_ticks()
            out = [t for t in ticks if not limits[0] <= t.get_loc() <= limits[1]]
            beyond |= {label for t in out for label in (t.label1, t.label2)}
    texts = [t for t in fig.findobj(matplotlib.text.Text) if t.get_visible() and t.get_text()]
    texts = [t for t in texts if t not in beyond]
    boxes = [(t.get_text(), t.get_window_extent(renderer)) for t in texts]
    for text, box in boxes:
        assert box.x0 >= -0.5 and box.x1 <= page.x1 + 0.5, text
        assert box.y0 >= -0.5 and box.y1 <= page.y1 + 0.5, text
    for i, (text, a) in enumerate(boxes):
        for other, b in boxes[:i]:
            # ink and line spacing of neighbours may touch by a pixel of the 150 an inch has
            wide = min(a.x1, b.x1) - max(a.x0, b.x0)
            high = min(a.y1, b.y1) - max(a.y0, b.y0)
            assert wide < 1.5 or high < 2.5, (text, other, wide, high)
    assert fig.get_figwidth() in style.WIDTHS.values() and fig.get_figheight() < 9.6
    sizes = {t.get_fontsize() for t in texts if t.axes is not None and not t.axes.images}
    assert min(sizes, default=7) >= 7


def test_labels_are_never_mathematics_and_unknown_letters_stay_visible():
    data = table(race=NASTY)
    ax = figures.interval_plot(data, y="race").axes[0]
    texts = [t.get_text() for t in ax.get_yticklabels()]
    assert texts[1] == "$x_1$ & 100 %" and not ax.get_yticklabels()[1].get_parse_math()
    assert "[U+4E2D]" in texts[3] and texts[0].replace("\n", "") == NASTY[0]
    assert all(t.count("\n") <= 3 for t in texts)


def read_all(paths):
    return {suffix: path.read_bytes() for suffix, path in paths.items()}


@pytest.mark.parametrize("name", ["panels", "bars", "confusion"])
def test_the_same_figure_gives_the_same_bytes(name, tmp_path):
    first = figures.save_figure(FIGURES[name](), tmp_path / "a", "f", "C.", PROVENANCE)
    second = figures.save_figure(FIGURES[name](), tmp_path / "b", "f", "C.", PROVENANCE)
    assert read_all(first) == read_all(second)


def test_the_same_bytes_in_every_process_whatever_its_style_and_hash_seed(tmp_path):
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import test_figures as t;"
        "t.figures.save_figure(t.FIGURES['nasty'](), sys.argv[2], 'f', 'C.', t.PROVENANCE)"
    )
    here = os.path.dirname(__file__)
    (tmp_path / "matplotlibrc").write_text("font.size: 20\nsavefig.dpi: 30\nsvg.fonttype: path\n")
    seen = []
    for seed in ("1", "2"):
        env = os.environ | {"PYTHONHASHSEED": seed, "SOURCE_DATE_EPOCH": ""}
        env.pop("SOURCE_DATE_EPOCH")
        if seed == "2":
            env["MATPLOTLIBRC"] = str(tmp_path / "matplotlibrc")
        out = tmp_path / seed
        root = os.path.dirname(os.path.dirname(here))
        env["PYTHONPATH"] = root
        subprocess.run([sys.executable, "-c", code, here, str(out)], check=True, env=env)
        seen.append({p.name: p.read_bytes() for p in out.iterdir()})
    assert set(seen[0]) == {LIST, "f.pdf", "f.svg", "f.png"}
    assert seen[0] == seen[1]


def test_every_file_carries_its_provenance_and_no_date_or_device(tmp_path):
    text = caption("Accuracy by race, é", PROVENANCE)
    paths = figures.save_figure(FIGURES["rows"](), tmp_path, "by_race", text, PROVENANCE)
    content = read_all(paths)
    with Image.open(paths["png"]) as image:
        info = image.info
    assert info["Description"] == text and "Software" not in info and info["Comment"]
    record = json.loads(info["Source"])
    assert record["parameters_hash"] == PROVENANCE.parameters_hash
    assert record["class_set"] == "a_b" and record["dataset"] == "FairFace" and record["clipeval"]
    assert abs(info["dpi"][0] - 300) < 0.1 and round(image.width / 300, 2) == 3.35
    svg = content["svg"].decode()
    assert text in svg and PROVENANCE.parameters_hash in svg and "<dc:date>" not in svg
    pdf = content["pdf"]
    assert b"/Subject" in pdf and PROVENANCE.parameters_hash.encode() in pdf
    assert b"CreationDate" not in pdf and b"ModDate" not in pdf
    assert not any(b"cuda" in c or str(tmp_path).encode() in c for c in content.values())


def test_fonts_are_embedded_and_texts_stay_texts(tmp_path):
    from fontTools.ttLib import TTFont

    paths = figures.save_figure(FIGURES["nasty"](), tmp_path, "f", "C.", PROVENANCE)
    pdf = paths["pdf"].read_bytes()
    assert b"/FontFile2" in pdf and b"/Type3" not in pdf
    svg = paths["svg"].read_text()
    face = re.search(r"url\(data:font/woff;base64,([^)]+)\)", svg)
    letters = set(TTFont(io.BytesIO(base64.b64decode(face.group(1)))).getBestCmap())
    assert {ord(c) for c in "<script>$é[U+4E2D]0123456789"} <= letters
    assert "&lt;script&gt;" in svg and "<script" not in svg
    fonts = re.findall(r"<text style=\"[^\"]*font-family: ([^;\"]*)", svg)
    assert "$x_1$ &amp; 100" in svg and len(fonts) == svg.count("<text") > 20
    assert all(font.startswith("'DejaVu Sans'") for font in fonts)
    ElementTree.fromstring(svg.encode())


def test_fonts_in_a_pdf_have_no_layout_rules(tmp_path):
    """A private list of fontTools is lent more for this; matplotlib alone would leave the rules in."""
    from fontTools.ttLib import TTFont

    def tables(pdf: bytes) -> set[str]:
        streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", pdf, flags=re.S)
        plain = [zlib.decompress(s) for s in streams if s.startswith(b"\x78")]
        fonts = [s for s in plain if s.startswith(b"\x00\x01\x00\x00")]
        return set().union(*(TTFont(io.BytesIO(font)).keys() for font in fonts))

    fig = FIGURES["rows"]()
    paths = figures.save_figure(fig, tmp_path, "f", "C.", PROVENANCE)
    mine = tables(paths["pdf"].read_bytes())
    with matplotlib.rc_context({"pdf.fonttype": 42}):
        fig.savefig(tmp_path / "plain.pdf")
    rules = tables((tmp_path / "plain.pdf").read_bytes()) - mine
    assert "glyf" in mine and rules and rules <= {"GDEF", "GPOS", "GSUB"}


def test_test_cards_are_stamped_once_and_nothing_moves_out(tmp_path):
    provenance = Provenance(test_cards=True)
    fig = FIGURES["panels"]()
    before = fig.get_figheight()
    figures.save_figure(fig, tmp_path, "f", "C.", provenance)
    figures.save_figure(fig, tmp_path, "f", "C.", provenance)
    assert [t.get_text() for t in fig.texts].count(TEST_CARDS) == 1
    assert 0.1 < fig.get_figheight() - before < 0.2
    assert TEST_CARDS.split(",")[0] in (tmp_path / "f.svg").read_text()


def test_the_callers_style_is_left_alone():
    before = dict(matplotlib.rcParams)
    FIGURES["rows"]()._repr_mimebundle_()
    assert dict(matplotlib.rcParams) == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_process_opens_its_own_font():
    """An open file has one position for all who inherit it: two that read at once read each other's bytes."""
    style.text_inches("before the fork")
    mine = style._font()
    child = os.fork()
    if child == 0:
        os._exit(0 if style._font() is not mine else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert style._font() is mine


def test_a_notebook_shows_the_picture_with_its_alt_text():
    fig = FIGURES["rows"]()
    data, metadata = fig._repr_mimebundle_()
    with Image.open(io.BytesIO(base64.b64decode(data["image/png"]))) as image:
        assert image.width == round(3.35 * 150)
    assert metadata["image/png"]["alt"] == fig.alt == data["text/plain"]


def test_alt_text_says_largest_smallest_and_gap():
    data = pd.DataFrame(
        [
            ("White", 100, 24.9, 20.0, 30.0, 24.9),
            ("Black", 100, 16.4, 12.0, 20.0, 10.0),
            ("Latino", 100, 10.8, np.nan, np.nan, 10.8),
        ],
        columns=["race", "n", "percent", "ci_low", "ci_high", "published"],
    )
    assert figures.alt_text(data, y="race", what="percent crime-related") == (
        "Percent crime-related by race: largest for White, 24.9 (interval 20.0 to 30.0); smallest "
        "for Latino, 10.8. Farthest from its published value: Black, 16.4 measured, 10.0 published."
    )
    equal = data.assign(percent=[24.9, 10.8, 10.8], published=np.nan)
    assert "; smallest for Black (tied with Latino), 10.8" in figures.alt_text(equal, y="race")
    empty = data.assign(percent=np.nan)
    assert "nothing measured" in figures.alt_text(empty, y="race")


def test_alt_text_names_no_gap_that_rounds_away_and_no_negative_zero():
    data = pd.DataFrame(
        [("a", 9, -0.01, -0.04, 0.02, 0.01), ("b", 9, 20.0, 19.0, 21.0, 20.02)],
        columns=["at", "n", "percent", "ci_low", "ci_high", "published"],
    ).assign(kind="x")
    assert figures.alt_text(data, y="at", hue="kind", names={"at": "threshold"}) == (
        "Percent of images by threshold and kind: largest for b, x, 20.0 (interval 19.0 to 21.0); "
        "smallest for a, x, 0.0 (interval 0.0 to 0.0)."
    )


def test_published_values_of_lines_are_drawn_as_their_legend_says():
    def legend(fig):
        return [text.get_text() for text in fig.legends[0].get_texts()]

    several = figures.line_by(by_names(model=["A", "B"]), x="names", hue="model")
    assert [text.split(" (n")[0] for text in legend(several)] == ["A", "B", "published"]
    edges = {x.get_mec() for x in several.axes[0].get_lines() if x.get_marker() == "D"}
    assert edges == {values.PUBLISHED["mec"]}
    assert legend(figures.line_by(by_names(), x="names")) == ["measured", "published"]


@pytest.mark.parametrize(
    ("low", "high", "inches", "ticks"),
    [
        (54.3, 97.7, 0.9, [40, 60, 80, 100]),
        (54.3, 97.7, 3.0, [50, 60, 70, 80, 90, 100]),
        (0.0, 34.0, 2.0, [0, 5, 10, 15, 20, 25, 30, 35]),
        (-27.2, 0.3, 2.0, [-30, -25, -20, -15, -10, -5, 0, 5]),
        (99.9, 100.0, 1.0, [99.9, 99.95, 100]),
        (100.0, 100.0, 1.0, [99.998, 99.999, 100]),
        (0.0, 0.0, 1.0, [0, 0.001, 0.002]),
        (-100.0, 100.0, 0.1, [-100, -50, 0, 50, 100]),
    ],
)
def test_ticks_span_what_is_drawn(low, high, inches, ticks):
    ax = style.add_axes(style.new_picture("single", 1), 0, 0, 1, 1)
    style.styled(style.percent_axis)(ax, low, high, inches)
    assert np.allclose(ax.get_xticks(), ticks)
    assert np.allclose(ax.get_xlim(), (ticks[0], ticks[-1]))


def test_texts_stand_out_by_the_formula_of_wcag():
    def light(color):
        parts = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in color]
        return np.dot(parts, (0.2126, 0.7152, 0.0722))

    for fig in [draw() for draw in FIGURES.values()]:
        for text in fig.findobj(matplotlib.text.Text):
            behind = (1.0, 1.0, 1.0)
            if text.axes is not None and text.axes.images and text in text.axes.texts:
                image, (column, row) = text.axes.images[0], map(int, text.get_position())
                behind = image.to_rgba(image.get_array())[row, column, :3]
            a, b = sorted((light(to_rgb(text.get_color())), light(behind)))
            assert (b + 0.05) / (a + 0.05) >= 4.5, text


def test_an_interval_narrower_than_its_marker_is_seen_on_it():
    data = table(race=RACES).assign(percent=50.0, ci_low=49.6, ci_high=50.4, published=np.nan)
    fig = figures.interval_plot(data, y="race", xlim=(0, 100))
    agg = FigureCanvasAgg(fig)
    style.styled(agg.draw)()
    ax = fig.axes[0]
    x, y = ax.transData.transform((50.0, ax.get_yticks()[0]))
    pixels = np.asarray(agg.buffer_rgba())[:, :, :3].astype(int)
    row = len(pixels) - 1 - round(y)
    at_center, off_center = pixels[row, round(x)], pixels[row - 2, round(x)]
    assert np.abs(at_center - off_center).sum() > 60


def test_panels_stay_apart():
    """The n or the ticks of a panel do not run into the row labels of the next."""
    names = {"a": ["gender accuracy", "age accuracy"], "b": ["crime-related or non-human", "other"]}
    parts = [table(panel=[key], y=rows).assign(n=10_954) for key, rows in names.items()]
    data = pd.concat(parts).assign(percent=90.0, ci_low=1.0, ci_high=100.0)
    data = pd.concat([data.assign(kind="x"), data.assign(kind="y", n=77_777)])
    for draw, inches in ((figures.interval_plot, 0.145), (figures.grouped_bars, 0.1)):
        fig = draw(data, y="y", hue="kind", panel="panel", width="double")
        agg = FigureCanvasAgg(fig)
        style.styled(agg.draw)()
        left, right = fig.axes
        ends = [t.get_window_extent().x1 for t in (*left.texts, *left.get_xticklabels())]
        starts = [t.get_window_extent().x0 for t in right.get_yticklabels()]
        assert min(starts) - max(ends) >= inches * fig.dpi


def test_drawing_needs_neither_seaborn_nor_pyplot_nor_scipy():
    code = (
        "import sys; import clipeval.output.figures;"
        "print([m for m in ('seaborn', 'scipy', 'torch', 'matplotlib.pyplot') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_palette_can_be_told_apart_in_grey_or_by_shape():
    colors = style._style()["axes.prop_cycle"].by_key()["color"]
    assert len(set(colors)) == 7 == len(set(style.MARKERS)) == len(set(figures._HATCHES))


def test_a_figure_drawn_before_is_taken_from_the_store(tmp_path, monkeypatch):
    about, known = Provenance(model="m"), tmp_path / "known"

    def save(name, percent, known=None):
        figure = figures.interval_plot(table(race=RACES).assign(published=percent), y="race")
        paths = figures.save_figure(figure, tmp_path / name, "x", "A caption.", about, known=known)
        return {suffix: path.read_bytes() for suffix, path in paths.items()}

    drawn = []
    savefig = matplotlib.figure.Figure.savefig

    def counted(self, *args, format, **how):
        drawn.append(format)
        return savefig(self, *args, format=format, **how)

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", counted)
    plain = save("a", 50.0)
    first = save("b", 50.0, known)
    assert drawn == ["svg", "pdf", "png"] * 2 and first == plain
    drawn.clear()
    assert save("c", 50.0, known) == plain and drawn == ["svg"]
    drawn.clear()
    assert save("d", 51.0, known)["png"] != plain["png"] and drawn == ["svg", "pdf", "png"]
    for path in list(known.iterdir()):  # one bit each; then one figure's file in another's place
        whole = path.read_bytes()
        path.write_bytes(whole[:900] + bytes([whole[900] ^ 4]) + whole[901:])
    with pytest.warns(SetAside) as said:
        assert save("c", 50.0, known) == plain and len(said) == 2
    one, two = sorted(known.glob("*.png.kept"))
    one.write_bytes(two.read_bytes())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SetAside)
        assert save("c", 50.0, known) == plain
    for path in known.iterdir():
        path.unlink()
    known.rmdir()
    known.write_text("a file where the folder should be")
    assert save("e", 50.0, known) == plain


def test_a_figure_says_its_own_text_else_the_caption_s_first_sentence(tmp_path):
    about, drawn = Provenance(model="m"), figures.interval_plot(table(race=RACES), y="race")
    bare = matplotlib.figure.Figure(figsize=(2, 2))
    for figure, asked, said in [
        (drawn, "", drawn.alt),
        (drawn, "As told.", "As told."),
        (bare, "", "What it shows."),
        (bare, "As told.", "As told."),
    ]:
        words = "What it shows. Model m, n = 3."
        paths = figures.save_figure(figure, tmp_path, "x", words, about, alt=asked)
        assert seen_in(paths["svg"].read_bytes())[0] == said


def test_bars_of_an_empty_table_are_a_sentence():
    table = pd.DataFrame({"label": [], "gender": [], "percent": [], "n": []})
    how = {"y": "label", "hue": "gender", "empty": "no label is given at this threshold"}
    fig = figures.grouped_bars(table, **how)
    assert [t.get_text() for t in fig.texts] == ["no label is given at this threshold"]
    assert fig.alt == "No label is given at this threshold." and not fig.axes


def test_lines_in_panels_have_dashes_and_scales_of_their_own():
    table = pd.DataFrame(
        {
            "x": [1.0, 2.0] * 4,
            "percent": [1.0, 2.0, 1.0, 2.0, 40.0, 60.0, 40.0, 60.0],
            "kind": ["given"] * 4 + ["differ"] * 4,
            "set": ["a", "a", "b", "b"] * 2,
        }
    )
    fig = figures.line_by(table, x="x", hue="set", panel="kind", width="double")
    assert [ax.get_title(loc="left") for ax in fig.axes] == ["given", "differ"]
    assert fig.axes[0].get_ylim()[1] < 3 < 50 < fig.axes[1].get_ylim()[1]
    for ax in fig.axes:
        styles = [line.get_linestyle() for line in ax.lines if len(line.get_xdata()) == 2]
        assert styles == ["-", "--"]


def test_points_stand_side_by_side_only_where_lines_share_a_value():
    data = table(rule=["a", "b"], left=[0.0, 1.0]).assign(percent=5.0)
    data["left"] = [0.0, 11.0, 0.0, 13.0]
    lines = figures.line_by(data, x="left", hue="rule").axes[0].get_lines()
    a, b = (line.get_xdata() for line in lines if line.get_marker() in "os")
    assert a[0] < 0 < b[0] and a[0] == pytest.approx(-b[0])
    assert (a[1], b[1]) == (pytest.approx(11), pytest.approx(13))


def test_zero_has_a_place_of_its_own_on_a_logarithmic_axis():
    ax = FIGURES["from none"]().axes[0]
    assert [t.get_text() for t in ax.get_xticklabels()] == "0 1 2 4 8 16 32 64".split()
    steps = np.diff(ax.transData.transform([(k, 0) for k in ax.get_xticks()])[:, 0])
    np.testing.assert_allclose(steps, steps[0])


def test_a_figure_to_be_drawn_later_is_drawn_once_for_what_decides_it(tmp_path, monkeypatch):
    about, known = Provenance(model="m", test_cards=True), tmp_path / "known"
    shown = table(race=RACES).assign(published=50.0)

    def save(name, shown, fig=None, **how):
        later = partial(figures.interval_plot, shown, y="race", width="double", **how)
        where = {"known": known, "column": tmp_path / name / "page"}
        paths = figures.save_figure(fig or later, tmp_path / name, "x", "C.", about, **where)
        return {end: path.read_bytes() for end, path in paths.items()}

    plain = save("plain", shown, figures.interval_plot(shown, y="race", width="double"))
    assert save("first", shown) == plain and len(plain) == 4
    with monkeypatch.context() as no:
        no.setattr(style.Picture, "savefig", None)  # what draws now, fails
        no.setattr(style, "new_picture", None)
        assert save("again", shown.copy()) == plain
    nearly = shown.assign(percent=shown["percent"] + 1e-3)
    assert save("number", nearly)["svg"] != plain["svg"]
    assert save("axis", shown, xlim=(0, 100))["png"] != plain["png"]
    alt, inches = seen_in(plain["svg"])
    direct = figures.interval_plot(shown, y="race", width="double")
    assert (alt, inches) == (direct.alt, 6.9)
