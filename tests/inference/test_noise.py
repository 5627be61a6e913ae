"""A noise component beside any family: held to formulas in NumPy, finite differences, and SciPy's geometry."""

# SciPy's logsumexp and jax.flatten_util have no types.
# pyright: reportAttributeAccessIssue=false

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from scipy import stats
from scipy.special import logsumexp

from gmm_pipeline.inference import em
from gmm_pipeline.inference.families.noisy import equal_odds, with_noise
from gmm_pipeline.inference.families.normal import NORMAL
from gmm_pipeline.inference.families.normals import normals
from gmm_pipeline.inference.parameterization import Constraints, Unconstrained
from gmm_pipeline.model.covariances import Kind, kind_of
from gmm_pipeline.model.mixture import Parameters
from gmm_pipeline.model.multivariate import natural_of, parameters_of
from gmm_pipeline.model.natural import MultivariateMixture
from gmm_pipeline.model.noise import BOX, HULL, log_volume, weight_of_noise

RNG = np.random.default_rng(5)
N, LOG_NOISE, WEIGHT = 300, -2.3, 0.15
ONE = np.concatenate([RNG.normal(-1.0, 0.4, 180), RNG.normal(1.5, 0.7, 90), RNG.uniform(-4.0, 4.0, 30)])
TWO = np.column_stack([ONE, RNG.permutation(ONE) * 0.7])
COUNTS = RNG.integers(0, 3, N).astype(float)
WEIGHTS = np.array([0.5, 0.35])


@pytest.fixture(autouse=True)
def in_float64():
    with jax.enable_x64(True):
        yield


def a_case(kind: Kind | None) -> tuple:
    """A family with noise, parameters (log odds against the noise) and data."""
    log_odds = np.log(WEIGHTS / WEIGHT)
    if kind is None:
        return with_noise(NORMAL), Parameters(log_odds, np.array([-0.8, 1.2]), np.log([0.5, 0.8])), ONE
    covariances = np.array([[[0.5, 0.2], [0.2, 0.4]], [[0.9, -0.3], [-0.3, 0.7]]])
    parameters = parameters_of(MultivariateMixture(WEIGHTS, np.array([[-0.8, 0.1], [1.2, 0.3]]), covariances), kind)
    return with_noise(normals(2, kind)), parameters._replace(log_component_weights=log_odds), TWO


def log_joints(parameters, data: np.ndarray) -> np.ndarray:
    """Log joint densities of the components and, last, of the noise, by SciPy."""
    mixture = natural_of(parameters, noise=True)
    if data.ndim == 1:
        of = [stats.norm.logpdf(data, *one) for one in zip(mixture.locs, mixture.scales, strict=True)]
    else:
        of = [stats.multivariate_normal.logpdf(data, *one) for one in zip(*mixture[1:], strict=True)]
    noise = np.full(len(data), np.log(1.0 - mixture.weights.sum()) + LOG_NOISE)
    return np.stack([*(np.log(weight) + one for weight, one in zip(mixture.weights, of, strict=True)), noise])


def objective(family, data: np.ndarray, fused: bool, dtype: Any = np.float64):
    blocks = family.lay_out(jnp.asarray(data, dtype), jnp.asarray(COUNTS, dtype), fused=fused)
    noise = jnp.asarray(LOG_NOISE, dtype)
    return jax.jit(
        partial(family.log_likelihood_of, laid_out=blocks, active=jnp.ones(2, bool), fused=fused, noise=noise)
    )


@pytest.mark.parametrize(
    ("kind", "fused"), [(None, False), (None, True), (Kind.SPHERICAL, True), (Kind.DIAGONAL, True), (Kind.FULL, True)]
)
def test_the_likelihood_is_the_formula_and_its_gradient_equals_finite_differences(kind, fused):
    family, parameters, data = a_case(kind)
    of = objective(family, data, fused)
    expected = COUNTS @ logsumexp(log_joints(parameters, data), axis=0)
    np.testing.assert_allclose(of(parameters), expected, rtol=1e-12)
    flat, unravel = ravel_pytree(jax.tree.map(jnp.asarray, parameters))
    gradient, _ = ravel_pytree(jax.jit(jax.grad(of))(jax.tree.map(jnp.asarray, parameters)))
    numerical = [(of(unravel(flat + step)) - of(unravel(flat - step))) / 2e-5 for step in 1e-5 * np.eye(len(flat))]
    np.testing.assert_allclose(gradient, numerical, rtol=1e-6, atol=1e-5)


def test_in_float32_the_likelihood_loses_no_more_than_sums_do():
    family, parameters, data = a_case(None)
    small = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), parameters)
    expected = COUNTS @ logsumexp(log_joints(parameters, data), axis=0)
    np.testing.assert_allclose(objective(family, data, True, np.float32)(small), expected, rtol=3e-6)


def test_padding_components_change_nothing():
    family, parameters, data = a_case(None)
    padded = Parameters(*(np.append(leaf, 0.3) for leaf in parameters))
    blocks = family.lay_out(jnp.asarray(data), jnp.asarray(COUNTS), fused=True)
    found = family.log_likelihood_of(
        padded, blocks, active=jnp.array([True, True, False]), fused=True, noise=jnp.asarray(LOG_NOISE)
    )
    np.testing.assert_allclose(found, objective(family, data, True)(parameters), rtol=1e-14)


@pytest.mark.parametrize("pseudo_count", [0.0, 0.5])
@pytest.mark.parametrize("equal_scales", [False, True])
def test_a_step_is_that_of_em_with_one_uniform_component(equal_scales, pseudo_count):
    family, parameters, data = a_case(None)
    if equal_scales:
        parameters = parameters._replace(log_component_scales=np.full(2, np.log(0.6)))
    parameters = jax.tree.map(jnp.asarray, parameters)
    constraints = Constraints(jnp.ones(2, bool), jnp.asarray(equal_scales), jnp.asarray(-20.0), jnp.asarray(LOG_NOISE))

    def loss(one):
        prior = pseudo_count * jnp.sum(jax.nn.log_softmax(one.log_component_weights))
        return -(objective(family, data, False)(one) + prior)

    gradient = jax.jit(jax.grad(loss))(parameters)
    total = jnp.asarray(COUNTS.sum())
    problem = em.Problem(total, 1.0, jnp.asarray(pseudo_count), constraints, family.em_step, gradient)
    after = family.em_step(Unconstrained(parameters, {}), Unconstrained(gradient, {}), problem)
    joint = log_joints(parameters, data)
    r = np.exp(joint - logsumexp(joint, axis=0)) * COUNTS
    counts = r.sum(axis=1)
    shares = (counts[:2] + pseudo_count) / (counts[:2] + pseudo_count).sum() * (1.0 - counts[2] / COUNTS.sum())
    locs = r[:2] @ data / counts[:2]
    squares = (r[:2] * (data - locs[:, None]) ** 2).sum(axis=1)
    scales = np.sqrt(squares.sum() / counts[:2].sum()) * np.ones(2) if equal_scales else np.sqrt(squares / counts[:2])
    found = natural_of(after.parameters, noise=True)
    np.testing.assert_allclose(found.weights, shares, rtol=1e-10)
    np.testing.assert_allclose(found.locs, locs, rtol=1e-10)
    np.testing.assert_allclose(found.scales, scales, rtol=1e-8)


@pytest.mark.parametrize("model", ["VVV", "EEI", "VEV"])
def test_em_of_several_columns_never_falls_and_ends_where_the_gradient_vanishes(model):
    family, parameters, data = a_case(kind_of(model))

    class Job:
        covariance, scale_floor, sample_weights, noise = model, 0.0, COUNTS, LOG_NOISE
        floor_of_few = 0.0
        is_large = False

    Job.data = data
    with np.errstate(divide="ignore"):
        constraints = family.constraints_of(Job, np.ones(2, bool), family.spread_of(Job))
    constraints = jax.tree.map(jnp.asarray, constraints)
    free = family.unconstrained_of(jax.tree.map(jnp.asarray, parameters), {}, constraints, sticks=False)
    of = objective(family, data, True)

    @jax.jit
    def step(free):
        mixture = family.mixture_of(free, constraints, sticks=False)
        value, gradient = jax.value_and_grad(lambda one: -of(one))(mixture)
        total = jnp.asarray(COUNTS.sum())
        problem = em.Problem(total, 1.0, jnp.asarray(0.0), constraints, family.em_step, gradient)
        after = family.em_step(free, free, problem)
        return -value, after, family.gradient_norm(free, after, mixture, problem)

    values, norm = [], np.inf
    for _ in range(400):
        value, free, norm = step(free)
        values.append(float(value))
    assert np.diff(values).min() > -1e-9
    assert norm < 1e-5
    joint = log_joints(family.mixture_of(free, constraints, sticks=False), data)
    noise = np.exp(joint[-1] - logsumexp(joint, axis=0)) @ COUNTS / COUNTS.sum()
    np.testing.assert_allclose(weight_of_noise(free.parameters.log_component_weights), noise, rtol=1e-5)


def test_moves_leave_the_weight_of_the_noise_as_it_is():
    family, parameters, _ = a_case(Kind.FULL)

    class Job:
        covariance, factors, halves_apart, equal_scales = "VVV", 0, 0.5, False

    more = family.split(Job, parameters, 1, False)
    for one in (more, family.halved(parameters, 0), family.merged(Job, more, 0, 2), *family.merges(more)):
        np.testing.assert_allclose(weight_of_noise(one.log_component_weights), WEIGHT, rtol=1e-12)
    assert family.split(Job, parameters, 1, False).component_mus.shape == (3, 2)
    np.testing.assert_allclose(weight_of_noise(equal_odds(more).log_component_weights), 0.25, rtol=1e-12)


def test_volumes_are_those_of_ranges_of_turned_boxes_and_of_hulls():
    np.testing.assert_allclose(log_volume(ONE, BOX), np.log(ONE.max() - ONE.min()))
    corners = np.array([[0.0, 0.0], [4.0, 0.0], [4.0, 1.0], [0.0, 1.0], [2.0, 0.4]])
    np.testing.assert_allclose(log_volume(corners, BOX), np.log(4.0))
    np.testing.assert_allclose(log_volume(corners[[0, 1, 3]], HULL), np.log(2.0))
    along = np.linspace(-1.0, 1.0, 41)
    band = np.stack(np.meshgrid(3.0 * along, along), axis=-1).reshape(-1, 2) @ [[1.0, 1.0], [-1.0, 1.0]] / np.sqrt(2.0)
    np.testing.assert_allclose(log_volume(band, BOX), np.log(6.0 * 2.0))
    cube = RNG.random((200, 3))
    for kind in (BOX, HULL):
        units = np.array([1e-3, 7.0, 1e5])
        np.testing.assert_allclose(log_volume(3.0 + cube * units, kind), log_volume(cube, kind) + np.log(units).sum())
    shear = np.array([[1.0, 0.4, 0.0], [0.0, 1.0, -0.3], [0.2, 0.0, 1.0]])
    sheared = log_volume(cube, HULL) + np.log(np.linalg.det(shear))
    np.testing.assert_allclose(log_volume(cube @ shear.T, HULL), sheared)
    with pytest.raises(ValueError, match="no volume"):
        log_volume(np.column_stack([along, 2.0 * along]), HULL)
