"""Factor analysers as a family: held to SciPy, scikit-learn, finite differences and to what a maximum must satisfy."""

# SciPy's logsumexp and jax.flatten_util have no types.
# pyright: reportAttributeAccessIssue=false

from copy import deepcopy
from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp
from sklearn.decomposition import FactorAnalysis

from gmm_pipeline.inference import em
from gmm_pipeline.inference.families import compared, moves
from gmm_pipeline.inference.families.factor_objective import factor_log_likelihood
from gmm_pipeline.inference.families.multivariate_objective import in_rows
from gmm_pipeline.inference.families.normals import normals
from gmm_pipeline.inference.parameterization import projected
from gmm_pipeline.inference.plugins import Plugin
from gmm_pipeline.inference.scaling import linear_scaling_of, to_fit_units, to_user_units
from gmm_pipeline.model import priors
from gmm_pipeline.model.covariances import FACTOR, MODELS, Kind, contains, most_factors, number_of_parameters
from gmm_pipeline.model.factor_analysis import canonical, factored
from gmm_pipeline.model.multivariate import (
    MultivariateParameters,
    constrain_multivariate,
    joint_loglikes,
    parameters_of,
)
from gmm_pipeline.model.natural import MultivariateMixture
from gmm_pipeline.model.small_matrices import cholesky_and_inverse

RNG = np.random.default_rng(5)
N, D, Q, K = 240, 7, 2, 3
FAMILY = normals(D, Kind.FACTOR, factors=Q)
TRUE = MultivariateParameters(
    np.log(RNG.dirichlet(np.full(K, 5.0))),
    2.0 * RNG.normal(size=(K, D)),
    0.3 * RNG.normal(size=(K, D)),
    None,
    RNG.normal(size=(K, D, Q)),
)
MIXTURE = constrain_multivariate(TRUE)
LABELS = RNG.choice(K, size=N, p=MIXTURE.weights)
DATA = MIXTURE.locs[LABELS] + np.einsum(
    "nij,nj->ni", np.linalg.cholesky(MIXTURE.covariances)[LABELS], RNG.normal(size=(N, D))
)


@pytest.fixture(autouse=True)
def in_float64():
    with jax.enable_x64(True):
        yield


def a_job(data: np.ndarray, factors: int = Q, scale_floor: float = 0.01, fewest_data: float = 2.5) -> SimpleNamespace:
    prior = SimpleNamespace(log_prior=Plugin(priors.flat, ()))
    return SimpleNamespace(
        data=data, sample_weights=np.ones(len(data)), covariance=FACTOR, factors=factors, noise=None,
        scale_floor=scale_floor, floor_of_few=0.0, fewest_data=fewest_data, plan=prior,
        halves_apart=0.5, is_large=False,
    )  # fmt: skip


def log_likelihood(mixture: MultivariateMixture, data: np.ndarray) -> float:
    of_components = [
        np.log(weight) + stats.multivariate_normal.logpdf(data, loc, covariance)
        for weight, loc, covariance in zip(*mixture, strict=True)
    ]
    return float(logsumexp(of_components, axis=0).sum())


@partial(jax.jit, static_argnames=("factors", "accelerated"))
def stepped(free, state, data, constraints, *, factors: int, accelerated: bool):
    """The free numbers after a step of EM or SQUAREM, the log-likelihood before it, and the gradient's length."""
    family = normals(data.shape[1], Kind.FACTOR, factors=factors)
    blocks, total = in_rows(data, jnp.ones(len(data))), jnp.asarray(float(len(data)))
    mixture = family.mixture_of(free, constraints, sticks=False)
    value, by_mixture = jax.value_and_grad(lambda one: -factor_log_likelihood(one, blocks))(mixture)
    problem = em.Problem(total, 1.0, jnp.asarray(0.0), constraints, family.em_step, by_mixture)
    after = family.em_step(free, free, problem)
    norm = family.gradient_norm(free, after, mixture, problem)
    problem = problem._replace(step=lambda *_: after)
    optimizer = em.squarem() if accelerated else em.em()
    updates, state = optimizer.update(free, state, free, value=value, problem=problem)
    return projected(jax.tree.map(jnp.add, free, updates), constraints), state, -value, norm


def climbed(start: MultivariateParameters, data: np.ndarray, steps: int, *, accelerated: bool = False):
    """Log-likelihoods over steps, the mixture where they end, and the gradient's length there."""
    factors, n_components = start.loadings.shape[-1], len(start.component_mus)
    family, job = normals(data.shape[1], Kind.FACTOR, factors=factors), a_job(data, factors)
    constraints = family.constraints_of(job, np.ones(n_components, bool), family.spread_of(job))
    constraints = jax.tree.map(jnp.asarray, constraints)
    free = family.unconstrained_of(jax.tree.map(jnp.asarray, start), {}, constraints, sticks=False)
    state = (em.squarem() if accelerated else em.em()).init(free)
    values, norm = [], np.inf
    for _ in range(steps):
        free, state, value, norm = stepped(
            free, state, jnp.asarray(data), constraints, factors=factors, accelerated=accelerated
        )
        values.append(float(value))
    return values, family.mixture_of(free, constraints, sticks=False), float(norm)


def rough_start() -> MultivariateParameters:
    pooled = np.broadcast_to(np.cov(DATA.T), (K, D, D))
    return parameters_of(MIXTURE._replace(covariances=pooled), Kind.FACTOR, Q)


def test_the_density_is_that_of_scipy_and_takes_no_matrix_of_all_columns():
    parameters = jax.tree.map(jnp.asarray, TRUE)
    by_datum = jax.jit(jax.vmap(joint_loglikes, (None, 0)))(parameters, jnp.asarray(DATA))
    for k, (weight, loc, covariance) in enumerate(zip(*MIXTURE, strict=True)):
        expected = np.log(weight) + stats.multivariate_normal.logpdf(DATA, loc, covariance)
        np.testing.assert_allclose(by_datum[:, k], expected, rtol=1e-11)
    value = jax.jit(factor_log_likelihood)
    once = value(parameters, in_rows(jnp.asarray(DATA), jnp.ones(N)))
    np.testing.assert_allclose(once, log_likelihood(MIXTURE, DATA), rtol=1e-12)
    blocks = in_rows(jnp.asarray(np.tile(DATA, (10, 1))), jnp.ones(10 * N))
    assert blocks.data.shape[0] > 1
    np.testing.assert_allclose(value(parameters, blocks), 10 * once, rtol=1e-12)
    wide = normals(300, Kind.FACTOR, factors=1)
    shapes = jax.make_jaxpr(lambda one: factor_log_likelihood(one, in_rows(jnp.ones((5, 300)), jnp.ones(5))))
    assert "300,300" not in str(shapes(wide.zeros(2, np.float64)))


def test_the_gradient_equals_finite_differences_and_is_the_same_for_runs_at_once():
    blocks = in_rows(jnp.asarray(DATA), jnp.ones(N))
    flat, unravel = jax.flatten_util.ravel_pytree(jax.tree.map(jnp.asarray, TRUE))
    value = jax.jit(lambda numbers: factor_log_likelihood(unravel(numbers), blocks))
    slopes = jax.jit(jax.grad(value))(flat)
    for direction in np.random.default_rng(1).normal(size=(4, len(flat))):
        numerical = (value(flat + 1e-5 * direction) - value(flat - 1e-5 * direction)) / 2e-5
        np.testing.assert_allclose(slopes @ direction, numerical, rtol=1e-5, atol=1e-4)
    many = jnp.stack([flat, 0.9 * flat, 1.1 * flat])
    slope = jax.jit(jax.grad(value))
    together = jax.jit(jax.vmap(jax.grad(value)))(many)
    for one, found in zip(many, together, strict=True):
        np.testing.assert_allclose(found, slope(one), rtol=1e-9, atol=1e-8)


def test_em_never_falls_and_ends_at_a_maximum():
    values, ended, norm = climbed(rough_start(), DATA, 600)
    assert np.diff(values).min() > -1e-8
    assert norm < 1e-2
    fitted = constrain_multivariate(ended)
    assert values[-1] == pytest.approx(log_likelihood(fitted, DATA), abs=1e-4)
    assert values[-1] > log_likelihood(MIXTURE, DATA)
    joint = np.array(
        [np.log(w) + stats.multivariate_normal.logpdf(DATA, m, c) for w, m, c in zip(*fitted, strict=True)]
    )
    shares = np.exp(joint - logsumexp(joint, axis=0))
    np.testing.assert_allclose(fitted.weights, shares.mean(axis=1), atol=1e-4)
    for share, loc, covariance in zip(shares, fitted.locs, fitted.covariances, strict=True):
        np.testing.assert_allclose(loc, share @ DATA / share.sum(), atol=1e-3)
        # Of factor analysis, the variances of the columns are those of the data (Lawley & Maxwell 1971).
        variances = share @ (DATA - loc) ** 2 / share.sum()
        np.testing.assert_allclose(np.diag(covariance), variances, rtol=2e-3)


def test_accelerated_em_ends_higher_in_fewer_steps():
    once, _, _ = climbed(rough_start(), DATA, 60)
    accelerated, _, _ = climbed(rough_start(), DATA, 60, accelerated=True)
    assert max(accelerated) > max(once)


def test_one_component_is_the_factor_analysis_of_scikit_learn():
    n_columns, factors, random = 20, 3, np.random.default_rng(2)
    loadings, roots = random.normal(size=(n_columns, factors)), np.exp(0.4 * random.normal(size=n_columns))
    data = random.normal(size=(300, factors)) @ loadings.T + roots * random.normal(size=(300, n_columns))
    theirs = FactorAnalysis(factors, tol=1e-8, max_iter=10_000, svd_method="lapack").fit(data)
    alone = MultivariateMixture(np.ones(1), data.mean(axis=0)[None], np.cov(data.T)[None])
    values, ended, _ = climbed(parameters_of(alone, Kind.FACTOR, factors), data, 300, accelerated=True)
    assert max(values) > 300 * theirs.score(data) - 1e-3
    np.testing.assert_allclose(constrain_multivariate(ended).covariances[0], theirs.get_covariance(), atol=1e-2)


def test_units_of_the_columns_change_nothing_but_the_units():
    stretch = 3.0 ** np.arange(-3, D - 3)
    data = DATA * stretch + np.arange(D)
    scaling = linear_scaling_of(data, np.ones(N), Kind.FACTOR)
    np.testing.assert_allclose(to_fit_units(data, scaling).std(axis=0), 1.0)
    outside = to_user_units(TRUE, scaling)
    density = log_likelihood(constrain_multivariate(outside), data)
    inside = log_likelihood(MIXTURE, to_fit_units(data, scaling))
    assert density == pytest.approx(inside - N * scaling.log_volume, rel=1e-10)
    values, _, _ = climbed(rough_start(), DATA, 20)
    start = rough_start()
    moved = start._replace(
        component_mus=start.component_mus * stretch, log_component_scales=start.log_component_scales + np.log(stretch)
    )
    others, _, _ = climbed(moved, DATA * stretch, 20)
    np.testing.assert_allclose(np.array(others) + N * np.log(stretch).sum(), values, rtol=1e-9)


def test_numbers_of_parameters_are_those_of_factor_analysis():
    # Degrees of freedom of the test of factor analysis: a covariance has ((d − q)² − (d + q)) / 2 numbers more.
    for n_columns, factors in ((6, 1), (8, 2), (10, 3)):
        more = number_of_parameters("VVV", 1, n_columns) - number_of_parameters(FACTOR, 1, n_columns, factors)
        assert more == ((n_columns - factors) ** 2 - (n_columns + factors)) / 2
    one, three = (number_of_parameters(FACTOR, k, 8, 2) for k in (1, 3))
    assert three == 3 * one + 2
    assert [most_factors(n_columns) for n_columns in (2, 3, 4, 5, 6, 10)] == [0, 1, 1, 2, 3, 6]


def test_factors_contain_diagonal_covariances_and_are_contained_in_full_ones():
    assert [model for model in MODELS if contains(FACTOR, model)] == ["EII", "VII", "EEI", "VEI", "EVI", "VVI"]
    assert [model for model in MODELS if contains(model, FACTOR)] == ["VVV"]


def test_covariances_of_factors_are_split_into_them_and_turned():
    log_scales, loadings = factored(MIXTURE.covariances, Q)
    back = constrain_multivariate(TRUE._replace(log_component_scales=log_scales, loadings=loadings)).covariances
    scales = MIXTURE.scales
    np.testing.assert_allclose(back / (scales[:, :, None] * scales[:, None]), MIXTURE.correlations, atol=0.02)
    turned = canonical(loadings)
    np.testing.assert_allclose(turned @ turned.swapaxes(1, 2), loadings @ loadings.swapaxes(1, 2), atol=1e-12)
    lengths = turned.swapaxes(1, 2) @ turned
    np.testing.assert_allclose(lengths * (1 - np.eye(Q)), 0.0, atol=1e-12)
    assert (lengths[:, 0, 0] > lengths[:, 1, 1]).all()
    assert (turned.sum(axis=1) > 0.0).all()


def test_small_matrices_have_the_cholesky_factors_of_numpy():
    matrices = MIXTURE.covariances[:, :4, :4]
    factors, inverses = cholesky_and_inverse(jnp.asarray(matrices))
    np.testing.assert_allclose(factors, np.linalg.cholesky(matrices), atol=1e-12)
    np.testing.assert_allclose(inverses, np.linalg.inv(np.linalg.cholesky(matrices)), atol=1e-12)


def test_a_vanishing_uniqueness_is_no_collapse_but_a_flat_component_is():
    job = a_job(DATA)
    spread = FAMILY.spread_of(job)
    floor = np.log(1e-4)
    heywood, flat = (MultivariateParameters(*map(deepcopy, TRUE)) for _ in range(2))
    heywood.log_component_scales[0, :Q] = floor
    heywood.loadings[0, :Q] = np.exp(-floor) * np.eye(Q)
    assert not FAMILY.degenerate(job, heywood, spread).any()
    flat.log_component_scales[1, : Q + 1] = floor
    assert FAMILY.degenerate(job, flat, spread).tolist() == [False, True, False]
    few = TRUE._replace(log_component_weights=np.log([0.5, 0.5 - 3.0 / N, 3.0 / N]))
    assert FAMILY.degenerate(job, few, spread).tolist() == [False, False, True]


def test_moves_make_mixtures_of_factors_and_know_their_densities():
    cloud = moves.Cloud.of(DATA, np.ones(N))
    starts = {"quantile": 0.4, "kmeans": 0.4, "smallest_scale": 0.01, "narrowest": 0.05}
    rows = moves.Rows(cloud, cloud.coordinates(), FACTOR, np.log(0.02), 4, starts, Q)
    generators = [np.random.default_rng(seed) for seed in range(2)]
    drawn = [moves.fresh(generator, rows, 3, K) for generator in generators]
    kept = FAMILY.in_order(jax.tree.map(lambda *leaves: np.stack(leaves), *drawn))
    numbers = {"swap": 2, "split": 2, "nest": 2, "join": 2, "fresh": 1}
    children = moves.varied(generators, rows, kept, np.array([3, 2]), numbers)
    assert children.loadings.shape == (2, 9, K, D, Q)
    mixtures = constrain_multivariate(children)
    assert np.linalg.eigvalsh(mixtures.covariances).min() > 0.0
    assert (compared.distances(kept, kept) == 0.0).all()
    turned = TRUE._replace(loadings=TRUE.loadings @ stats.special_ortho_group.rvs(Q, random_state=1))
    one, other = (jax.tree.map(lambda leaf: leaf[None, None], each) for each in (TRUE, turned))
    np.testing.assert_allclose(compared.distances(one, other), 0.0, atol=1e-12)
    found = compared.log_densities(TRUE, DATA)
    expected = [stats.multivariate_normal.logpdf(DATA, *one) for one in zip(*MIXTURE[1:], strict=True)]
    np.testing.assert_allclose(found - found[0, 0], np.array(expected) - expected[0][0], rtol=1e-4, atol=1e-3)
    whiteners = compared.whiteners_of(TRUE)
    np.testing.assert_allclose(
        whiteners.swapaxes(1, 2) @ whiteners, np.linalg.inv(MIXTURE.covariances), rtol=1e-8, atol=1e-10
    )


def test_a_component_split_in_two_keeps_its_mean_and_covariance():
    job = a_job(DATA)
    halves = constrain_multivariate(FAMILY.split(job, TRUE, 1, False))
    pair = [1, K]
    shares = halves.weights[pair] / halves.weights[pair].sum()
    loc = shares @ halves.locs[pair]
    np.testing.assert_allclose(loc, MIXTURE.locs[1], atol=1e-10)
    away = halves.locs[pair] - loc
    whole = np.einsum("k,kij->ij", shares, halves.covariances[pair] + away[:, :, None] * away[:, None])
    np.testing.assert_allclose(np.diag(whole), np.diag(MIXTURE.covariances[1]), rtol=1e-6)
    (merged, *_) = FAMILY.merges(FAMILY.split(job, TRUE, 1, False))
    assert len(merged.log_component_weights) == K
