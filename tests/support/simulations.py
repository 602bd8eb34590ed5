"""Data sets simulated at the published sizes, and whether an interval holds the truth or a test rejects in each.

Every function returns a `Simulate`: of a generator and a number of data sets, to a bool array, one a data set.
"""

from collections.abc import Callable

import numpy as np

from clipeval import stats
from clipeval.classify.multilabel import Scores, category_shares
from clipeval.stats.differences import difference_ends
from clipeval.stats.gaps import against_all, largest_gap, largest_skew, permutation_p
from clipeval.stats.paired import _mcnemar, newcombe_paired
from clipeval.stats.picks import picked_confidence
from clipeval.stats.skew_draws import around, measures, redrawn

#: images of FairFace's validation split, and of a run with limit 1500
RACES = np.array([2085, 1556, 1516, 1550, 1415, 1623, 1209])
AGES = np.array([199, 1356, 1181, 3300, 2330, 1353, 796, 321, 118])
GENDERS = np.array([5792, 5162])
RACES_GENDERS = np.array([1122, 963, 799, 757, 753, 763, 777, 773, 735, 680, 813, 396, 793, 830])
SMALL = {"races": RACES * 1500 // RACES.sum(), "ages": AGES * 1500 // AGES.sum()}
#: men and women among the Members of Congress
CONGRESS = np.array([430, 110])
#: frames of each sequence: the paper's 515 over 12, very unequal ones, and seven short clips
TWELVE, UNEQUAL = np.full(12, 43), np.array([2, 4, 8, 10, 15, 20, 30, 45, 60, 80, 100, 141])
SEVEN = np.array([5, 10, 20, 30, 40, 54, 80])
#: 100 people of 30 photographs
PEOPLE = np.full(100, 30)

Simulate = Callable[[np.random.Generator, int], np.ndarray]


def each(one: Callable[[np.random.Generator], object]) -> Simulate:
    """Simulate data set by data set."""
    return lambda rng, seeds: np.array([one(rng) for _ in range(seeds)])


def holds(ends, truth) -> bool:
    return bool(ends[0] <= truth <= ends[1])


def one_rate(n: int, rate: float, confidence: float = 0.95) -> Simulate:
    def simulate(rng, seeds):
        low, high = stats.wilson(rng.binomial(n, rate, seeds), n, confidence)
        return (low <= rate) & (rate <= high)

    return simulate


def mean_of_rates(n, miss: float) -> Simulate:
    rates = 1 - miss * np.array([0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75])
    return each(lambda rng: holds(stats.mean_rate(rng.binomial(n, rates), n)[1:], rates.mean()))


def group_against_all(n, group: int, base: float, rate: float, ratio: bool) -> Simulate:
    rates = with_one(n, group, base, rate)
    overall = (n * rates).sum() / n.sum()
    truth = rates[group] / overall if ratio else rates[group] - overall

    def one(rng):
        ends = against_all(rng.binomial(n, rates), n)
        return holds([end[group] for end in ends[2 * ratio : 2 * ratio + 2]], truth)

    return each(one)


def with_one(n, group: int, base: float, rate: float) -> np.ndarray:
    """The base rate for all groups but one."""
    rates = np.full(len(n), base)
    rates[group] = rate
    return rates


def gap(n, rates) -> Simulate:
    return each(lambda rng: holds(largest_gap(rng.binomial(n, rates), n), np.ptp(rates)))


def both_hold(found: stats.Extremes, truth: float) -> bool:
    """Whether the intervals of the highest and of the lowest group hold what is true of both."""
    ends = (found.highest_low, found.highest_high), (found.lowest_low, found.lowest_high)
    return all(holds(pair, truth) for pair in ends)


def picked(n, rate: float) -> Simulate:
    """Both picked intervals hold."""

    def one(rng):
        found = stats.extreme_rates(rng.binomial(n, rate), n)
        return both_hold(found, rate)

    return each(one)


def said_to_differ(n, rate: float) -> Simulate:
    return each(lambda rng: stats.extreme_rates(rng.binomial(n, rate), n).differ)


def card_picks(n, rate: float) -> Simulate:
    """The highest of several groups, as the card widens its interval."""

    def one(rng):
        count = rng.binomial(n, rate)
        first = np.argmax(count / n)
        return holds(stats.clopper_pearson(count[first], n[first], picked_confidence(len(n))), rate)

    return each(one)


def change_picks(n, chances, differ: bool) -> Simulate:
    """Extremes of paired changes; chances of both, only after, only before, neither."""
    truth = chances[1] - chances[2]

    def one(rng):
        both, won, lost, _ = rng.multinomial(n, chances).T
        found = stats.extremes(
            (won - lost) / n, lambda level: newcombe_paired(both, won, lost, n, level)
        )
        return found.differ if differ else both_hold(found, truth)

    return each(one)


def gap_test(n, rates, compare: bool = False, alpha: float = 0.05) -> Simulate:
    """Rejections of the permutation test, and beside them of scipy's chi-squared if asked for."""

    def one(rng):
        count = rng.binomial(n, rates)
        seed = int(rng.integers(2**31))
        ours = permutation_p(count, n, n_boot=999, seed=seed) < alpha
        return (ours, chi_squared(count, n) < alpha) if compare else ours

    return each(one)


def chi_squared(count, n) -> float:
    from scipy.stats import chi2_contingency

    return chi2_contingency([count, n - count], correction=False).pvalue


def label_test(rates, n=CONGRESS, tests: int = 1) -> Simulate:
    """p value of one label against gender; each data set is a label."""
    gender = np.repeat(np.arange(len(n)), n)

    def simulate(rng, seeds):
        hits = np.concatenate([rng.random((m, seeds)) < p for m, p in zip(n, rates, strict=True)])
        return (stats.chi2_by_label(hits, gender)["p"] < 0.05 / tests).to_numpy()

    return simulate


def labels_corrected(rates, correction: str) -> Simulate:
    """Whether any of many labels that do not differ is found."""
    gender = np.repeat([0, 1], CONGRESS)

    def one(rng):
        hits = rng.random((len(gender), len(rates))) < rates
        return stats.chi2_by_label(hits, gender, correction=correction)["p_adjusted"].min() < 0.05

    return each(one)


def paired_change(n: int, chances) -> Simulate:
    def simulate(rng, seeds):
        both, won, lost, _ = rng.multinomial(n, chances, size=seeds).T
        low, high = newcombe_paired(both, won, lost, n, 0.95)
        truth = chances[1] - chances[2]
        return (low <= truth) & (truth <= high)

    return simulate


def mcnemar(n: int, changed: float) -> Simulate:
    def one(rng):
        lost, won, _ = rng.multinomial(n, [changed / 2, changed / 2, 1 - changed])
        return _mcnemar(lost, won, n)[0] < 0.05

    return each(one)


def alike(rng, sizes, rate: float, icc: float) -> tuple[np.ndarray, np.ndarray]:
    """Hits of images in clusters whose own rates vary (beta); cluster of each image."""
    scale = (1 - icc) / icc
    rates = rng.beta(rate * scale, (1 - rate) * scale, len(sizes))
    clusters = np.repeat(np.arange(len(sizes)), sizes)
    return rng.random(len(clusters)) < rates[clusters], clusters


def cluster_rate(sizes, rate: float, icc: float) -> Simulate:
    def one(rng):
        found = stats.cluster_bootstrap(*alike(rng, sizes, rate, icc), n_boot=1000)
        return holds((found.ci_low, found.ci_high), 100 * rate)

    return each(one)


def two_models(sizes, rate: float, icc: float, test: bool = False) -> Simulate:
    """The difference of two models that are alike, on the same images in clusters."""
    from clipeval.runs.compare import sign_flip

    def one(rng):
        (a, clusters), (b, _) = alike(rng, sizes, rate, icc), alike(rng, sizes, rate, icc)
        if test:
            return sign_flip(b.astype(int) - a, clusters) < 0.05
        found = stats.paired_bootstrap(a, b, clusters=clusters, n_boot=1000)
        return holds((found.ci_low, found.ci_high), 0)

    return each(one)


def label_shares(n: int) -> Simulate:
    """Share of a category among the labels given: three of twelve, images that carry from 1 to 6."""
    labels = [f"label {i}" for i in range(12)]
    categories = {name: "first" if i < 3 else "second" for i, name in enumerate(labels)}

    def one(rng):
        base = rng.beta(2, 4, n)[:, None]
        rates = np.where(np.arange(12) < 3, base, 0.25)
        prob = np.where(rng.random((n, 12)) < rates, 0.9, 0.001)
        scores = Scores("labels", labels, prob, np.array(["F"] * n, dtype=object), ["F"])
        row = category_shares(scores, 50, categories, n_boot=400).iloc[0]
        return holds((row["ci_low"], row["ci_high"]), 100 * 1.0 / (1.0 + 9 * 0.25))

    return each(one)


def choices(shape, effects=(), coverage: bool = False) -> Simulate:
    """Whether any choice is named, or whether the first one's excess over chance is covered."""
    levels = [np.linspace(-1, 1, n) * e for n, e in zip(shape, effects, strict=False)]
    signal, noncentral = np.zeros(shape), np.zeros(len(shape))
    for axis, level in enumerate(levels):
        signal += np.expand_dims(level, [a for a in range(len(shape)) if a != axis])
        noncentral[axis] = signal.size / len(level) * (level**2).sum()
    truth = 100 * noncentral[0] / (noncentral.sum() + signal.size)

    def one(rng):
        table = stats.factor_tests(signal + rng.normal(size=shape), list("abc")[: len(shape)])
        if coverage:
            return holds(table[["excess_low", "excess_high"]].to_numpy()[0], truth)
        return stats.leading_factor(table) is not None

    return each(one)


def gap_change(n, chances) -> Simulate:
    """Change of a gap between two groups (MOVER of their paired changes); chances as in `change_picks`, by group."""
    truth = np.subtract(*[c[1] - c[2] for c in chances])

    def one(rng):
        moved, ends = [], []
        for size, chance in zip(n, chances, strict=True):
            both, won, lost, _ = rng.multinomial(size, chance)
            moved.append((won - lost) / size)
            ends.append(newcombe_paired(both, won, lost, size, 0.95))
        return holds(difference_ends(moved[0], ends[0], moved[1], ends[1]), truth)

    return each(one)


def skew_of_hits(n, rates) -> Simulate:
    truth = max(np.log(rates / ((n * rates).sum() / n.sum())).max(), 0)
    return each(lambda rng: holds(largest_skew(rng.binomial(n, rates), n), truth))


def skew_of_search(n, k: int, metric: int, control: bool = False) -> Simulate:
    """MaxSkew@k (0) or NDKL@k (1) of two prompts, whose truth is what samples of as many images have on average.

    The control is the percentile interval of the same draws, which lies too high.
    """
    share, effect = n / n.sum(), np.linspace(-0.5, 0.5, len(n))

    def sample(rng):
        codes = rng.choice(len(n), n.sum(), p=share)
        own, common = rng.standard_normal((2, len(codes))), rng.standard_normal(len(codes))
        return codes, np.argsort(-(own + common + np.stack([effect, -effect])[:, codes]), axis=1)

    def value(codes, positions, often):
        target = np.stack([np.bincount(codes, drawn, len(n)) for drawn in often])
        shares = target / target.sum(axis=1, keepdims=True)
        return measures(codes, positions, shares[None], [k])[:, metric, 0, 0]

    def seen(codes, order):
        return value(codes, order[:, :k].T[..., None], [None])[0]

    def simulate(rng, seeds):
        samples = (sample(np.random.default_rng([7, i])) for i in range(400))
        truth = np.mean([seen(codes, order) for codes, order in samples])

        def one(rng):
            codes, order = sample(rng)
            [drawn] = redrawn(order, k, draws=60, seed=int(rng.integers(2**31)))
            draws = value(codes, *drawn)
            if control:
                return holds(np.percentile(draws, [2.5, 97.5]), truth)
            return holds(around(seen(codes, order), draws), truth)

        return each(one)(rng, seeds)

    return simulate
