"""Label noise: expectations and bands against labels that are drawn image by image."""

import numpy as np
import pytest

from clipeval.errors import ParameterError
from clipeval.stats import noisy_rates, wrong_labels


def test_any_other_label_alike():
    found = wrong_labels(4, 0.12)
    assert np.allclose(np.diag(found), 0.88)
    assert np.allclose(found[~np.eye(4, dtype=bool)], 0.04)


def test_proportions_are_kept_and_their_mean_is_the_share():
    # counts by hand: of the first label 30 of 100 go astray, all to the second; of the second 10 of 100
    likely = np.array([[70, 30, 0], [5, 90, 5], [0, 20, 80]])
    found = wrong_labels(3, 0.05, likely / likely.sum(axis=1, keepdims=True))
    assert 1 - np.diag(found) == pytest.approx(np.array([0.075, 0.025, 0.05]))
    assert found[1] == pytest.approx([0.0125, 0.975, 0.0125]) and found[0, 2] == 0
    with pytest.raises(ParameterError, match="more often than always"):
        wrong_labels(3, 0.9, likely)
    with pytest.raises(ParameterError, match="a share of 0 to 1"):
        wrong_labels(3, 1.5)


@pytest.mark.parametrize(
    "likely", [np.eye(2), [[0, -1], [2, 0]], [[0, np.nan], [1, 0]], np.ones((3, 3))]
)
def test_what_says_of_no_label_what_it_is_taken_for_is_refused(likely):
    with pytest.raises(ParameterError, match="2 labels is taken for another must be a number of 0"):
        wrong_labels(2, 0.1, likely)


def test_no_noise_moves_nothing():
    found = noisy_rates([[30, 10], [5, 15]], [[True, True], [False, False]], wrong_labels(2, 0))
    for values in (found.expected, found.low, found.high):
        assert values == pytest.approx([0.75, 0.25, 35 / 60])


def test_rates_of_two_groups_by_hand():
    # 40 images of which 30 are hits, 20 of which 5: a tenth of each changes its label
    found = noisy_rates([[30, 10], [5, 15]], [[True, True], [False, False]], wrong_labels(2, 0.1))
    assert found.expected == pytest.approx([27.5 / 38, 7.5 / 22, 35 / 60])
    assert (
        found.low[2] == found.high[2] == pytest.approx(35 / 60)
    )  # whose label it is changes no hit


@pytest.mark.parametrize("own", [False, True])
def test_bands_are_those_of_labels_drawn_image_by_image(own):
    """`own`: the label is what the answer is held against, so that a wrong one changes the hit as well."""
    rng = np.random.default_rng(1)
    cells = np.array([[80, 15, 5], [10, 60, 10], [4, 6, 30]])
    label = np.repeat(np.arange(3), cells.sum(axis=1))
    answer = np.concatenate([np.repeat(np.arange(3), row) for row in cells])
    hits = np.eye(3, dtype=bool) if own else np.array([[True] * 3, [False] * 3, [False] * 3])
    matrix = wrong_labels(3, 0.2, [[0, 3, 1], [1, 0, 1], [2, 1, 0]])
    rates = np.empty((4000, 4))
    for row in rates:
        drawn = (rng.random((len(label), 1)) > matrix[label].cumsum(axis=1)).sum(axis=1)
        hit = hits[answer, np.minimum(drawn, 2)]
        row[:3] = [hit[drawn == j].mean() for j in range(3)]
        row[3] = hit.mean()
    found = noisy_rates(cells, hits, matrix, draws=4000, seed=2)
    assert found.expected == pytest.approx(rates.mean(axis=0), abs=0.005)
    low, high = np.percentile(rates, [2.5, 97.5], axis=0)
    assert found.low == pytest.approx(low, abs=0.012) and found.high == pytest.approx(
        high, abs=0.012
    )
    again = noisy_rates(cells, hits, matrix, draws=4000, seed=2)
    assert np.array_equal(found.low, again.low)
