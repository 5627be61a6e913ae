"""Errors of the sandwich, against closed forms of one normal and against finite differences in NumPy."""

import numpy as np
import pytest
from conftest import ROUNDING_64
from scipy import optimize, special, stats

from gmm_pipeline.analysis.bootstrap import resampled_rows
from gmm_pipeline.analysis.multivariate_uncertainty import multivariate_errors
from gmm_pipeline.analysis.uncertainty import Peak, uncertainty
from gmm_pipeline.inference.plugins import Plugin
from gmm_pipeline.model import priors
from gmm_pipeline.model.mixture import Parameters
from gmm_pipeline.model.natural import MultivariateMixture

RANDOM = np.random.default_rng(3)
DATA = np.concatenate([RANDOM.normal(-2, 1, 60), RANDOM.normal(3, 2, 90)])
WEIGHTS = RANDOM.uniform(0.1, 4.0, 150)
FLAT = Plugin(priors.flat, ())
DIFFERENCES = 1e-4
"""Relative error of second differences in float64 with steps of 1e-4."""


def errors_of(parameters: Parameters, weights):
    return uncertainty(Peak(parameters, DATA, weights, FLAT, {}, equal_scales=False, degenerate=(), robust=True))


def test_one_normal_has_the_errors_of_weighted_moments():
    total = WEIGHTS.sum()
    loc = WEIGHTS @ DATA / total
    variance = WEIGHTS @ (DATA - loc) ** 2 / total
    errors = errors_of(Parameters(np.zeros(1), np.array([loc]), np.array([0.5 * np.log(variance)])), WEIGHTS)
    of_loc = np.sqrt(np.sum((WEIGHTS * (DATA - loc)) ** 2)) / total
    of_variance = np.sqrt(np.sum((WEIGHTS * ((DATA - loc) ** 2 - variance)) ** 2)) / total
    expected = [of_loc, of_variance / (2.0 * np.sqrt(variance))]
    found = [*errors.standard_errors.locs, *errors.standard_errors.scales]
    np.testing.assert_allclose(found, expected, rtol=1e3 * ROUNDING_64)


def log_densities(values):
    weight, first, second, log_first, log_second = values
    return np.logaddexp(
        special.log_expit(weight) + stats.norm.logpdf(DATA, first, np.exp(log_first)),
        special.log_expit(-weight) + stats.norm.logpdf(DATA, second, np.exp(log_second)),
    )


def gradients_of(values):
    steps = 1e-4 * np.eye(5)
    return np.stack([(log_densities(values + step) - log_densities(values - step)) / 2e-4 for step in steps], axis=1)


@pytest.fixture(scope="module")
def optimum() -> np.ndarray:
    found = optimize.root(lambda values: WEIGHTS @ gradients_of(values), [-0.4, -2.0, 3.0, 0.0, 0.7], tol=1e-12)
    assert found.success
    return found.x


def test_two_normals_have_the_errors_of_finite_differences(optimum):
    steps = 1e-4 * np.eye(5)
    slopes = [WEIGHTS @ (gradients_of(optimum + step) - gradients_of(optimum - step)) / 2e-4 for step in steps]
    inverse = np.linalg.inv(-np.array(slopes))
    weighted = WEIGHTS[:, None] * gradients_of(optimum)
    expected = np.sqrt(np.diag(inverse @ (weighted.T @ weighted) @ inverse))
    log_weights = np.array([special.log_expit(optimum[0]), special.log_expit(-optimum[0])])
    parameters = Parameters(log_weights, optimum[1:3], optimum[3:])
    weights, locs, scales = errors_of(parameters, WEIGHTS).standard_errors
    shares, sigmas = np.exp(log_weights), np.exp(optimum[3:])
    np.testing.assert_allclose(weights, expected[0] * shares.prod(), rtol=DIFFERENCES)
    np.testing.assert_allclose([*locs, *scales / sigmas], expected[1:], rtol=DIFFERENCES)
    scaled = errors_of(parameters, 1e-3 * WEIGHTS).standard_errors
    np.testing.assert_allclose(scaled.locs, locs, rtol=1e-9)


def test_several_columns_have_the_errors_of_each_where_they_are_independent():
    # A component of a diagonal model: locs and scales are those of each column by itself.
    data = np.stack([DATA, RANDOM.normal(size=150)], axis=1)
    total = WEIGHTS.sum()
    locs = WEIGHTS @ data / total
    variances = WEIGHTS @ (data - locs) ** 2 / total
    mixture = MultivariateMixture(np.ones(1), locs[None], np.diag(variances)[None])
    errors = multivariate_errors(mixture, "VVI", data, WEIGHTS, robust=True)
    of_locs = np.sqrt(np.sum((WEIGHTS[:, None] * (data - locs)) ** 2, axis=0)) / total
    of_variances = np.sqrt(np.sum((WEIGHTS[:, None] * ((data - locs) ** 2 - variances)) ** 2, axis=0)) / total
    np.testing.assert_allclose(errors.locs[0], of_locs, rtol=1e-9)
    np.testing.assert_allclose(np.diag(errors.covariances[0]), of_variances, rtol=1e-9)


def test_rows_are_drawn_with_their_weights():
    weights = np.array([0.0, 1.0, 2.0, 5.0])
    drawn = [resampled_rows(np.array([0, seed], np.uint32), weights) for seed in range(300)]
    assert all(one[0] == 0.0 for one in drawn)
    np.testing.assert_allclose([one.sum() for one in drawn], 8.0, rtol=10 * ROUNDING_64)
    # How often each of three rows is drawn, of three draws: whole numbers, whatever the weights, and one on average.
    shares = np.array([one[1:] / weights[1:] for one in drawn])
    times = 3.0 * shares / shares.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(times, np.round(times), atol=1e-9)
    assert np.abs(times.mean(axis=0) - 1.0).max() < 5 * np.sqrt(2 / 3 / 300)
