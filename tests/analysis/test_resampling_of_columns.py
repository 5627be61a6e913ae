"""Held-out log-likelihoods and replicates of several columns, in the user's units, against SciPy's densities."""

import jax
import numpy as np
import pytest
from conftest import ROUNDING_64
from scipy import stats
from small_fits import job

from gmm_pipeline.analysis import bootstrap, cross_validation
from gmm_pipeline.errors import InputError
from gmm_pipeline.inference.jobs import FitResult, HistoryEntry
from gmm_pipeline.inference.scaling import linear_scaling_of, to_fit_units
from gmm_pipeline.model.covariances import kind_of
from gmm_pipeline.model.multivariate import parameters_of
from gmm_pipeline.model.natural import MultivariateMixture

RANDOM = np.random.default_rng(0)
DATA = 50.0 + RANDOM.normal(size=(40, 2)) @ np.array([[1.0, 0.0], [20.0, 5.0]]).T
ONES = np.ones(40)


def mixture(gap: float) -> MultivariateMixture:
    covariance = np.cov(DATA.T)
    return MultivariateMixture(
        np.array([0.3, 0.7]), np.stack([DATA.mean(axis=0) + gap, DATA.mean(axis=0)]), np.stack([covariance] * 2)
    )


def in_the_units_of_a_fit(one: MultivariateMixture, scaling, model: str, *, diverged=False) -> FitResult:
    inverse = np.linalg.inv(scaling.spread)
    locs = (one.locs - scaling.centre) @ inverse.T
    parameters = parameters_of(
        MultivariateMixture(one.weights, locs, inverse @ one.covariances @ inverse.T), kind_of(model)
    )
    history = HistoryEntry(*(None for _ in HistoryEntry._fields))
    return FitResult(parameters, {}, np.array([0]), history, diverged, True, 1, 0.0, ())


@pytest.mark.parametrize("model", ["VVV", "VEV"])
def test_held_out_log_likelihoods_are_those_of_scipy(model):
    scaling = linear_scaling_of(DATA, ONES, kind_of(model))
    mixtures = [mixture(1.0), mixture(-2.0)]
    results = [in_the_units_of_a_fit(one, scaling, model) for one in mixtures]
    folds = np.arange(40) % 2
    found = cross_validation.held_out(results, folds, to_fit_units(DATA, scaling), ONES, scaling)
    for fold, one in enumerate(mixtures):
        density = sum(
            w * stats.multivariate_normal(loc, covariance).pdf(DATA[folds == fold])
            for w, loc, covariance in zip(*one, strict=True)
        )
        np.testing.assert_allclose(found.log_densities[folds == fold], np.log(density), rtol=1e-9)
    diverged = in_the_units_of_a_fit(mixtures[0], scaling, model, diverged=True)
    assert np.isnan(cross_validation.held_out([diverged] * 2, folds, DATA, ONES, scaling).log_likelihood)


def test_replicates_are_in_the_users_units_and_unsound_ones_are_left_out():
    scaling = linear_scaling_of(DATA, ONES, kind_of("VVV"))
    result = in_the_units_of_a_fit(mixture(1.0), scaling, "VVV")
    found = bootstrap.natural(result, result, scaling)
    for leaf, expected in zip(found, mixture(1.0), strict=True):
        np.testing.assert_allclose(leaf, expected, rtol=1e3 * ROUNDING_64)
    collapsed = bootstrap.natural(result._replace(degenerate=(1,)), result, scaling)
    assert isinstance(collapsed, MultivariateMixture)
    assert all(np.isnan(leaf).all() for leaf in collapsed)


def test_a_column_that_is_constant_in_a_training_set_is_refused():
    data = np.column_stack([np.arange(6.0), [1.0, 1.0, 1.0, 1.0, 1.0, 2.0]]).astype(np.float32)
    with pytest.raises(InputError, match="expected at least two different values in each training set"):
        cross_validation.fold_jobs(job()._replace(data=data, sample_weights=np.ones(6)), 6, jax.random.PRNGKey(0))
