"""Do the data agree with the fitted mixture? Quantiles against quantiles, and the calibration of the CDF.

Both need only the data and the answer; nothing is fitted again. Kolmogorov's band holds for a distribution that was
fixed beforehand; how far a fitted one deviates is in `deviations`.

Sample weights are counts: a datum of weight 3 is equivalent to three equal data.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Real

from gmm_pipeline.model.natural import Mixture

BISECTIONS = 100
"""Bisections that reduce an interval of doubles to neighbours, except next to zero, where nothing is drawn."""
FARTHEST = 38.5
"""Standard deviations, beyond which Φ is below every double."""
FEW_DATA = 50
"""Fewer observations are too few for the asymptotic theory."""


class Uniform(NamedTuple):
    """The noise of one column as a distribution: uniform between the smallest and the largest datum."""

    weight: float
    """What the weights of the components lack to sum to one."""
    low: float
    high: float

    def cdf(self, points: Float[np.ndarray, " P"]) -> Float[np.ndarray, " P"]:
        """w₀ (x − low) / (high − low), from 0 to w₀."""
        return self.weight * np.clip((points - self.low) / (self.high - self.low), 0.0, 1.0)

    def density(self, points: Float[np.ndarray, " P"]) -> Float[np.ndarray, " P"]:
        """Of the noise alone: 1 / (high − low) within its range, and 0 beyond."""
        return ((points >= self.low) & (points <= self.high)) / (self.high - self.low)


class Sites(NamedTuple):
    """The distinct values of the data, increasing, and how often each occurs."""

    values: Float[np.ndarray, " S"]
    counts: Float[np.ndarray, " S"]

    @property
    def total(self) -> float:
        """The number of observations, n."""
        return float(self.counts.sum())


class Quantiles(NamedTuple):
    """Quantiles of the data and the mixture at the same probabilities, with a pointwise band."""

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
        """The largest share of the data at one site: rounding alone leads to a D of half of it."""
        return float(np.max(self.after - self.before))

    @property
    def is_rounded(self) -> bool:
        """Whether ties in the data contribute to D."""
        return self.largest_step > 0.5 * self.largest and self.total * self.largest_step > 1.5


def sites_of(data: Real[np.ndarray, " n"], sample_weights: Real[np.ndarray, " n"] | None) -> Sites:
    """Group the data of positive weight by value.

    Args:
        data: [n], x.
        sample_weights: [n], how often each datum counts; None for once each.
    """
    values = np.asarray(data, np.float64)
    counts = np.ones_like(values) if sample_weights is None else np.asarray(sample_weights, np.float64)
    counted = counts > 0.0
    sites, which = np.unique(values[counted], return_inverse=True)
    return Sites(sites, np.bincount(which, counts[counted], minlength=len(sites)))


def cdf(mixture: Mixture, points: Float[np.ndarray, " P"], noise: Uniform | None = None) -> Float[np.ndarray, " P"]:
    """F(x) = Σ_j w_j Φ((x − μ_j)/σ_j), and that of the noise.

    Args:
        mixture: K components, weights of sum one, or of what the noise leaves.
        points: [P], x, in the unit of the mixture.
        noise: None without noise.
    """
    total = np.zeros(len(points)) if noise is None else noise.cdf(points)
    for weight, loc, scale in zip(*mixture, strict=True):
        total += weight * _normal_cdf((points - loc) / scale)
    return total


def _normal_cdf(points: Float[np.ndarray, " P"]) -> Float[np.ndarray, " P"]:
    """Φ, by the standard library's erfc: importing SciPy takes longer than all evaluations of a fit."""
    return 0.5 * np.fromiter(map(math.erfc, (-points / math.sqrt(2.0)).tolist()), np.float64, len(points))


def quantile(
    mixture: Mixture, probabilities: Float[np.ndarray, " P"], noise: Uniform | None = None
) -> Float[np.ndarray, " P"]:
    """The inverse of the CDF, by bisection.

    Args:
        mixture: with weights of sum one, or of what the noise leaves.
        probabilities: between 0 and 1, exclusively.
        noise: None without noise.
    """
    present = mixture.weights > 0.0
    reach = FARTHEST * mixture.scales[present]
    ends = [np.min(mixture.locs[present] - reach), np.max(mixture.locs[present] + reach)]
    if noise is not None:
        ends = [min(ends[0], noise.low), max(ends[1], noise.high)]
    low, high = (np.full(len(probabilities), end) for end in ends)
    for _ in range(BISECTIONS):
        middle = 0.5 * (low + high)
        above = cdf(mixture, middle, noise) >= probabilities
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return 0.5 * (low + high)


def quantiles(sites: Sites, mixture: Mixture, *, noise: Uniform | None = None, level: float, most: int) -> Quantiles:
    """Quantiles of the data against the mixture's, with a pointwise band for each.

    The i-th of n uniform data is Beta(i, n + 1 − i); with p = (i − ½)/n this is Beta(np + ½, n(1 − p) + ½), which also
    applies to data that count more than once, at the middle of their step.

    Args:
        sites: the data.
        mixture: fitted.
        noise: None without noise.
        level: probability of the band, pointwise.
        most: number of quantiles, spaced evenly in normal scores, so that the tails are covered.
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
        quantile(mixture, probabilities, noise),
        *(quantile(mixture, end, noise) for end in ends),
    )


def calibration(sites: Sites, mixture: Mixture, noise: Uniform | None = None) -> Calibration:
    """The probability integral transform of the data, and the empirical CDF beside it.

    Args:
        sites: the data.
        mixture: fitted, in the unit of the data.
        noise: None without noise.
    """
    after = np.cumsum(sites.counts) / sites.total
    return Calibration(cdf(mixture, sites.values, noise), np.append(0.0, after[:-1]), after, sites.total)


def kolmogorov(level: float) -> float:
    """The value that √n D does not exceed with the level's probability for a mixture fixed beforehand."""
    from scipy.special import kolmogi

    return float(kolmogi(1.0 - level))
