"""Held-out log-likelihoods, replicates and tests of several columns, in the user's units, against SciPy's densities."""

# Results are made here without what is not looked at.
# pyright: reportArgumentType=false, reportPossiblyUnboundVariable=false

from typing import Any

import jax
import numpy as np
import pandas as pd
import pytest
from conftest import ROUNDING_64
from scipy import stats
from sklearn.mixture import GaussianMixture
from small_fits import job

import gmm_pipeline as gmm
from gmm_pipeline.analysis import bootstrap, cross_validation, likelihood_ratio
from gmm_pipeline.errors import InputError
from gmm_pipeline.inference.families.normals import normals
from gmm_pipeline.inference.jobs import FitResult, HistoryEntry
from gmm_pipeline.inference.scaling import linear_scaling_of, to_fit_units
from gmm_pipeline.model import portable
from gmm_pipeline.model.covariances import kind_of
from gmm_pipeline.model.multivariate import natural_of, parameters_of
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


def fit_by_em(jobs) -> list[FitResult]:
    return [_fit(job) for job in jobs]


def _fit(job, steps: int = 60) -> FitResult:
    """Plain EM in NumPy, from bands along the first column unless told where to begin."""
    x, k = job.data, job.plan.n_components
    shares = (np.argsort(np.argsort(x[:, 0])) * k // len(x) == np.arange(k)[:, None]).astype(float)
    if job.begin is not None:
        shares = portable.evaluate(*natural_of(job.begin), x)[1]
    for _ in range(steps if k > 1 else 1):
        counts = np.maximum(shares.sum(axis=1), 1e-9)
        locs = shares @ x / counts[:, None]
        gaps = x - locs[:, None]
        covariances = np.einsum("kn,kni,knj->kij", shares, gaps, gaps) / counts[:, None, None] + 1e-6 * np.eye(2)
        found = MultivariateMixture(counts / counts.sum(), locs, covariances)
        shares = portable.evaluate(*found, x)[1]
    history = HistoryEntry(*(None for _ in HistoryEntry._fields))
    few = tuple(np.flatnonzero(found.weights * len(x) < 3).tolist())
    return FitResult(parameters_of(found, kind_of("VVV")), {}, np.array([0]), history, False, True, 1, 0.0, few)


def null_of(data):
    one = job(covariance="VVV", family=normals(2, kind_of("VVV")), n_components=1, data=data)
    return one._replace(sample_weights=np.ones(len(data)))


def test_one_normal_is_not_two_and_two_apart_are_not_one():
    """The fits are by EM in NumPy; the observed statistic is scikit-learn's."""
    shift = np.repeat([[0.0, 0.0], [8.0, 0.0]], 20, axis=0)
    noise = RANDOM.normal(size=(40, 2))
    for data, p_values in ((noise, (0.15, 1.0)), (noise + shift, (0.1, 0.1))):
        null = null_of(data)
        (fitted,) = fit_by_em([null])
        tested = likelihood_ratio.bootstrap_test(
            null, fitted, n_replicates=9, key=jax.random.PRNGKey(0), fit_all=fit_by_em
        )
        assert tested.n_failed == 0
        assert p_values[0] <= tested.p_value <= p_values[1]
        assert tested.p_value == (1 + np.sum(tested.replicates >= tested.statistic)) / 10
    heights = [GaussianMixture(k, tol=1e-9, means_init=shift[[0, 39]][:k]).fit(data).score(data) * 40 for k in (1, 2)]
    assert tested.statistic == pytest.approx(2 * (heights[1] - heights[0]), abs=0.02)


def test_replicates_have_the_moments_of_the_null():
    """As many data as the weights add up to, within five standard errors of the mixture's mean and covariance."""
    data = RANDOM.normal(size=(50, 2)) @ np.array([[1.0, 0.0], [0.8, 0.6]]).T
    null = null_of(data)._replace(sample_weights=np.full(50, 3.0))
    seen = []

    def fit_all(jobs):
        seen.extend(jobs)
        return fit_by_em(jobs)

    (fitted,) = fit_by_em([null])
    likelihood_ratio.bootstrap_test(null, fitted, n_replicates=4, key=jax.random.PRNGKey(1), fit_all=fit_all)
    drawn = np.stack([one.data for one in seen[:4]])
    assert drawn.shape == (4, 150, 2)
    assert all((one.sample_weights == 1.0).all() and len(one.sample_weights) == 150 for one in seen[:4])
    gaps = drawn.reshape(-1, 2) - data.mean(axis=0)
    np.testing.assert_allclose(gaps.mean(axis=0), 0.0, atol=5.0 / np.sqrt(600))
    np.testing.assert_allclose(np.cov(gaps.T), np.cov(data.T, bias=True), atol=5.0 * np.sqrt(2.0 / 600) * 1.3)
    halves = [one for one in seen if one.begin is not None and one.plan.n_components == 2]
    assert len(halves) == 5  # of the data and of each replicate
    for one in halves:
        np.testing.assert_allclose(natural_of(one.begin).weights, 0.5)


def test_replicates_lack_the_cells_that_the_data_lack():
    data = DATA.copy()
    data[:5, 0], data[5:7, 1] = np.nan, np.nan
    counts = np.where(np.arange(40) == 6, 3.0, 1.0)
    whole, seen = null_of(DATA), []
    null = whole._replace(data=data, sample_weights=counts)
    (fitted,) = fit_by_em([whole])

    def fit_all(jobs):
        seen.extend(jobs)
        return [fitted] * len(jobs)

    tested = likelihood_ratio.bootstrap_test(null, fitted, n_replicates=3, key=jax.random.PRNGKey(1), fit_all=fit_all)
    assert tested.n_failed == 0
    for one in seen[:3]:
        np.testing.assert_array_equal(np.isnan(one.data), np.repeat(np.isnan(data), counts.astype(int), axis=0))
    assert len({one.data[20, 0] for one in seen[:3]}) == 3


def test_a_loc_that_no_row_determines_has_no_bootstrap_error_and_is_named():
    """Moved anywhere, it leaves the likelihood as it is; the group's other column is known as well as ever."""
    rows = np.concatenate([RANDOM.normal(0.0, 1.0, (60, 2)), RANDOM.normal(9.0, 1.0, (60, 2))])
    rows[60:, 1] = np.nan
    table = pd.DataFrame(rows, columns=["a", "b"])
    overrides = ("data.missing=marginalise", "search.rounds=4", "restarts=2", "steps=200")
    fit = gmm.fit(table, n_components=2, covariance="EEI", prior="flat", bootstrap=10, overrides=overrides)
    far = int(np.argmax(fit.locs[:, 0]))
    errors: Any = fit.standard_errors
    assert np.isnan(errors.locs[far, 1])
    assert np.isfinite(np.delete(errors.locs.ravel(), 2 * far + 1)).all()
    assert any(f"no row of component {far} has a value in column 'b'" in line for line in fit.verdict)
