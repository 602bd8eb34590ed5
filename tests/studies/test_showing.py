"""What studies' views share, with hand-computed numbers and a session that only keeps what it is given."""

from types import SimpleNamespace

import pandas as pd
import pytest

from clipeval.output import figures
from clipeval.studies import showing


@pytest.fixture
def session(monkeypatch):
    """Two teams of four images each; `kept` has every table and figure, and `shown` what cells show."""
    kept, shown = {}, []
    monkeypatch.setattr(showing, "display", shown.append)

    def keep(id, what, text, **how):
        kept[id] = SimpleNamespace(what=what, text=text, **how)
        return id

    images = pd.DataFrame({"team": ["a"] * 4 + ["b"] * 4})
    images.attrs["name"] = "teams"
    grouping = SimpleNamespace(name="team", slug="team", columns=["team"])
    about = {"images": images, "groupings": [grouping], "kept": kept, "shown": shown}
    noise = SimpleNamespace(label_noise=25.0, label_noise_as="random", seed=0)
    return SimpleNamespace(parameters=noise, table=keep, figure=keep, **about)


def test_rates_under_label_noise_by_hand(session):
    """3 of 4 hits in a, 1 of 4 in b; a quarter of labels wrong: (3 x 3/4 + 1 x 1/4) / 4 = 62.5 %, and 37.5 %."""
    answers = session.images.assign(hit=[True, True, True, False, True, False, False, False])
    showing.show_label_noise(
        session, answers.assign(quantity="harm", label="thief", held_against="")
    )
    table = session.kept["label_noise"].what
    assert table["percent"].tolist() == [75, 25]
    assert table["expected"].tolist() == pytest.approx([62.5, 37.5])
    assert session.kept["label_noise"].extra == ["expected", "noise_low", "noise_high"]
    figure = session.kept["label_noise_team"]
    assert figure.text.startswith("By team. Rates by group as labelled, and were 25 % of the")
    # Wilson's interval of 3 of 4 is 30.1 to 95.4 %, by statsmodels
    assert "largest for harm, a, sampling (95 %), 75.0 (interval 30.1 to 95.4)" in figure.alt
    drawn = figure.what().axes[0]
    assert [t.get_text() for t in drawn.get_yticklabels()] == ["a", "b"]
    assert session.shown[1:] == ["label_noise", "label_noise_team"]


def test_nothing_is_shown_where_no_label_is_taken_to_be_wrong(session):
    session.parameters.label_noise = 0
    showing.show_label_noise(session, None)
    assert not session.kept and not session.shown


def test_a_figure_names_its_numbers_and_keeps_what_is_said_of_it(session):
    table = pd.DataFrame({"group": ["a", "b"], "metric": "rate", "percent": [60.0, 20.0]})
    table = table.assign(ci_low=[50.0, 10.0], ci_high=[70.0, 30.0], published=None, difference=None)
    said = {"intervals": "by hand"}
    showing.draw(session, "f", table, "Text.", said, y="group", xlabel="percent of cards")
    figure = session.kept["f"]
    assert (figure.text, figure.intervals) == ("Text.", "by hand")
    assert figure.alt == (
        "Percent of cards by group: largest for a, 60.0 (interval 50.0 to 70.0); smallest for b, 20.0 (interval "
        "10.0 to 30.0)."
    )
    assert figure.what.func is figures.interval_plot and figure.what.args[0] is table
    showing.draw(session, "g", table[:0], "Text.", y="group")
    assert session.kept["g"].alt == ""
    showing.say("# A *heading*")
    assert session.shown[-1].data == "# A *heading*"
