"""EM under priors on locs and covariances: Fraley & Raftery's maximisation, and where it ends."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp
from small_fits import job, plugin

from gmm_pipeline.errors import InputError
from gmm_pipeline.inference import em, jobs, tracing
from gmm_pipeline.inference.families.multivariate_objective import in_rows, multivariate_log_likelihood
from gmm_pipeline.inference.families.normal import NORMAL
from gmm_pipeline.inference.families.normals import normals
from gmm_pipeline.model import priors
from gmm_pipeline.model.covariances import MODELS, kind_of
from gmm_pipeline.model.mixture import Parameters
from gmm_pipeline.model.multivariate import constrain_multivariate, parameters_of
from gmm_pipeline.model.natural import MultivariateMixture, mean_and_covariance
from gmm_pipeline.stages.fit_checks import check_prior

RNG = np.random.default_rng(7)
N, D, K = 90, 3, 3
ROOTS = RNG.normal(size=(K, D, D)) * 0.4 + np.eye(D)
DATA = np.concatenate([RNG.normal(size=(N // K, D)) @ root + 2.0 * RNG.normal(size=D) for root in ROOTS])
CONJUGATE = {"shrinkage": 0.6, "extra_degrees_of_freedom": 2.0, "variance": 0.8}
WEAKLY = {"concentration": 2.0, "loc": 0.0, "loc_scale": 2.0, "scale_shape": 2.0, "scale_scale": 0.5}
PRIORS = {
    "conjugate": plugin(priors.normal_inverse_wishart, **CONJUGATE),
    "penalty": plugin(priors.variance_penalty, strength=0.7, variance=0.9),
    "weak": plugin(priors.weakly_informative, **WEAKLY),
}


@pytest.fixture(autouse=True)
def in_float64():
    with jax.enable_x64(True):
        yield


def a_job(model: str, prior, **changes) -> jobs.FitJob:
    family = normals(D, kind_of(model))
    found = job(data=DATA, covariance=model, n_components=K, family=family, log_prior=prior, **changes)
    return found._replace(sample_weights=np.ones(N))


def start_of(model: str) -> MultivariateMixture:
    rng = np.random.default_rng(1)
    around = mean_and_covariance(DATA, np.ones(N))[1]
    locs = DATA[rng.choice(N, K, replace=False)]
    stretch = np.array([0.3, 0.5, 0.9])[:, None, None] * around
    return MultivariateMixture(np.array([0.2, 0.3, 0.5]), locs, stretch)


@partial(jax.jit, static_argnames=("family", "prior"))
def stepped(free, constraints, *, family, prior):
    """Log posterior, its gradient by the free numbers, the next ones of EM, and the gradient's length."""
    blocks = in_rows(jnp.asarray(DATA), jnp.ones(N))
    mixture_of = partial(family.mixture_of, constraints=constraints, sticks=False)

    def loss(mixture):
        density = tracing.prior_density(prior, mixture, constraints.active, constraints.setting)
        return -(multivariate_log_likelihood(mixture, blocks) + density)

    mixture, pulled_back = jax.vjp(mixture_of, free)
    value, by_mixture = jax.value_and_grad(loss)(mixture)
    added = tracing.added_by(prior, constraints.active, constraints.setting)
    problem = em.Problem(jnp.asarray(float(N)), 1.0, jnp.asarray(0.0), constraints, family.em_step, by_mixture, added)
    after = family.em_step(free, free, problem)
    return -value, pulled_back(by_mixture)[0], after, family.gradient_norm(free, after, mixture, problem)


def begun(model: str, prior):
    one = a_job(model, prior)
    family = one.plan.family
    constraints = jax.tree.map(jnp.asarray, family.constraints_of(one, np.ones(K, bool), family.spread_of(one)))
    parameters = jax.tree.map(jnp.asarray, parameters_of(start_of(model), kind_of(model)))
    free = family.unconstrained_of(parameters, {}, constraints, sticks=False)
    return free, constraints, partial(stepped, family=family, prior=prior), family


def natural(free, constraints, family) -> MultivariateMixture:
    return constrain_multivariate(family.mixture_of(free, constraints, sticks=False))


@pytest.mark.parametrize("model", ["EII", "VII", "EEI", "VVI", "EEE", "VVV"])
def test_a_step_is_the_maximisation_of_fraley_and_raftery(model):
    """Their estimators (2007, tables 1 and 2), from responsibilities by SciPy."""
    free, constraints, step, family = begun(model, PRIORS["conjugate"])
    before = natural(free, constraints, family)
    found = natural(step(free, constraints)[2], constraints, family)
    joint = np.log(before.weights)[:, None] + [
        stats.multivariate_normal.logpdf(DATA, loc, covariance)
        for loc, covariance in zip(before.locs, before.covariances, strict=True)
    ]
    shares = np.exp(joint - logsumexp(joint, axis=0))
    counts, means = shares.sum(axis=1), (shares @ DATA) / shares.sum(axis=1, keepdims=True)
    (mean, covariance), kappa, degrees = mean_and_covariance(DATA, np.ones(N)), 0.6, D + 2.0
    away = means - mean
    scale = 0.8 * covariance / K ** (2 / D)
    within = np.stack([(DATA - loc).T @ (one[:, None] * (DATA - loc)) for one, loc in zip(shares, means, strict=True)])
    ratio = kappa * counts / (kappa + counts)
    within += ratio[:, None, None] * away[:, :, None] * away[:, None, :]
    diagonals, scales = np.diagonal(within, axis1=1, axis2=2), np.diagonal(scale)
    expected = {
        "EII": (scales.mean() + diagonals.sum()) / (degrees + (N + K) * D + 2) * np.ones((K, D)),
        "VII": ((scales.mean() + diagonals.sum(axis=1)) / (degrees + (counts + 1) * D + 2))[:, None] * np.ones((K, D)),
        "EEI": (scales + diagonals.sum(axis=0)) / (degrees + N + K + 2) * np.ones((K, 1)),
        "VVI": (scales + diagonals) / (degrees + counts + 3)[:, None],
        "EEE": (scale + within.sum(axis=0)) / (degrees + N + D + K + 1) * np.ones((K, 1, 1)),
        "VVV": (scale + within) / (degrees + counts + D + 2)[:, None, None],
    }[model]
    if expected.ndim == 2:
        expected = expected[..., None] * np.eye(D)
    np.testing.assert_allclose(found.weights, counts / N, rtol=1e-9)
    shrunk = (counts[:, None] * means + kappa * mean) / (kappa + counts)[:, None]
    np.testing.assert_allclose(found.locs, shrunk, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(found.covariances, expected, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("model", MODELS)
def test_steps_end_where_the_gradient_of_the_log_posterior_vanishes(model, prior):
    free, constraints, step, _ = begun(model, PRIORS[prior])
    values, slopes = [], free
    for _ in range(400):
        value, slopes, free, norm = step(free, constraints)
        values.append(float(value))
        if norm < 1e-8:
            break
    longest = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(slopes))
    assert longest < 1e-4
    if prior != "weak":
        assert np.diff(values).min() > -1e-9


def test_em_is_refused_where_it_is_not_exact():
    conjugate, weak = PRIORS["conjugate"], PRIORS["weak"]
    jobs.check(a_job("VVV", conjugate, optimizer=plugin(em.squarem)))
    jobs.check(job(log_prior=conjugate, optimizer=plugin(em.em)))
    with pytest.raises(InputError, match=r"flat, dirichlet, .*normal_inverse_wishart and variance_penalty priors only"):
        jobs.check(a_job("VVV", weak, optimizer=plugin(em.squarem)))


OF_ONE_COLUMN = {
    "conjugate": plugin(priors.normal_inverse_gamma, loc=0.3, shrinkage=0.6, degrees_of_freedom=3.0, variance=0.8),
    "wishart": PRIORS["conjugate"],
    "penalty": plugin(priors.variance_penalty, strength=0.7, variance=1.3),
    "weak": PRIORS["weak"],
}
COLUMN = DATA[:, 0]


def begun_of_one_column(prior, *, equal: bool):
    one = job(data=COLUMN, n_components=K, log_prior=prior, equal_scales=equal)
    constraints = jax.tree.map(jnp.asarray, NORMAL.constraints_of(one, np.ones(K, bool), NORMAL.spread_of(one)))
    log_scales = np.log([0.9, 0.9, 0.9] if equal else [0.4, 0.9, 1.5])
    start = Parameters(*map(jnp.asarray, (np.log([0.2, 0.3, 0.5]), np.array([-1.0, 0.5, 2.0]), log_scales)))
    return NORMAL.unconstrained_of(start, {}, constraints, sticks=False), constraints


@partial(jax.jit, static_argnames="prior")
def stepped_of_one_column(free, constraints, *, prior):
    def loss(free):
        mixture = NORMAL.mixture_of(free, constraints, sticks=False)
        of_one = jax.vmap(lambda mu, log_scale: jax.scipy.stats.norm.logpdf(COLUMN, mu, jnp.exp(log_scale)))
        joint = of_one(mixture.component_mus, mixture.log_component_scales)
        joint = joint + jax.nn.log_softmax(mixture.log_component_weights)[:, None]
        of_data = jnp.sum(jax.scipy.special.logsumexp(joint, axis=0))
        return -(of_data + tracing.prior_density(prior, mixture, constraints.active, None))

    value, gradient = jax.value_and_grad(loss)(free)
    added = tracing.added_by(prior, constraints.active, None)
    problem = em.Problem(jnp.asarray(float(N)), 1.0, jnp.asarray(0.0), constraints, em.em_step, None, added)
    return -value, gradient, em.em_step(free, gradient, problem)


@pytest.mark.parametrize("equal", [False, True])
def test_a_step_of_one_column_is_the_maximisation_under_the_conjugate_prior(equal):
    """From responsibilities by SciPy: κ more data at m, and a sum of squares ς² with ν + 3 more for each variance."""
    prior, kappa, degrees, loc = OF_ONE_COLUMN["conjugate"], 0.6, 3.0, 0.3
    free, constraints = begun_of_one_column(prior, equal=equal)
    weights, mus, scales = (np.exp(free.parameters[0]), free.parameters[1], np.exp(free.parameters[2]))
    joint = weights / weights.sum() * stats.norm.pdf(COLUMN[:, None], mus, scales)
    shares = joint / joint.sum(axis=1, keepdims=True)
    counts = shares.sum(axis=0)
    locs = (shares.T @ COLUMN + kappa * loc) / (counts + kappa)
    squares = (shares * (COLUMN[:, None] - locs) ** 2).sum(axis=0) + kappa * (locs - loc) ** 2 + 0.8 / K**2
    variances = squares / (counts + degrees + 3.0)
    if equal:
        variances = np.full(K, squares.sum() / (N + K * (degrees + 3.0)))
    found = stepped_of_one_column(free, constraints, prior=prior)[2].parameters
    np.testing.assert_allclose(np.exp(found.log_component_weights), counts / N, rtol=1e-9)
    np.testing.assert_allclose(found.component_mus, locs, rtol=1e-9)
    np.testing.assert_allclose(np.exp(2.0 * found.log_component_scales), variances, rtol=1e-9)


@pytest.mark.parametrize("prior", OF_ONE_COLUMN)
def test_steps_of_one_column_end_where_the_gradient_of_the_log_posterior_vanishes(prior):
    free, constraints = begun_of_one_column(OF_ONE_COLUMN[prior], equal=False)
    values, slopes = [], free
    for _ in range(3000):
        value, slopes, free = stepped_of_one_column(free, constraints, prior=OF_ONE_COLUMN[prior])
        values.append(float(value))
    assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(slopes)) < 1e-4
    if prior != "weak":
        assert np.diff(values).min() > -1e-9


def test_a_component_of_one_column_with_next_to_no_data_goes_no_farther_than_to_where_the_prior_has_it():
    free, constraints = begun_of_one_column(OF_ONE_COLUMN["weak"], equal=False)
    far = free.parameters._replace(component_mus=jnp.array([-1.0, 0.5, 12.0]))
    found = stepped_of_one_column(free._replace(parameters=far), constraints, prior=OF_ONE_COLUMN["weak"])[2]
    assert 0.0 <= float(found.parameters.component_mus[2]) <= 12.0


def test_a_prior_of_one_column_is_refused_for_several_by_name():
    assert check_prior(PRIORS["weak"], D) is PRIORS["weak"]
    one = plugin(priors.normal_half_normal, loc=0.0, loc_scale=1.0, scale_scale=1.0)
    assert check_prior(one, 0) is one
    with pytest.raises(InputError, match=r"prior: expected flat, .* for several columns, but got normal_half_normal"):
        check_prior(one, D)


@pytest.mark.parametrize("prior", [PRIORS["weak"], plugin(priors.lkj, **WEAKLY, correlation_shape=2.0)])
@pytest.mark.parametrize("model", ["VVI", "VVV"])
def test_a_component_with_next_to_no_data_goes_no_farther_than_to_where_the_prior_has_it(model, prior):
    free, constraints, step, family = begun(model, prior)
    (mean, _), before = mean_and_covariance(DATA, np.ones(N)), start_of(model)
    emptied = before._replace(locs=np.concatenate([before.locs[:2], mean[None] + 9.0]))
    # What it is responsible for, and the datum that the Dirichlet prior adds less its share of all, are next to none.
    moved = emptied._replace(weights=np.array([1.0, 1.0, 1.0 - 1e-9]) / 3.0)
    parameters = jax.tree.map(jnp.asarray, parameters_of(moved, kind_of(model)))
    free = family.unconstrained_of(parameters, {}, constraints, sticks=False)
    after = natural(step(free, constraints)[2], constraints, family)
    assert (np.abs(after.locs[2] - mean) <= np.abs(moved.locs[2] - mean)).all()
