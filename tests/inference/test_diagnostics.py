from typing import Any

import numpy as np
import pytest
from conftest import ROUNDING_64
from scipy.stats import dirichlet as dirichlet_of_scipy
from scipy.stats import norm
from sklearn.mixture import GaussianMixture

from gmm_pipeline.inference import diagnostics
from gmm_pipeline.inference.parameterization import number_of_parameters
from gmm_pipeline.inference.plugins import Absent, Plugin
from gmm_pipeline.inference.scaling import IDENTITY, Scaling, scaling_of, to_fit_units, to_user_units
from gmm_pipeline.model.mixture import Parameters
from gmm_pipeline.model.priors import dirichlet

RANDOM = np.random.default_rng(3)
DATA = np.concatenate([RANDOM.normal(-2, 1, 100), RANDOM.normal(5, 2, 300)])


def test_evaluation_equals_scikit_learn_whatever_the_scaling():
    sklearn = GaussianMixture(2, random_state=0).fit(DATA[:, None])
    weights, locs, variances = (np.ravel(vars(sklearn)[name]) for name in ("weights_", "means_", "covariances_"))
    scales = np.sqrt(variances)
    for scaling in (IDENTITY, scaling_of(DATA, np.ones(400)), Scaling(1e6, 1e-3)):
        parameters = Parameters(
            np.log(weights), (locs - scaling.centre) / scaling.spread, np.log(scales / scaling.spread)
        )
        found = diagnostics.evaluate(parameters, to_fit_units(DATA, scaling), np.ones(400), scaling)
        np.testing.assert_allclose(found.log_likelihood, sklearn.score(DATA[:, None]) * 400, rtol=1e-9)
        np.testing.assert_allclose(found.responsibilities, sklearn.predict_proba(DATA[:, None]), atol=1e-6)


def test_information_criteria_equal_scikit_learn():
    sklearn = GaussianMixture(2, random_state=0).fit(DATA[:, None])
    n_parameters = number_of_parameters(2, equal_scales=False)
    found = diagnostics.information_criteria(sklearn.score(DATA[:, None]) * 400, n_parameters, 400.0)
    np.testing.assert_allclose(found["aic"], sklearn.aic(DATA[:, None]), rtol=ROUNDING_64)
    np.testing.assert_allclose(found["bic"], sklearn.bic(DATA[:, None]), rtol=ROUNDING_64)


@pytest.mark.parametrize(("centre", "spread"), [(0.0, 1.0), (1e6, 1e-3), (-5.0, 1e6)])
def test_scaling_there_and_back(centre, spread):
    scaling = Scaling(centre, spread)
    parameters = Parameters(np.array([0.1, 0.2]), np.array([-1.0, 2.0]), np.array([0.3, -0.4]))
    user = to_user_units(parameters, scaling)
    np.testing.assert_allclose(
        to_fit_units(np.asarray(user.component_mus), scaling), parameters.component_mus, rtol=1e-6
    )
    np.testing.assert_allclose(np.exp(user.log_component_scales), spread * np.exp(parameters[2]))


def test_scaling_honours_sample_weights():
    assert scaling_of(np.array([0.0, 1.0, 99.0]), np.array([1.0, 1.0, 0.0])) == Scaling(0.5, 0.5)


@pytest.mark.parametrize("farthest", [None, 1e3, -1e9])
def test_log_likelihoods_of_a_history_are_those_of_its_entries(farthest):
    """Also where the densities of a datum underflow."""
    scaling = scaling_of(DATA, np.ones(400))
    data = to_fit_units(DATA, scaling)
    data[7] = data[7] if farthest is None else farthest
    history = Parameters(*(np.random.default_rng(1).normal(size=(11, 2)) for _ in range(3)))
    found = diagnostics.log_likelihoods(history, data, np.ones(400), scaling)
    for entry, loglike in enumerate(found):
        one = Parameters(*(leaf[entry] for leaf in history))
        expected = diagnostics.evaluate(one, data, np.ones(400), scaling).log_likelihood
        np.testing.assert_allclose(loglike, expected, rtol=ROUNDING_64)


@pytest.mark.parametrize("n_data", [3, 40_000])
def test_log_likelihoods_do_not_depend_on_how_they_are_cut(n_data):
    rng = np.random.default_rng(2)
    data, counts = rng.normal(size=n_data), rng.integers(0, 3, n_data).astype(np.float64)
    history = Parameters(*(rng.normal(size=(5, 3)) for _ in range(3)))
    history.component_mus[3, 1] = np.nan
    found = diagnostics.log_likelihoods(history, data, counts, IDENTITY)
    for entry in (0, 1, 2, 4):
        weights = np.exp(history.log_component_weights[entry])
        scales = np.exp(history.log_component_scales[entry])
        densities = norm.pdf(data[:, None], history.component_mus[entry], scales) @ (weights / weights.sum())
        np.testing.assert_allclose(found[entry], counts @ np.log(densities), rtol=1e-9)  # of sums of 40,000
    assert np.isnan(found[3])


def test_a_history_of_priors_is_one_program_whatever_its_length_and_components():
    log_prior, of_alpha = Plugin(dirichlet, (("concentration", Absent.LATER),)), {"concentration": 2.0}
    compiled: Any = diagnostics._log_priors
    compiled.clear_cache()  # of what other tests of this process have compiled
    for n_entries, n_components in ((1, 2), (7, 3), (130, 8)):
        rng = np.random.default_rng(n_entries)
        history = Parameters(*(rng.normal(size=(n_entries, n_components)) for _ in range(3)))
        found = diagnostics.log_priors(history, log_prior, of_alpha, {})
        weights = np.exp(history.log_component_weights)
        weights /= weights.sum(axis=1, keepdims=True)
        expected = [dirichlet_of_scipy(np.full(n_components, 2.0)).logpdf(one) for one in weights]
        np.testing.assert_allclose(found, expected, rtol=1e-9)  # of SciPy's, whose weights must sum to one
    assert compiled._cache_size() == 1
