"""Do the data agree with the fitted mixture: quantiles against quantiles, and the calibration of the CDF.

Both are of the data and the answer alone; nothing is fitted again. Kolmogorov's band is of a distribution that was
fixed beforehand, while this one was fitted to the same data, which draws the two together. What is left of the
deviation √n (F_n − F) is then a Gaussian process (Durbin 1973): white noise over F without what the parameters took of
it, its projection on their scores ∂log p/∂θ, summed up to F(x). Its largest value is simulated, in milliseconds. The
price: it holds for many data and an optimum of the likelihood; a prior that counts against so many data is not in it,
nor is the choice of the number of components.

Sample weights are counts: a datum of weight 3 says what three equal data say.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Real

from gmm_pipeline.model import portable
from gmm_pipeline.model.natural import Mixture

BISECTIONS = 100
"""Halve an interval of doubles down to neighbours, but for those next to zero, where nothing is drawn."""
FARTHEST = 38.5
"""Standard deviations, beyond which Φ is below every double."""
CELLS = 400
"""Of equal probability, over which the process is simulated."""
CONTINUITY = 0.5826
"""The largest value of a Wiener process between grid points, in √(width of a cell) (Broadie, Glasserman & Kou 1997)."""
FEW_DATA = 50
"""Fewer are too few for what holds for many."""
LEAST_DATA = 10.0
"""A component on fewer has its parameters from a prior or from chance: it is not counted as fitted."""
DEPENDENT = 1e-6
"""Scores that are so much shorter than others once these are taken out say nothing of their own."""


class Sites(NamedTuple):
    """The distinct data, increasing, and how often each came."""

    values: Float[np.ndarray, " S"]
    counts: Float[np.ndarray, " S"]

    @property
    def total(self) -> float:
        """The number of data, n."""
        return float(self.counts.sum())


class Quantiles(NamedTuple):
    """Data against the mixture at the same probabilities, and where a datum would lie with the level's probability."""

    probabilities: Float[np.ndarray, " Q"]
    data: Float[np.ndarray, " Q"]
    fitted: Float[np.ndarray, " Q"]
    lower: Float[np.ndarray, " Q"]
    upper: Float[np.ndarray, " Q"]

    @property
    def share_within(self) -> float:
        """Share of the quantiles that lie in the band."""
        return float(np.mean((self.data >= self.lower) & (self.data <= self.upper)))


class Calibration(NamedTuple):
    """How far the empirical CDF is from the fitted one, at each datum."""

    fitted: Float[np.ndarray, " S"]
    """F(x) of each site."""
    before: Float[np.ndarray, " S"]
    """F_n just below each site, and at it."""
    after: Float[np.ndarray, " S"]
    total: float

    @property
    def largest(self) -> float:
        """Kolmogorov's D = sup |F_n − F|."""
        return float(max(np.max(self.after - self.fitted), np.max(self.fitted - self.before)))

    @property
    def largest_step(self) -> float:
        """The largest share of the data that is at one site: rounding alone leaves a D of half of it."""
        return float(np.max(self.after - self.before))

    @property
    def is_rounded(self) -> bool:
        """Whether data that are equal have a part in D."""
        return self.largest_step > 0.5 * self.largest and self.total * self.largest_step > 1.5


class Null(NamedTuple):
    """What √n D would be, were the data of the mixture and the mixture fitted to them."""

    fitted: float
    """Not exceeded with the level's probability, where the mixture was fitted to the data."""
    p_value: float
    """Probability of a deviation at least as large."""


def sites_of(data: Real[np.ndarray, " n"], sample_weights: Real[np.ndarray, " n"] | None) -> Sites:
    """Data that count, gathered by value.

    Args:
        data: [n], x.
        sample_weights: [n], how often each datum counts; None for once each.
    """
    values = np.asarray(data, np.float64)
    counts = np.ones_like(values) if sample_weights is None else np.asarray(sample_weights, np.float64)
    counted = counts > 0.0
    sites, which = np.unique(values[counted], return_inverse=True)
    return Sites(sites, np.bincount(which, counts[counted], minlength=len(sites)))


def cdf(mixture: Mixture, points: Float[np.ndarray, " P"]) -> Float[np.ndarray, " P"]:
    """F(x) = Σ_j w_j Φ((x − μ_j)/σ_j).

    Args:
        mixture: K components, weights of sum one.
        points: [P], x, in the unit of the mixture.
    """
    total = np.zeros(len(points))
    for weight, loc, scale in zip(*mixture, strict=True):
        total += weight * _normal_cdf((points - loc) / scale)
    return total


def _normal_cdf(points: Float[np.ndarray, " P"]) -> Float[np.ndarray, " P"]:
    """Φ, by the standard library's erfc: importing SciPy's takes longer than all that a fit asks of it."""
    return 0.5 * np.fromiter(map(math.erfc, (-points / math.sqrt(2.0)).tolist()), np.float64, len(points))


def quantile(mixture: Mixture, probabilities: Float[np.ndarray, " P"]) -> Float[np.ndarray, " P"]:
    """The inverse of the CDF, by bisection.

    Args:
        mixture: with weights of sum one.
        probabilities: between 0 and 1, exclusively.
    """
    present = mixture.weights > 0.0
    reach = FARTHEST * mixture.scales[present]
    low = np.full(len(probabilities), np.min(mixture.locs[present] - reach))
    high = np.full(len(probabilities), np.max(mixture.locs[present] + reach))
    for _ in range(BISECTIONS):
        middle = 0.5 * (low + high)
        above = cdf(mixture, middle) >= probabilities
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return 0.5 * (low + high)


def quantiles(sites: Sites, mixture: Mixture, *, level: float, most: int) -> Quantiles:
    """Quantiles of the data against the mixture's, with a pointwise band for each.

    The i-th of n uniform data is Beta(i, n + 1 − i); with p = (i − ½)/n this is Beta(np + ½, n(1 − p) + ½), which also
    serves data that count more than once, at the middle of their step.

    Args:
        sites: the data.
        mixture: fitted.
        level: probability of the band, for each quantile by itself.
        most: quantiles to give, evenly over the normal scores, so that the tails have theirs.
    """
    from scipy.special import betaincinv, ndtri

    total = sites.total
    middles = (np.cumsum(sites.counts) - 0.5 * sites.counts) / total
    chosen = np.arange(len(middles))
    if len(middles) > most:
        normal_scores = ndtri(middles)
        wanted = np.linspace(normal_scores[0], normal_scores[-1], most)
        chosen = np.unique(np.clip(np.searchsorted(normal_scores, wanted), 0, len(middles) - 1))
    probabilities = middles[chosen]
    shape = total * probabilities + 0.5, total * (1.0 - probabilities) + 0.5
    tail = 0.5 * (1.0 - level)
    tiny = np.finfo(np.float64).tiny
    ends = [np.clip(betaincinv(*shape, end), tiny, 1.0 - 1e-16) for end in (tail, 1.0 - tail)]
    return Quantiles(
        probabilities,
        sites.values[chosen],
        quantile(mixture, probabilities),
        *(quantile(mixture, end) for end in ends),
    )


def calibration(sites: Sites, mixture: Mixture) -> Calibration:
    """The probability integral transform of the data, and the empirical CDF beside it.

    Args:
        sites: the data.
        mixture: fitted, in the unit of the data.
    """
    after = np.cumsum(sites.counts) / sites.total
    return Calibration(cdf(mixture, sites.values), np.append(0.0, after[:-1]), after, sites.total)


def kolmogorov(level: float) -> float:
    """What √n D does not exceed with the level's probability, were the mixture fixed beforehand."""
    from scipy.special import kolmogi

    return float(kolmogi(1.0 - level))


def null_of(
    largest: float,
    mixture: Mixture,
    *,
    total: float,
    equal_scales: bool,
    level: float,
    simulations: int,
    seed: int,
) -> Null:
    """How large √n D may be, and how probable one as large is, were the data of the fitted mixture.

    Args:
        largest: D.
        mixture: fitted by maximum likelihood, no component degenerate.
        total: n.
        equal_scales: the components share one scale, so that there are fewer parameters.
        level: of the bands.
        simulations: of the process.
        seed: of the simulations.
    """
    fitted = mixture.weights * total >= LEAST_DATA
    suprema = np.sort(_suprema(mixture, fitted, equal_scales=equal_scales, simulations=simulations, seed=seed))
    above = np.count_nonzero(suprema >= math.sqrt(total) * largest)
    index = min(math.ceil(level * simulations), simulations - 1)
    return Null(float(suprema[index]), (above + 1) / (simulations + 1))


def _suprema(
    mixture: Mixture, fitted: Bool[np.ndarray, " K"], *, equal_scales: bool, simulations: int, seed: int
) -> Float[np.ndarray, " simulations"]:
    """The largest absolute value of the process in each simulation; with no component fitted, of a Brownian bridge."""
    middles = quantile(mixture, (np.arange(CELLS) + 0.5) / CELLS)
    taken = np.concatenate([np.ones((1, CELLS)), scores(mixture, middles, fitted, equal_scales=equal_scales)]).T
    basis, lengths, _ = np.linalg.svd(taken / np.linalg.norm(taken, axis=0), full_matrices=False)
    basis = basis[:, lengths > DEPENDENT * lengths[0]]
    noise = np.random.default_rng(seed).standard_normal((simulations, CELLS))
    paths = np.cumsum(noise - (noise @ basis) @ basis.T, axis=1) / math.sqrt(CELLS)
    return np.abs(paths).max(axis=1) + CONTINUITY / math.sqrt(CELLS)


def scores(
    mixture: Mixture, points: Float[np.ndarray, " P"], fitted: Bool[np.ndarray, " K"], *, equal_scales: bool
) -> Float[np.ndarray, "parameters P"]:
    """∂log p/∂θ of a datum, for weights, locs and scales.

    The weights are taken one by one, though they sum to one: the direction too many, Σ_j w_j ∂log p/∂w_j = 1, is that
    of all distributions, which the process leaves out anyway.

    Args:
        mixture: of K components.
        points: where.
        fitted: whose parameters are meant; each has some weight.
        equal_scales: one scale, of all components, instead of K.
    """
    _, all_responsibilities = portable.evaluate(*mixture, points)
    weights, locs, scales = (values[fitted] for values in mixture)
    responsibilities = all_responsibilities[fitted]
    standardised = (points - locs[:, None]) / scales[:, None]
    of_scales = responsibilities * (standardised**2 - 1.0) / scales[:, None]
    return np.concatenate(
        [
            responsibilities / weights[:, None],
            responsibilities * standardised / scales[:, None],
            of_scales.sum(axis=0, keepdims=True) if equal_scales else of_scales,
        ]
    )
