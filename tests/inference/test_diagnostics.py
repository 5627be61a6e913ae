import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROUNDING_64
from scipy import optimize, stats
from sklearn.mixture import GaussianMixture

from gmm_pipeline.inference import diagnostics
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
    found = diagnostics.information_criteria(
        sklearn.score(DATA[:, None]) * 400, diagnostics.number_of_parameters(2), 400.0
    )
    np.testing.assert_allclose(found["aic"], sklearn.aic(DATA[:, None]), rtol=ROUNDING_64)
    np.testing.assert_allclose(found["bic"], sklearn.bic(DATA[:, None]), rtol=ROUNDING_64)


def test_one_component_has_the_standard_errors_of_the_textbook():
    mean, sd, n = DATA.mean(), DATA.std(), len(DATA)
    errors = diagnostics.standard_errors(
        Parameters(jnp.zeros(1), jnp.array([mean]), jnp.array([np.log(sd)])), DATA, np.ones(n)
    )
    np.testing.assert_allclose(errors.locs, sd / np.sqrt(n), rtol=1e-5)  # parameters came through float32
    np.testing.assert_allclose(errors.scales, sd / np.sqrt(2 * n), rtol=1e-5)
    np.testing.assert_allclose(errors.weights, 0.0, atol=1e-12)


def test_two_components_have_the_standard_errors_of_a_numerical_hessian():
    def negative_loglike(free):
        weight, mus, scales = free[0], free[1:3], free[3:5]
        parts = [
            np.log(w) + stats.norm.logpdf(DATA, m, s) for w, m, s in zip((weight, 1 - weight), mus, scales, strict=True)
        ]
        return -np.logaddexp(*parts).sum()

    best = optimize.minimize(
        negative_loglike,
        [0.25, -2, 5, 1, 2],
        method="Nelder-Mead",
        options={"xatol": 1e-9, "fatol": 1e-12, "maxiter": 20000},
    ).x
    step = 1e-4 * np.eye(5)
    hessian = [
        [sum(s * t * negative_loglike(best + s * a + t * b) for s in (1, -1) for t in (1, -1)) / 4e-8 for b in step]
        for a in step
    ]
    expected = np.sqrt(np.diag(np.linalg.inv(hessian)))
    parameters = Parameters(np.log([best[0], 1 - best[0]]), best[1:3], np.log(best[3:5]))
    errors = diagnostics.standard_errors(parameters, DATA, np.ones(400))
    np.testing.assert_allclose(errors.weights, expected[0], rtol=1e-4)
    np.testing.assert_allclose(errors.locs, expected[1:3], rtol=1e-4)
    np.testing.assert_allclose(errors.scales, expected[3:5], rtol=1e-4)


def test_no_standard_errors_away_from_an_optimum():
    errors = diagnostics.standard_errors(Parameters(jnp.zeros(2), jnp.zeros(2), jnp.full(2, 3.0)), DATA, np.ones(400))
    assert np.isnan(errors.locs).all()


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
