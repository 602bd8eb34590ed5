"""The closed forms of the mitigation study, against direct numpy, and its planted cases by hand."""

import numpy as np
import pytest

from clipeval.errors import ParameterError
from clipeval.studies.mitigation.prior import match_prior
from clipeval.studies.mitigation.projection import calibrated, orthogonal, project, vanishes
from clipeval.studies.mitigation.prototypes import drawn, mix


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def vectors():
    rng = np.random.default_rng(3)
    words, pairs = unit(rng.standard_normal((3, 24))), unit(rng.standard_normal((10, 24)))
    rows = unit(rng.standard_normal((50, 24)).astype(np.float32))
    return words.astype(np.float32), pairs.reshape(5, 2, 24).astype(np.float32), rows


# -- projection (Chuang et al. 2023, arXiv 2302.00070, section 3) ------------------------------------


def test_orthogonal_projection_is_the_closed_form(vectors):
    words, _, _ = vectors
    v = words.astype(np.float64).T
    direct = np.eye(24) - v @ np.linalg.inv(v.T @ v) @ v.T
    found = orthogonal(words)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, direct, atol=1e-6)
    np.testing.assert_allclose(found @ v, 0, atol=1e-6)


@pytest.mark.parametrize("strength", [1000.0, 3.0])
def test_calibrated_projection_is_the_closed_form(vectors, strength):
    words, pairs, _ = vectors
    v, m = words.astype(np.float64).T, np.zeros((24, 24))
    for first, second in pairs.astype(np.float64):
        for sign, (a, b) in ((1, (first, first)), (1, (second, second)), (-2, (first, second))):
            m += sign * (np.outer(a, b) + np.outer(b, a)) / 2
    p0 = np.eye(24) - v @ np.linalg.inv(v.T @ v) @ v.T
    direct = p0 @ np.linalg.inv(np.eye(24) + strength / 5 * m)
    np.testing.assert_allclose(calibrated(words, pairs, strength), direct, atol=1e-6)


def test_without_strength_both_are_one(vectors):
    words, pairs, _ = vectors
    np.testing.assert_allclose(calibrated(words, pairs, 0.0), orthogonal(words), atol=1e-12)
    assert calibrated(words, pairs).tolist() == calibrated(words, pairs, 1000.0).tolist()


def test_words_that_are_one_direction_take_one_direction(vectors):
    """A second prompt with the same vector adds nothing to the span; the direct inverse would fail."""
    words = vectors[0]
    twice = np.vstack([words, words[:1]])
    np.testing.assert_allclose(orthogonal(twice), orthogonal(words), atol=1e-6)
    assert np.trace(orthogonal(twice)) == pytest.approx(21)


def test_rows_are_normalised_before_and_again_after(vectors):
    words, pairs, rows = vectors
    matrix = calibrated(words, pairs)
    direct = np.array([matrix @ (row / np.linalg.norm(row)) for row in rows.astype(np.float64)])
    direct /= np.linalg.norm(direct, axis=1, keepdims=True)
    found = project(3 * rows, matrix)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, direct, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-12)


def test_what_lies_in_the_removed_words_vanishes(vectors):
    words, _, rows = vectors
    asked = np.vstack([words[0] + 2 * words[1], rows[:1]])
    assert vanishes(asked, orthogonal(words)).tolist() == [True, False]


# -- prototypes (arXiv 2405.10954) -------------------------------------------------------------------


def test_prototypes_end_at_the_words_and_at_the_class_means(vectors):
    _, _, rows = vectors
    texts, labels = rows[:2], np.array(["a", "b"] * 24)
    images = rows[2:]
    for share, k in ((0.5, 0), (1.0, 8)):
        found = mix(texts, images, labels, ["a", "b"], k=k, share=share, seed=4)
        assert found.tolist() == texts.tolist()  # bit for bit: the zero-shot classifier
    found = mix(texts, images, labels, ["a", "b"], k=24, share=0.0, seed=4)
    means = np.array([images[labels == c].astype(np.float64).mean(axis=0) for c in "ab"])
    np.testing.assert_allclose(found, unit(means), atol=1e-12)


def test_prototypes_are_a_weighted_sum_of_words_and_drawn_images(vectors):
    _, _, rows = vectors
    texts, images, labels = rows[:2], rows[2:], np.array(["a"] * 30 + ["b"] * 18)
    found = mix(texts, images, labels, ["a", "b"], k=5, share=0.3, seed=1)
    places = drawn(labels, ["a", "b"], k=5, seed=1)
    assert [len(set(p)) for p in places] == [5, 5]
    assert set(labels[places[0]]) == {"a"} and set(labels[places[1]]) == {"b"}
    means = np.array([images[p].astype(np.float64).mean(axis=0) for p in places])
    np.testing.assert_allclose(
        found, unit(0.3 * texts.astype(np.float64) + 0.7 * means), atol=1e-12
    )
    assert drawn(labels, ["a", "b"], k=5, seed=2)[0].tolist() != places[0].tolist()
    # a larger k adds to the images of a smaller one
    assert drawn(labels, ["a", "b"], k=9, seed=1)[0][:5].tolist() == places[0].tolist()


def test_a_class_with_fewer_images_than_k_gives_all_it_has(vectors):
    labels = np.array(["a"] * 3 + ["b"] * 7)
    assert [len(p) for p in drawn(labels, ["a", "b"], k=5, seed=0)] == [3, 5]
    assert [len(p) for p in drawn(labels, ["a", "c"], k=5, seed=0)] == [3, 0]


# -- prior matching ----------------------------------------------------------------------------------


def test_shifted_scores_have_the_prior(vectors):
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((400, 4)) * 3 + [0, 2, -1, 0.5]
    prior = np.array([0.4, 0.3, 0.2, 0.1])
    shift = match_prior(logits, prior)
    moved = np.exp(logits + shift)
    share = (moved / moved.sum(axis=1, keepdims=True)).mean(axis=0)
    np.testing.assert_allclose(share, prior, atol=1e-6)
    assert shift.mean() == pytest.approx(0, abs=1e-9)


def test_scores_that_match_already_are_not_shifted():
    logits = np.log([[0.7, 0.3], [0.3, 0.7]])
    np.testing.assert_allclose(match_prior(logits, np.array([0.5, 0.5])), 0, atol=1e-8)


def test_a_prior_that_is_none_is_refused():
    with pytest.raises(ParameterError, match="above 0 and add up to 1"):
        match_prior(np.zeros((3, 2)), np.array([1.0, 0.0]))
