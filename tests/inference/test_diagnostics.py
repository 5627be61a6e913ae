from typing import Any

import numpy as np
import pytest
from conftest import ROUNDING_64
from sklearn.mixture import GaussianMixture

from gmm_pipeline.inference import diagnostics
from gmm_pipeline.inference.parameterization import number_of_parameters
from gmm_pipeline.inference.scaling import IDENTITY, Scaling, scaling_of, to_fit_units, to_user_units
from gmm_pipeline.model.mixture import Parameters

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


def test_log_likelihoods_of_a_history_are_those_of_its_entries():
    scaling = scaling_of(DATA, np.ones(400))
    data = to_fit_units(DATA, scaling)
    history = Parameters(*(np.random.default_rng(1).normal(size=(11, 2)) for _ in range(3)))
    found = diagnostics.log_likelihoods(history, data, np.ones(400), scaling)
    for entry, loglike in enumerate(found):
        one = Parameters(*(leaf[entry] for leaf in history))
        expected = diagnostics.evaluate(one, data, np.ones(400), scaling).log_likelihood
        np.testing.assert_allclose(loglike, expected, rtol=ROUNDING_64)


def test_histories_of_many_lengths_are_few_programs():
    def of_length(length: int) -> np.ndarray:
        rng = np.random.default_rng(length)
        history = Parameters(*(rng.normal(size=(length, 2)) for _ in range(3)))
        found = diagnostics.log_likelihoods(history, DATA, np.ones(400), IDENTITY)
        last = Parameters(*(leaf[-1] for leaf in history))
        expected = diagnostics.evaluate(last, DATA, np.ones(400), IDENTITY).log_likelihood
        np.testing.assert_allclose(found[-1], expected, rtol=ROUNDING_64)
        return found

    of_length(17)
    compiled: Any = diagnostics._compiled_log_likelihoods(diagnostics.use_fused(2))
    once = compiled._cache_size()
    assert [len(of_length(length)) for length in (18, 25, 31, 32)] == [18, 25, 31, 32]
    assert compiled._cache_size() == once
