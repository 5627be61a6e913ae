"""The prior that standard errors see: SciPy's densities in the user's units, up to a constant."""

import jax
import numpy as np
import pytest
from scipy import stats
from small_fits import job, plugin

from gmm_pipeline.analysis.prior_in_user_units import log_prior_in_user_units
from gmm_pipeline.inference.families.normals import normals
from gmm_pipeline.inference.scaling import linear_scaling_of, to_fit_units
from gmm_pipeline.model import priors
from gmm_pipeline.model.covariances import kind_of
from gmm_pipeline.model.natural import MultivariateMixture, mean_and_covariance

D, K, N = 2, 2, 40
RNG = np.random.default_rng(4)
DATA = RNG.normal(size=(N, D)) @ np.array([[3.0, 1.0], [0.0, 0.4]]) + np.array([70.0, -2.0])
CONJUGATE = {"shrinkage": 0.3, "extra_degrees_of_freedom": 2.0, "variance": 1.5}
LKJ = {
    "concentration": 1.5,
    "loc": 0.2,
    "loc_scale": 1.7,
    "scale_shape": 2.5,
    "scale_scale": 0.8,
    "correlation_shape": 3.0,
}


def mixtures(model: str) -> list[MultivariateMixture]:
    found = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        roots = rng.normal(size=(K, D, D)) * np.array([2.0, 0.3])[:, None] + 0.5 * np.eye(D)
        covariances = roots @ roots.transpose(0, 2, 1)
        if model.endswith("I"):
            variances = np.diagonal(covariances, axis1=1, axis2=2)
            variances = variances if model[1] == "V" else variances.mean(axis=1, keepdims=True) * np.ones(D)
            covariances = variances[..., None] * np.eye(D)
        locs = DATA[rng.choice(N, K, replace=False)]
        found.append(MultivariateMixture(rng.dirichlet(np.ones(K)), locs, covariances))
    return found


def expected(mixture: MultivariateMixture, model: str) -> float:
    mean, covariance = mean_and_covariance(DATA, np.ones(N))
    scale, total = 1.5 * covariance / K ** (2 / D), 0.0
    for loc, own in zip(mixture.locs, mixture.covariances, strict=True):
        total += stats.multivariate_normal.logpdf(loc, mean, own / 0.3)
        if model.endswith("I"):
            variances, scales = (np.diagonal(one) for one in (own, scale))
            if model[1] == "I":
                variances, scales = variances[:1], scales.mean(keepdims=True)
            total += stats.invgamma.logpdf(variances, (D + 2) / 2, scale=scales / 2).sum()
        else:
            total += stats.invwishart.logpdf(own, D + 2, scale)
    return total


@pytest.mark.parametrize("model", ["VII", "VVI", "VEV", "VVV"])
def test_the_conjugate_prior_is_that_of_the_data_in_the_users_units(model):
    kind, counts = kind_of(model), np.ones(N)
    scaling = linear_scaling_of(DATA, counts, kind)
    prior = plugin(priors.normal_inverse_wishart, **CONJUGATE)
    fit = job(data=to_fit_units(DATA, scaling), covariance=model, family=normals(D, kind), log_prior=prior)
    with jax.enable_x64(True):
        density = log_prior_in_user_units(fit._replace(sample_weights=counts), scaling, {})
        assert density is not None
        found = [float(density(*mixture)) for mixture in mixtures(model)]
    reference = [expected(mixture, model) for mixture in mixtures(model)]
    np.testing.assert_allclose(np.diff(found), np.diff(reference), rtol=1e-9)


def test_correlations_under_a_prior_are_those_of_the_columns():
    """The density of LKJ's prior as a function of a correlation: of a fit whose data may not be whitened."""
    scaling = linear_scaling_of(DATA, np.ones(N), kind_of("VVV"), mixes=False)
    prior = plugin(priors.lkj, **LKJ)
    fit = job(data=to_fit_units(DATA, scaling), covariance="VVV", family=normals(D, kind_of("VVV")), log_prior=prior)
    scales, shares = np.sqrt(np.diagonal(mean_and_covariance(DATA, np.ones(N))[1])), np.array([0.5, 0.5])
    correlations = [np.eye(D) + r * (np.eye(D, k=1) + np.eye(D, k=-1)) for r in (0.0, 0.3, 0.6)]
    with jax.enable_x64(True):
        density = log_prior_in_user_units(fit._replace(sample_weights=np.ones(N)), scaling, {})
        assert density is not None
        both = [np.stack([one * np.outer(scales, scales)] * 2) for one in correlations]
        found = [float(density(shares, np.zeros((2, D)), one)) for one in both]
    np.testing.assert_allclose(np.diff(found), 2 * 2.0 * np.diff(np.linalg.slogdet(correlations)[1]), rtol=1e-9)


def test_no_prior_has_no_density():
    scaling = linear_scaling_of(DATA, np.ones(N), kind_of("VVV"))
    fit = job(data=to_fit_units(DATA, scaling), covariance="VVV", family=normals(D, kind_of("VVV")))
    assert log_prior_in_user_units(fit, scaling, {}) is None
