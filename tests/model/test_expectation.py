"""What a mixture expects of the log density of its own data, against draws."""

import numpy as np
import pytest
from scipy import stats

from gmm_pipeline.model import portable
from gmm_pipeline.model.expectation import least_mean, log_density_moments
from gmm_pipeline.model.mixture import Mixture
from gmm_pipeline.model.natural import MultivariateMixture

MIXTURES = [
    Mixture(np.array([1.0]), np.array([3.0]), np.array([2.0])),
    Mixture(np.array([1 / 6, 5 / 6]), np.array([-2.0, 5.0]), np.array([1.1, 2.0])),
    Mixture(np.array([0.3, 0.4, 0.3]), np.array([0.0, 1.0, 9.0]), np.array([1.0, 0.3, 4.0])),
]


def draws(mixture: Mixture, shape: tuple[int, ...], seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    components = rng.choice(len(mixture.weights), shape, p=mixture.weights)
    return rng.normal(mixture.locs[components], mixture.scales[components])


def log_densities(mixture: Mixture, data: np.ndarray) -> np.ndarray:
    return portable.evaluate(*mixture, data.ravel())[0].reshape(data.shape)


@pytest.mark.parametrize("mixture", MIXTURES)
def test_moments_are_those_of_draws(mixture):
    found, drawn = log_density_moments(mixture), log_densities(mixture, draws(mixture, (200_000,), 1))
    error = drawn.std() / np.sqrt(len(drawn))
    assert found.mean == pytest.approx(drawn.mean(), abs=5 * error)  # five standard errors
    assert found.deviation == pytest.approx(drawn.std(), rel=0.02)
    assert found.skewness == pytest.approx(stats.skew(drawn), rel=0.05)


def test_moments_of_one_component_are_known():
    found = log_density_moments(MIXTURES[0])
    # log p = −log σ√(2π) − χ²/2, and χ² of one degree of freedom has mean 1, variance 2, skewness √8.
    assert found == pytest.approx((-np.log(2.0 * np.sqrt(2 * np.pi)) - 0.5, np.sqrt(0.5), -np.sqrt(8)), rel=1e-9)


@pytest.mark.parametrize("mixture", MIXTURES)
@pytest.mark.parametrize("n", [1, 5, 100])
def test_data_of_the_mixture_are_below_the_least_mean_as_often_as_said(mixture, n):
    level, n_samples = 1e-2, 20_000
    least = least_mean(log_density_moments(mixture), np.ones(n), level)
    below = np.count_nonzero(log_densities(mixture, draws(mixture, (n_samples, n), n)).mean(axis=1) < least)
    # Twice the level allows for the approximation, five standard errors for the sample.
    assert below <= 2 * level * n_samples + 5 * np.sqrt(level * n_samples)
    assert below >= level * n_samples / 5


def test_weights_count_by_their_shares():
    moments = log_density_moments(MIXTURES[1])
    twice = least_mean(moments, np.array([2.0, 2.0, 4.0]), 1e-3)
    assert twice == pytest.approx(least_mean(moments, np.array([1.0, 1.0, 2.0]), 1e-3), rel=1e-12)
    assert least_mean(moments, np.ones(100), 1e-3) > least_mean(moments, np.array([100.0, *np.ones(99)]), 1e-3)


@pytest.mark.parametrize("n_columns", [2, 7])
def test_moments_of_several_columns_are_those_of_draws(n_columns):
    random = np.random.default_rng(n_columns)
    bends = random.normal(size=(3, n_columns, 2 * n_columns))
    mixture = MultivariateMixture(
        np.array([0.5, 0.3, 0.2]), 3.0 * random.normal(size=(3, n_columns)), bends @ bends.swapaxes(1, 2)
    )
    components = random.choice(3, 50_000, p=mixture.weights)
    drawn, densities = np.empty((50_000, n_columns)), np.zeros(50_000)
    normals = [stats.multivariate_normal(*parameters) for parameters in zip(*mixture[1:], strict=True)]
    for component, normal in enumerate(normals):
        here = components == component
        drawn[here] = normal.rvs(here.sum(), random_state=random)
    for weight, normal in zip(mixture.weights, normals, strict=True):
        densities += weight * normal.pdf(drawn)
    expected, found = np.log(densities), log_density_moments(mixture)
    error = expected.std() / np.sqrt(len(expected))
    assert found.mean == pytest.approx(expected.mean(), abs=5 * error)  # five standard errors
    assert found.deviation == pytest.approx(expected.std(), rel=0.02)
    assert found.skewness == pytest.approx(stats.skew(expected), rel=0.1)


def test_moments_of_one_component_of_several_columns_are_known():
    found = log_density_moments(MultivariateMixture(np.ones(1), np.zeros((1, 5)), 4.0 * np.eye(5)[None]))
    # log p = −5 log 2√(2π) − χ²/2, and χ² of five degrees of freedom has mean 5, variance 10, skewness √(8/5).
    assert found.mean == pytest.approx(-5.0 * np.log(2.0 * np.sqrt(2 * np.pi)) - 2.5, rel=1e-9)
    assert found.deviation == pytest.approx(np.sqrt(2.5), rel=0.02)
    assert found.skewness == pytest.approx(-np.sqrt(1.6), rel=0.05)
