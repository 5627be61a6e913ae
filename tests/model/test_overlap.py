from itertools import pairwise

import numpy as np
import pytest
from conftest import ROUNDING_64
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import integrate, optimize, stats

from gmm_pipeline.model.mixture import Mixture
from gmm_pipeline.model.overlap import overlap

QUADRATURE = 1e-10
"""Absolute; of roots and integrals by SciPy."""


def mixture(weights, locs, scales) -> Mixture:
    weights = np.asarray(weights, float)
    return Mixture(weights / weights.sum(), np.asarray(locs, float), np.asarray(scales, float))


@st.composite
def mixtures(draw):
    def numbers(elements):
        return draw(arrays(np.float64, 3, elements=elements))

    return mixture(numbers(st.floats(0.05, 1)), numbers(st.floats(-5, 5)), numbers(st.floats(0.2, 5)))


def log_ratio(given: Mixture, i: int, j: int, x):
    """Of j to i."""
    log_joint = [np.log(given.weights[k]) + stats.norm.logpdf(x, given.locs[k], given.scales[k]) for k in (i, j)]
    return log_joint[1] - log_joint[0]


def by_quadrature(given: Mixture, i: int, j: int) -> float:
    """The density of i, integrated between the changes of sign that a grid and bisection find."""

    def ratio(x):
        return log_ratio(given, i, j, x)

    grid = given.locs[i] + given.scales[i] * np.linspace(-12.1, 12, 4001)
    changes = np.flatnonzero(np.diff(ratio(grid) > 0))
    edges = [optimize.brentq(ratio, grid[k], grid[k + 1], xtol=1e-13) for k in changes]
    bounds = [grid[0], *edges, grid[-1]]
    return sum(
        integrate.quad(stats.norm.pdf, low, high, args=(given.locs[i], given.scales[i]), epsabs=1e-12, limit=200)[0]
        for low, high in pairwise(bounds)
        if ratio(0.5 * (low + high)) > 0
    )


@pytest.mark.parametrize(
    "given_mixture",
    [
        mixture([1, 5], [-2, 5], [1.1, 2]),
        mixture([1, 1], [0, 0], [1, 3]),
        mixture([1, 20], [0, 0], [1, 3]),
        mixture([20, 1], [0, 0], [1, 3]),
        mixture([1, 2], [0, 1], [1, 1]),
        mixture([1, 2], [0, 1], [1, 1 + 1e-9]),
        mixture([2, 10, 1, 6], [-2, -5, 3, 8], [1.1, 2, 1, 1.5]),
    ],
)
def test_overlap_equals_quadrature(given_mixture):
    found = overlap(given_mixture).misclassification
    for i in range(len(found)):
        for j in set(range(len(found))) - {i}:
            np.testing.assert_allclose(found[i, j], by_quadrature(given_mixture, i, j), rtol=0, atol=QUADRATURE)


@pytest.mark.parametrize("equal_scales", [True, False])
def test_overlap_equals_monte_carlo(equal_scales):
    random = np.random.default_rng(0)
    n_draws = 20_000
    for _ in range(10):
        scales = np.full(3, 1.5) if equal_scales else random.uniform(0.3, 3, 3)
        given_mixture = mixture(random.uniform(0.1, 1, 3), random.uniform(-3, 3, 3), scales)
        found = overlap(given_mixture).misclassification
        for i, j in [(0, 1), (1, 0), (1, 2), (2, 0)]:
            draws = random.normal(given_mixture.locs[i], given_mixture.scales[i], n_draws)
            share = np.mean(log_ratio(given_mixture, i, j, draws) > 0)
            # Four standard errors, and a few draws for shares near none or all.
            allowed = 4 * np.sqrt(found[i, j] * (1 - found[i, j]) / n_draws) + 4 / n_draws
            assert abs(share - found[i, j]) < allowed


@given(st.floats(0.05, 0.95), st.floats(0.1, 6))
def test_equal_scales_have_a_closed_form(share, separation):
    found = overlap(mixture([share, 1 - share], [0, separation], [1, 1])).misclassification
    odds = np.log((1 - share) / share)
    np.testing.assert_allclose(found[0, 1], stats.norm.cdf(-separation / 2 + odds / separation), rtol=1e-9)
    np.testing.assert_allclose(found[1, 0], stats.norm.cdf(-separation / 2 - odds / separation), rtol=1e-9)


@pytest.mark.parametrize("separation", [8.0, 20.0, 40.0])
def test_small_overlaps_keep_their_digits(separation):
    for scales in ([1, 1], [1, 1 + 1e-12], [1 + 1e-12, 1]):
        found = overlap(mixture([1, 1], [0, separation], scales)).pairwise[0, 1]
        np.testing.assert_allclose(found, 2 * stats.norm.sf(separation / 2), rtol=1e-9)


@given(mixtures(), st.sampled_from([1e-6, 0.1, 1e6]), st.floats(-1e3, 1e3))
def test_no_unit_and_no_order_matters(given_mixture, factor, shift):
    found = overlap(given_mixture)
    moved = overlap(
        Mixture(given_mixture.weights, factor * (given_mixture.locs + shift), factor * given_mixture.scales)
    )
    np.testing.assert_allclose(moved.misclassification, found.misclassification, atol=1e-6)
    turned = overlap(Mixture(*(leaf[::-1].copy() for leaf in given_mixture)))
    np.testing.assert_array_equal(turned.misclassification, found.misclassification[::-1, ::-1])


@given(mixtures())
def test_summaries_are_of_the_pairs(given_mixture):
    found = overlap(given_mixture)
    pairs = [found.misclassification[i, j] + found.misclassification[j, i] for i, j in ((0, 1), (0, 2), (1, 2))]
    np.testing.assert_allclose([found.pairwise[0, 1], found.pairwise[0, 2], found.pairwise[1, 2]], pairs)
    np.testing.assert_allclose([found.maximum, found.average], [max(pairs), np.mean(pairs)], rtol=ROUNDING_64)
    np.testing.assert_array_equal(np.diag(found.pairwise), 0.0)
    assert np.all((found.misclassification >= 0) & (found.misclassification <= 1))


def test_components_alike_overlap_wholly():
    equal = overlap(mixture([1, 1], [2, 2], [3, 3]))
    assert equal.misclassification[0, 1] == equal.misclassification[1, 0] == 0.5
    one_is_heavier = overlap(mixture([1, 2], [2, 2], [3, 3]))
    assert (one_is_heavier.misclassification[0, 1], one_is_heavier.misclassification[1, 0]) == (1.0, 0.0)
    assert equal.maximum == one_is_heavier.maximum == 1.0


def test_a_narrow_light_component_in_a_wide_heavy_one_may_claim_nothing():
    assert overlap(mixture([1e-6, 1], [0, 0], [0.5, 1])).misclassification[1, 0] == 0.0
    assert overlap(mixture([1e-6, 1], [0, 0], [0.5, 1])).misclassification[0, 1] == 1.0


def test_a_single_component_overlaps_with_nothing():
    found = overlap(mixture([1], [3], [2]))
    assert (found.maximum, found.average, found.misclassification.tolist()) == (0.0, 0.0, [[1.0]])


def test_what_went_wrong_says_so_and_raises_nothing():
    for weights, locs, scales in (
        ([0.5, 0.5], [np.nan, 0.0], [1, 1]),
        ([0.5, 0.5], [0.0, 1.0], [0.0, 1]),
        ([0.5, 0.5], [0.0, 1.0], [1, np.inf]),
    ):
        assert np.isnan(overlap(mixture(weights, locs, scales)).maximum)
    assert overlap(mixture([1.0, 0.0], [0.0, 1.0], [1, 2])).misclassification[0, 1] == 0.0
    assert overlap(mixture([1.0, 0.0], [0.0, 1.0], [1, 2])).misclassification[1, 0] == 1.0
    assert np.isfinite(overlap(mixture([1, 1], [0, 1e50], [1e-30, 1.0])).pairwise).all()
