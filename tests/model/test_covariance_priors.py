"""Priors of several columns: held to SciPy's densities, finite differences, and the maxima that papers state."""

# SciPy's stubs take a matrix for a whole number.
# pyright: reportArgumentType=false

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from gmm_pipeline.model import priors
from gmm_pipeline.model.correlation_priors import lkj_density, log_normaliser
from gmm_pipeline.model.covariances import Kind
from gmm_pipeline.model.mixture import Parameters
from gmm_pipeline.model.multivariate import MultivariateParameters, parameters_of
from gmm_pipeline.model.natural import MultivariateMixture
from gmm_pipeline.model.prior_traits import Setting

RNG = np.random.default_rng(5)
D, K = 3, 2
ROOTS = RNG.normal(size=(K + 1, D, D)) * 0.6 + np.eye(D)
SIGMAS = ROOTS[:K] @ ROOTS[:K].transpose(0, 2, 1)
MEAN, COVARIANCE = RNG.normal(size=D), ROOTS[K] @ ROOTS[K].T
MIXTURE = MultivariateMixture(np.array([0.3, 0.7]), RNG.normal(size=(K, D)), SIGMAS)
CONJUGATE = {"shrinkage": 0.3, "extra_degrees_of_freedom": 1.5, "variance": 1.4}
WEAKLY = {"concentration": 1.5, "loc": 0.2, "loc_scale": 1.7, "scale_shape": 2.5, "scale_scale": 0.8}
LKJ = {**WEAKLY, "correlation_shape": 1.7}
PENALTY = {"strength": 0.05, "variance": 1.3}
PROCESS = {
    "concentration": 1.3,
    "concentration_shape": 2.0,
    "concentration_rate": 0.7,
    "loc": 0.2,
    "loc_scale": 1.7,
    "scale_shape": 2.5,
    "scale_scale": 4.0,
}
OF_COLUMNS = {
    priors.normal_inverse_wishart: CONJUGATE,
    priors.weakly_informative: WEAKLY,
    priors.lkj: LKJ,
    priors.variance_penalty: PENALTY,
    priors.dirichlet_process: PROCESS,
}
ALL = np.ones(K, bool)


@pytest.fixture(autouse=True)
def in_float64():
    with jax.enable_x64(True):
        yield


def setting_of(kind: Kind, *, is_one: bool = False) -> Setting:
    by_columns = kind in (Kind.SPHERICAL, Kind.DIAGONAL)
    covariance = np.diagonal(COVARIANCE) if by_columns else COVARIANCE
    return Setting(MEAN, covariance, np.array(is_one), np.array(kind is Kind.SPHERICAL))


def of_kind(kind: Kind) -> MultivariateMixture:
    """The mixture, as far as a model of this kind has it."""
    variances = np.diagonal(SIGMAS, axis1=1, axis2=2)
    if kind is Kind.SPHERICAL:
        variances = np.broadcast_to(variances.mean(axis=1, keepdims=True), variances.shape)
    if kind in (Kind.SPHERICAL, Kind.DIAGONAL):
        return MIXTURE._replace(covariances=variances[..., None] * np.eye(D))
    return MIXTURE


def log_wishart(kind: Kind, covariance: np.ndarray, degrees: float, degrees_of_columns: float, scale, of_columns):
    """SciPy's density of one covariance; of variances where the kind has no more."""
    if kind in (Kind.FULL, Kind.ORIENTED):
        return stats.invwishart.logpdf(covariance, degrees, scale)
    variances, scales = np.diagonal(covariance), np.diagonal(of_columns)
    if kind is Kind.SPHERICAL:
        variances, scales = variances[:1], scales.mean(keepdims=True)
    return stats.invgamma.logpdf(variances, degrees_of_columns / 2, scale=scales / 2).sum()


def expected(prior, kind: Kind) -> float:
    mixture = of_kind(kind)
    if prior is priors.normal_inverse_wishart:
        scale = 1.4 * COVARIANCE / K ** (2 / D)
        of_covariances = [log_wishart(kind, one, D + 1.5, D + 1.5, scale, scale) for one in mixture.covariances]
        around = [covariance / 0.3 for covariance in mixture.covariances]
        return sum(of_covariances) + sum(
            stats.multivariate_normal.logpdf(loc, MEAN, one) for loc, one in zip(mixture.locs, around, strict=True)
        )
    covariance = COVARIANCE if kind in (Kind.FULL, Kind.ORIENTED) else np.diag(np.diagonal(COVARIANCE))
    if prior is priors.variance_penalty:
        ratios = np.linalg.solve(mixture.covariances, 1.3 * covariance)
        return float(np.sum(-0.05 * (np.trace(ratios, axis1=1, axis2=2) - np.linalg.slogdet(ratios)[1])))
    around = MEAN + 0.2 * np.sqrt(np.diagonal(COVARIANCE))
    of_locs = stats.multivariate_normal.logpdf(mixture.locs, around, 1.7**2 * covariance).sum()
    if prior is priors.dirichlet_process:
        scale = 4.0 * COVARIANCE
        of_covariances = [
            log_wishart(kind, one, 2.5 + D - 1, 2.5, scale, scale) + log_measure(kind, one)
            for one in mixture.covariances
        ]
        # Stick of the heavier component, as a logit; the concentration, as a logarithm.
        of_weights = stats.beta.logpdf(0.7, 1, 1.3) + np.log(0.7 * 0.3)
        of_weights += stats.gamma.logpdf(1.3, 2.0, scale=1 / 0.7) + np.log(1.3)
        return of_weights + of_locs + sum(of_covariances)
    if prior is priors.lkj:
        of_covariances = [log_lkj(kind, one) for one in mixture.covariances]
        return stats.dirichlet.logpdf(mixture.weights, [1.5] * K) + of_locs + sum(of_covariances)
    most_probable = (0.8 / 3.5) ** 2 * COVARIANCE
    scale, of_columns = (2.5 + 2 * D) * most_probable, (2.5 + 2) * most_probable
    of_covariances = [log_wishart(kind, one, 2.5 + D - 1, 2.5, scale, of_columns) for one in mixture.covariances]
    return stats.dirichlet.logpdf(mixture.weights, [1.5] * K) + of_locs + sum(of_covariances)


def log_lkj(kind: Kind, covariance: np.ndarray) -> float:
    """Of scales and correlations, with the normaliser of partial correlations, which are independent betas."""
    scales, units = np.sqrt(np.diagonal(covariance)), np.sqrt(np.diagonal(COVARIANCE))
    if kind is Kind.SPHERICAL:
        scales, units = scales[:1], np.sqrt([np.diagonal(COVARIANCE).mean()])
    of_scales = stats.invgamma.logpdf(scales, 2.5, scale=0.8 * units).sum()
    if kind in (Kind.SPHERICAL, Kind.DIAGONAL):
        return of_scales
    root = np.linalg.cholesky(covariance / np.outer(scales, scales))
    # R = L Lᵀ, where L holds partial correlations; the vine of Lewandowski, Kurowicka & Joe, section 2.4.
    found, left = 0.0, np.ones(D)
    for j in range(D - 1):
        for i in range(j + 1, D):
            partial_ = root[i, j] / np.sqrt(left[i])
            shape = 1.7 + 0.5 * (D - 2 - j)
            found += stats.beta.logpdf(0.5 * (partial_ + 1.0), shape, shape) - np.log(2.0)
            # |dp/dr| of the vine, by which a density of partial correlations becomes one of R.
            found -= 0.5 * (D - 2 - j) * np.log1p(-(partial_**2))
            left[i] -= root[i, j] ** 2
    return of_scales + found


def log_measure(kind: Kind, covariance: np.ndarray) -> float:
    """log |dΣ / d log Σ|, of variances where the kind has no more."""
    variances = np.diagonal(covariance)
    if kind in (Kind.SPHERICAL, Kind.DIAGONAL):
        return float(np.log(variances[:1] if kind is Kind.SPHERICAL else variances).sum())
    return 0.5 * (D + 1) * float(np.linalg.slogdet(covariance)[1])


def test_correlations_of_two_columns_have_a_density_that_integrates_to_one():
    total, _ = integrate.quad(lambda r: (1 - r * r) ** 0.7, -1, 1)
    np.testing.assert_allclose(log_normaliser(2, 1.7), np.log(total), rtol=1e-10)


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.FACTOR])
@pytest.mark.parametrize("prior", OF_COLUMNS, ids=lambda prior: prior.__name__)
def test_densities_are_those_of_scipy(prior, kind):
    parameters = parameters_of(of_kind(kind), kind)
    found = jax.jit(partial(prior, **OF_COLUMNS[prior]))(parameters, ALL, setting_of(kind))
    np.testing.assert_allclose(found, expected(prior, kind), rtol=1e-10)


@pytest.mark.parametrize("prior", OF_COLUMNS, ids=lambda prior: prior.__name__)
def test_inactive_components_count_for_nothing_and_have_no_gradient(prior):
    parameters = parameters_of(MIXTURE, Kind.FULL)
    wide = jax.tree.map(
        lambda leaf: np.pad(np.asarray(leaf), [(0, 1), *[(0, 0)] * (np.ndim(leaf) - 1)], constant_values=9e3),
        parameters,
    )
    value = jax.jit(jax.value_and_grad(partial(prior, setting=setting_of(Kind.FULL), **OF_COLUMNS[prior])))
    (found, slopes), (alone, _) = value(wide, np.array([True] * K + [False])), value(parameters, ALL)
    np.testing.assert_allclose(found, alone, rtol=1e-12)
    assert all(not np.any(leaf[K]) for leaf in jax.tree.leaves(slopes))


@pytest.mark.parametrize("prior", [priors.normal_inverse_wishart, priors.weakly_informative])
def test_one_covariance_for_all_components_counts_once(prior):
    same = MIXTURE._replace(covariances=np.stack([SIGMAS[0]] * K))
    parameters = parameters_of(same, Kind.FULL)
    each, once = (
        float(prior(parameters, ALL, setting_of(Kind.FULL, is_one=one), **OF_COLUMNS[prior])) for one in (False, True)
    )
    if prior is priors.normal_inverse_wishart:
        own = stats.invwishart.logpdf(SIGMAS[0], D + 1.5, 1.4 * COVARIANCE / K ** (2 / D))
    else:
        own = stats.invwishart.logpdf(SIGMAS[0], 2.5 + D - 1, (2.5 + 2 * D) * (0.8 / 3.5) ** 2 * COVARIANCE)
    np.testing.assert_allclose(each - once, own, rtol=1e-9)


def test_of_one_column_the_conjugate_priors_agree():
    log_weights, mus, log_scales = np.log([0.3, 0.7]), np.array([-1.0, 0.4]), np.array([-0.5, 0.2])
    parameters = Parameters(log_weights, mus, log_scales)
    gamma = priors.normal_inverse_gamma(parameters, ALL, loc=0.0, shrinkage=0.3, degrees_of_freedom=2.5, variance=1.4)
    np.testing.assert_allclose(priors.normal_inverse_wishart(parameters, ALL, **CONJUGATE), gamma, rtol=1e-12)
    for axes, ones in ((None, np.ones(1)), (np.ones((K, 1, 1)), np.ones((1, 1)))):
        setting = Setting(np.zeros(1), ones, np.array(False), np.array(False))
        columns = MultivariateParameters(log_weights, mus[:, None], log_scales[:, None], axes)
        found = priors.normal_inverse_wishart(columns, ALL, setting, **CONJUGATE)
        np.testing.assert_allclose(found, gamma, rtol=1e-12)


def test_the_most_probable_scale_of_the_weak_prior_is_the_same_in_every_direction():
    """Σ = (b/(a+1))² C: the gradient by the covariance, at locs that do not matter, vanishes there."""
    numbers = {**WEAKLY, "loc_scale": 1e6}

    def density(factor):
        log_diagonal = jnp.log(jnp.diagonal(factor))
        axes = jnp.exp(log_diagonal)[:, None] * jnp.linalg.inv(factor)
        one = MultivariateParameters(jnp.zeros(1), jnp.zeros((1, D)), log_diagonal[None], axes[None])
        return priors.weakly_informative(one, np.ones(1, bool), setting_of(Kind.FULL), **numbers)

    best = 0.8 / 3.5 * np.linalg.cholesky(COVARIANCE)
    slope = jnp.tril(jax.jit(jax.grad(density))(jnp.asarray(best)))
    np.testing.assert_allclose(slope, 0.0, atol=1e-8)
    assert density(jnp.asarray(best)) > density(jnp.asarray(1.1 * best))


def test_a_compiled_prior_on_correlations_calls_no_inverse_of_lapack():
    """Batches of these calls may wait for each other for ever; see `small_matrices`."""
    size = 20
    parameters = MultivariateParameters(
        np.zeros(K), np.zeros((K, size)), np.zeros((K, size)), np.stack([np.eye(size)] * K)
    )
    setting = Setting(np.zeros(size), np.eye(size), np.array(False), np.array(False))
    density = partial(lkj_density, loc=0.0, loc_scale=2.0, scale_shape=2.0, scale_scale=0.5, correlation_shape=2.0)
    text = (
        jax.jit(jax.vmap(density, in_axes=(0, None, None)))
        .lower(jax.tree.map(lambda leaf: leaf[None], parameters), ALL, setting)
        .as_text()
    )
    assert "getrf" not in text
    found = density(parameters, ALL, setting)
    of_scales = stats.invgamma.logpdf(1.0, 2.0, scale=0.5) * size - log_normaliser(size, 2.0)
    of_locs = stats.norm.logpdf(0.0, scale=2.0) * size
    np.testing.assert_allclose(found, K * (of_scales + of_locs), rtol=1e-10)
