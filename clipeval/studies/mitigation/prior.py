"""Prior matching: scores are shifted until the classes' shares are those that somebody states (arXiv 2309.04992).

No label is used. No number of it on FairFace has been published.
"""

import numpy as np

from clipeval.errors import ParameterError

#: how near the shares come to the prior
NEAR = 1e-8
_MOST_STEPS = 200


def match_prior(logits: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """What is added to each class's logit so that the mean probability of each class is its prior.

    Parameters
    ----------
    logits : array (n, classes), of images without labels; their softmax is the probability
    prior : array (classes,), fractions above 0 that add up to 1

    Returns
    -------
    ndarray (classes,), float64, mean 0

    Raises
    ------
    ParameterError  if `prior` is not a distribution in which every class has a share
    """
    logits, prior = np.asarray(logits, np.float64), np.asarray(prior, np.float64)
    if not (prior > 0).all() or abs(prior.sum() - 1) > 1e-9:
        raise ParameterError(
            f"shares of a prior must be above 0 and add up to 1; these are {prior.tolist()}."
        )
    shift = np.zeros(len(prior))
    value, share, curve = _convex(logits, prior, shift)
    for _ in range(_MOST_STEPS):
        if np.abs(share - prior).max() < NEAR:
            break
        # of one class alone nothing follows: shifts that are the same for all change no probability
        step = np.linalg.solve(curve + 1 / len(prior), prior - share)
        size, slope = 1.0, (prior - share) @ step
        while size > 1e-10:
            found = _convex(logits, prior, shift + size * step)
            if found[0] <= value - 1e-4 * size * slope:
                break
            size /= 2
        else:
            break  # as near as numbers of 64 bits come
        shift, (value, share, curve) = shift + size * step, found
    return shift - shift.mean()


def _convex(logits, prior, shift) -> tuple[float, np.ndarray, np.ndarray]:
    """What is least where the shares are the prior, with the shares and its second derivative."""
    moved = logits + shift
    most = moved.max(axis=1, keepdims=True)
    odds = np.exp(moved - most)
    total = odds.sum(axis=1, keepdims=True)
    prob = odds / total
    share = prob.mean(axis=0)
    value = float((np.log(total) + most).mean() - prior @ shift)
    curve = np.diag(share) - prob.T @ prob / len(prob)
    return value, share, curve + 1e-10 * np.eye(len(prior))
