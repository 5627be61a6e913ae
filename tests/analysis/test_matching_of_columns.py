"""Matching of mixtures of several columns, against the densities of SciPy and the formula of one column."""

# SciPy's results have no types, and what is compared here is never None.
# pyright: reportArgumentType=false, reportAssignmentType=false, reportAttributeAccessIssue=false
# pyright: reportCallIssue=false

import itertools
import math

import numpy as np
import pytest
from conftest import ROUNDING_64
from scipy import integrate, linalg, stats

from gmm_pipeline.analysis.bootstrap import percentile_intervals
from gmm_pipeline.analysis.matching import (
    LargestErrors,
    distances,
    in_order_of,
    largest_errors,
    match,
    matched_truth,
    z_scores,
)
from gmm_pipeline.analysis.recovery import worst_error
from gmm_pipeline.model.natural import Mixture, MultivariateErrors, MultivariateMixture, taken

RANDOM = np.random.default_rng(0)


def random_mixture(n_components: int, n_columns: int) -> MultivariateMixture:
    factors = RANDOM.normal(size=(n_components, n_columns, n_columns))
    return MultivariateMixture(
        RANDOM.dirichlet(np.ones(n_components)),
        RANDOM.normal(size=(n_components, n_columns)),
        factors @ np.swapaxes(factors, -2, -1) + 0.2 * np.eye(n_columns),
    )


def mapped(mixture: MultivariateMixture, matrix: np.ndarray, shift: np.ndarray) -> MultivariateMixture:
    return MultivariateMixture(
        mixture.weights, mixture.locs @ matrix.T + shift, matrix @ mixture.covariances @ matrix.T
    )


def in_one_column(mixture: Mixture) -> MultivariateMixture:
    return MultivariateMixture(mixture.weights, mixture.locs[:, None], mixture.scales[:, None, None] ** 2)


FOUR = random_mixture(4, 3)
ONE_COLUMN = Mixture(np.array([0.2, 0.3, 0.5]), np.array([-4.0, 0.0, 6.0]), np.array([1.0, 0.5, 2.0]))
OFF = Mixture(np.array([0.25, 0.35, 0.4]), np.array([-3.5, 0.2, 5.5]), np.array([1.2, 0.5, 1.4]))


def test_one_column_has_the_distances_and_errors_of_one_dimension():
    found = distances(in_one_column(OFF), in_one_column(ONE_COLUMN))
    np.testing.assert_allclose(found, distances(OFF, ONE_COLUMN), rtol=ROUNDING_64, atol=1e-14)
    expected = largest_errors(OFF, ONE_COLUMN)
    assert expected is not None
    np.testing.assert_allclose(expected, (0.25, 0.5, 0.3), rtol=ROUNDING_64)
    found = largest_errors(in_one_column(OFF), in_one_column(ONE_COLUMN))
    assert found is not None
    np.testing.assert_allclose(found, expected, rtol=ROUNDING_64)


def test_the_distance_is_the_integral():
    one, other = random_mixture(2, 2), random_mixture(2, 2)
    found = distances(one, other)
    for a, b in itertools.product(range(2), range(2)):
        densities = [
            (mixture.weights[k], stats.multivariate_normal(mixture.locs[k], mixture.covariances[k]))
            for mixture, k in ((one, a), (other, b))
        ]

        def common(y, x, densities=densities):
            return math.prod(math.sqrt(weight * normal.pdf([x, y])) for weight, normal in densities)

        overlap, _ = integrate.dblquad(common, -15, 15, -15, 15, epsabs=1e-6, epsrel=1e-5)
        np.testing.assert_allclose(
            found[a, b], -np.log(overlap / (0.5 * (one.weights[a] + other.weights[b]))), rtol=1e-4
        )


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_a_permuted_mixture_is_matched_to_itself(order):
    turned = taken(FOUR, np.array(order))
    assert np.array(order)[match(turned, FOUR).components].tolist() == [0, 1, 2, 3]
    for found in (in_order_of(FOUR, turned), matched_truth(FOUR, turned)):
        assert found is not None
        for leaf, expected in zip(found, FOUR, strict=True):
            np.testing.assert_array_equal(leaf, expected)
    assert largest_errors(turned, FOUR) == pytest.approx(LargestErrors(0.0, 0.0, 0.0), abs=1e-12)


def test_no_affine_map_changes_distances_or_errors():
    near = FOUR._replace(
        locs=FOUR.locs + 0.05 * RANDOM.normal(size=FOUR.locs.shape), covariances=1.1**2 * FOUR.covariances
    )
    matrix, shift = RANDOM.normal(size=(3, 3)), RANDOM.normal(size=3)
    np.testing.assert_allclose(
        distances(mapped(near, matrix, shift), mapped(FOUR, matrix, shift)), distances(near, FOUR), rtol=1e-9, atol=1e-9
    )
    errors = largest_errors(near, FOUR)
    assert errors is not None
    assert errors.scales == pytest.approx(0.1, rel=1e-9)
    by_hand = max(
        math.sqrt(gap @ linalg.solve(covariance, gap))
        for gap, covariance in zip(near.locs - FOUR.locs, FOUR.covariances, strict=True)
    )
    assert errors.locs == pytest.approx(by_hand, rel=1e-9)
    np.testing.assert_allclose(
        largest_errors(mapped(near, matrix, shift), mapped(FOUR, matrix, shift)), errors, rtol=1e-8, atol=1e-9
    )
    assert worst_error(near, FOUR) == max(errors)


@pytest.mark.parametrize(
    "covariance", [np.full((3, 3), np.nan), np.zeros((3, 3)), np.diag([1.0, 1.0, -1.0]), np.diag([np.inf, 1.0, 1.0])]
)
def test_a_component_that_went_wrong_is_left_over(covariance):
    wrong = FOUR._replace(covariances=np.stack([*FOUR.covariances[:3], covariance]))
    found = match(wrong, FOUR)
    assert (found.unmatched, found.unmatched_others) == ((3,), (3,))
    assert found.components.tolist() == [0, 1, 2]
    assert largest_errors(wrong, FOUR) is None
    assert worst_error(wrong, FOUR) == math.inf
    truth = matched_truth(wrong, FOUR)
    assert truth is not None
    assert np.isnan(truth.locs[3]).all()


def test_errors_in_standard_errors_are_those_of_the_partner():
    order = np.array([2, 0, 3, 1])
    off = MultivariateMixture(FOUR.weights + 0.01, FOUR.locs - 0.03, 1.02 * FOUR.covariances)
    errors = MultivariateErrors(
        np.full(4, 0.005), np.full((4, 3), 0.01), 0.1 * np.abs(FOUR.covariances), off.scales, off.correlations
    )
    found = z_scores(taken(off, order), FOUR, taken(errors, order))
    np.testing.assert_allclose(found.weights, 2.0, rtol=1e-9)
    np.testing.assert_allclose(found.locs, -3.0, rtol=1e-9)
    np.testing.assert_allclose(found.covariances, 0.2 * np.sign(FOUR.covariances), rtol=1e-9)


def test_percentiles_are_of_every_number_whatever_the_labels():
    ordered = [
        FOUR._replace(covariances=FOUR.covariances * np.exp(0.1 * RANDOM.normal(size=(4, 1, 1)))) for _ in range(21)
    ]
    turned = [taken(one, np.roll(np.arange(4), number)) for number, one in enumerate(ordered)]
    broken = FOUR._replace(locs=np.full((4, 3), np.nan))
    found = percentile_intervals(FOUR, [in_order_of(FOUR, one) for one in [*turned, broken]], 0.9)
    assert (found.kept, found.dropped) == (21, 1)
    assert isinstance(found.lower, MultivariateErrors)
    scales = np.sort(np.stack([one.scales for one in ordered]), axis=0)
    # Of 21 values the second and the last but one have a twentieth of the others beyond them.
    np.testing.assert_allclose(found.lower.scales, scales[1], rtol=ROUNDING_64)
    np.testing.assert_allclose(found.upper.scales, scales[-2], rtol=ROUNDING_64)
    np.testing.assert_allclose(found.standard_errors.scales, scales.std(axis=0, ddof=1), rtol=1e-9)
    np.testing.assert_allclose(found.upper.correlations, FOUR.correlations, rtol=1e-9)
    nothing = percentile_intervals(FOUR, [broken], 0.9)
    assert np.isnan(nothing.lower.correlations).all()
