"""Standard errors of factor analysers: textbook formulas where factors restrict nothing, and finite differences."""

import numpy as np
import pytest
from scipy import optimize, stats
from test_multivariate_uncertainty import compare, errors_by_differences, log_likelihood, moments

from gmm_pipeline.analysis.factor_curvature import analysis_of
from gmm_pipeline.analysis.multivariate_uncertainty import errors_with_noise, multivariate_errors
from gmm_pipeline.model.covariances import FACTOR
from gmm_pipeline.model.multivariate import MultivariateParameters, constrain_multivariate
from gmm_pipeline.model.natural import MultivariateMixture

RANDOM = np.random.default_rng(0)


def fitted_by(values: np.ndarray, n_columns: int, factors: int) -> MultivariateMixture:
    """One component from numbers that no rotation makes redundant: loadings with a triangle of zeros."""
    loadings = np.zeros((n_columns, factors))
    lower = np.tril_indices(n_columns, 0, factors)
    locs, log_roots, rest = np.split(values, [n_columns, 2 * n_columns])
    loadings[lower] = rest
    return MultivariateMixture(np.ones(1), locs[None], (loadings @ loadings.T + np.diag(np.exp(2 * log_roots)))[None])


def parameters_at(values: np.ndarray, n_columns: int, factors: int, turned: np.ndarray) -> MultivariateParameters:
    """The same as a fit has it, with the factors in any rotation."""
    loadings = np.zeros((n_columns, factors))
    locs, log_roots, rest = np.split(values, [n_columns, 2 * n_columns])
    loadings[np.tril_indices(n_columns, 0, factors)] = rest
    relative = (loadings @ turned) / np.exp(log_roots)[:, None]
    return MultivariateParameters(np.zeros(1), locs[None], log_roots[None], None, relative[None])


@pytest.mark.parametrize(("n_columns", "factors"), [(3, 1), (5, 2)])
def test_errors_are_those_of_a_numerical_hessian_in_any_rotation(n_columns, factors):
    true = np.tril(RANDOM.normal(size=(n_columns, factors)) + 1.0)
    data = RANDOM.normal(size=(250, factors)) @ true.T + 0.8 * RANDOM.normal(size=(250, n_columns))
    begin = np.concatenate([data.mean(axis=0), np.full(n_columns, -0.2), true[np.tril_indices(n_columns, 0, factors)]])

    def mixture_at(values):
        return fitted_by(values, n_columns, factors)

    best = optimize.minimize(lambda values: -log_likelihood(mixture_at(values), data), begin, tol=1e-9).x
    turned = stats.special_ortho_group.rvs(factors, random_state=1) if factors > 1 else np.ones((1, 1))
    parameters = parameters_at(best, n_columns, factors, turned)
    mixture = constrain_multivariate(parameters)
    np.testing.assert_allclose(mixture.covariances, mixture_at(best).covariances, rtol=1e-9)
    found, _ = errors_with_noise(mixture, FACTOR, data, np.ones(250), analysis=analysis_of(parameters))
    compare(found, errors_by_differences(lambda step: mixture_at(best + step), len(best), data))
    if n_columns == 3:  # as many numbers as a covariance has, and so a full one
        np.testing.assert_allclose(mixture.covariances, moments(data).covariances, atol=1e-4)
        full = multivariate_errors(moments(data), "VVV", data, np.ones(250))
        for own, other in zip(found, full, strict=True):
            np.testing.assert_allclose(own, other, rtol=2e-3, atol=1e-4)
