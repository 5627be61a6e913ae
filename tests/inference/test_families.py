"""The multivariate normal as a family: held to SciPy, scikit-learn, finite differences and to what models mean."""

# SciPy's logsumexp and jax.flatten_util have no types.
# pyright: reportAttributeAccessIssue=false

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from by_em import a_job
from scipy import stats
from scipy.special import logsumexp
from sklearn.mixture import GaussianMixture

from gmm_pipeline.inference import em
from gmm_pipeline.inference.families import compared, moves
from gmm_pipeline.inference.families.maximisation import Scatter, Shared, _rounds, unstructured
from gmm_pipeline.inference.families.multivariate_objective import in_rows, multivariate_log_likelihood
from gmm_pipeline.inference.families.normals import FEWEST_OF_TWO, has_too_few, normals
from gmm_pipeline.inference.parameterization import Unconstrained
from gmm_pipeline.inference.scaling import linear_scaling_of, to_fit_units, to_user_units
from gmm_pipeline.model.covariances import (
    ALIASES,
    MODELS,
    Kind,
    contains,
    kind_of,
    number_of_parameters,
    rows_needed_in_all,
)
from gmm_pipeline.model.multivariate import constrain_multivariate, joint_loglikes, parameters_of
from gmm_pipeline.model.natural import MultivariateMixture, mean_and_covariance

RNG = np.random.default_rng(3)
N, D, K = 120, 3, 3
SHEARED = RNG.normal(size=(3, D, D)) * 0.4 + np.eye(D)
DATA = np.concatenate([RNG.normal(size=(N // 3, D)) @ SHEARED[k] + 2.5 * RNG.normal(size=D) for k in range(3)])
COUNTS = np.ones(N)
HEIGHT = jax.jit(multivariate_log_likelihood)
SLOPES = jax.jit(jax.grad(multivariate_log_likelihood))


@pytest.fixture(autouse=True)
def in_float64():
    with jax.enable_x64(True):
        yield


def a_mixture(seed: int = 0, n_columns: int = D, n_components: int = K) -> MultivariateMixture:
    rng = np.random.default_rng(seed)
    roots = rng.normal(size=(n_components, n_columns, n_columns)) * 0.5 + np.eye(n_columns)
    weights = rng.dirichlet(np.full(n_components, 4.0))
    return MultivariateMixture(weights, rng.normal(size=(n_components, n_columns)), roots @ roots.transpose(0, 2, 1))


class Job:
    """What constraints are made from."""

    is_large = False

    def __init__(self, model: str, data: np.ndarray, scale_floor: float = 0.0):
        self.covariance, self.data, self.scale_floor, self.factors = model, data, scale_floor, 0
        self.floor_of_few = 0.0
        self.sample_weights = np.ones(len(data))


def constraints_of(model: str, data: np.ndarray, n_components: int = K, scale_floor: float = 0.0):
    family = normals(data.shape[1], kind_of(model))
    job = Job(model, data, scale_floor)
    with np.errstate(divide="ignore"):
        found = family.constraints_of(job, np.ones(n_components, bool), family.spread_of(job))
    return jax.tree.map(jnp.asarray, found)


def free_of(mixture: MultivariateMixture, model: str, data: np.ndarray) -> Unconstrained:
    family = normals(data.shape[1], kind_of(model))
    parameters = jax.tree.map(jnp.asarray, parameters_of(mixture, kind_of(model)))
    constraints = constraints_of(model, data, len(mixture.weights))
    return family.unconstrained_of(parameters, {}, constraints, sticks=False)


def log_likelihood(mixture: MultivariateMixture, data: np.ndarray) -> float:
    of_components = [
        np.log(weight) + stats.multivariate_normal.logpdf(data, loc, covariance)
        for weight, loc, covariance in zip(*mixture, strict=True)
    ]
    return float(logsumexp(of_components, axis=0).sum())


@partial(jax.jit, static_argnames="model")
def stepped(free: Unconstrained, data: jax.Array, constraints, *, model: str):
    """Log-likelihood, the free numbers after a step of EM, and the gradient's length."""
    family = normals(data.shape[1], kind_of(model))
    blocks = in_rows(data, jnp.ones(len(data)))
    mixture = family.mixture_of(free, constraints, sticks=False)
    value, by_mixture = jax.value_and_grad(lambda one: -multivariate_log_likelihood(one, blocks))(mixture)
    total = jnp.asarray(float(len(data)))
    problem = em.Problem(total, 1.0, jnp.asarray(0.0), constraints, family.em_step, by_mixture)
    after = family.em_step(free, free, problem)
    return -value, after, family.gradient_norm(free, after, mixture, problem)


def climbed(mixture: MultivariateMixture, model: str, data: np.ndarray, steps: int, scale_floor: float = 0.0):
    """Log-likelihoods over steps of EM, and the mixture where they end."""
    free, constraints = free_of(mixture, model, data), constraints_of(model, data, len(mixture.weights), scale_floor)
    values, norm = [], np.inf
    for _ in range(steps):
        value, after, norm = stepped(free, jnp.asarray(data), constraints, model=model)
        values.append(float(value))
        free = after
    family = normals(data.shape[1], kind_of(model))
    return values, constrain_multivariate(family.mixture_of(free, constraints, sticks=False)), float(norm)


def volume_shape_orientation(covariance: np.ndarray):
    values, vectors = np.linalg.eigh(covariance)
    volume = np.prod(values) ** (1 / len(values))
    return volume, values / volume, vectors


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.FACTOR])  # those have test_factors.py
def test_the_density_is_that_of_scipy(kind):
    mixture = a_mixture()
    if kind in (Kind.SPHERICAL, Kind.DIAGONAL):
        diagonal = np.diagonal(mixture.covariances, axis1=1, axis2=2)
        mixture = mixture._replace(covariances=diagonal[..., None] * np.eye(D))
    parameters = jax.tree.map(jnp.asarray, parameters_of(mixture, kind))
    by_datum = jax.jit(jax.vmap(joint_loglikes, (None, 0)))(parameters, jnp.asarray(DATA))
    for k, (weight, loc, covariance) in enumerate(zip(*mixture, strict=True)):
        expected = np.log(weight) + stats.multivariate_normal.logpdf(DATA, loc, covariance)
        np.testing.assert_allclose(by_datum[:, k], expected, rtol=1e-10)
    found = HEIGHT(parameters, in_rows(jnp.asarray(DATA), jnp.asarray(COUNTS)))
    np.testing.assert_allclose(found, log_likelihood(mixture, DATA), rtol=1e-11)
    for leaf, back in zip(mixture, constrain_multivariate(parameters), strict=True):
        np.testing.assert_allclose(back, leaf, rtol=1e-9, atol=1e-12)


def test_blocks_of_rows_do_not_change_the_sums():
    many = np.tile(DATA, (40, 1))
    parameters = jax.tree.map(jnp.asarray, parameters_of(a_mixture(), Kind.FULL))
    assert in_rows(jnp.asarray(many), jnp.ones(len(many))).data.shape[0] > 1
    whole = SLOPES(parameters, in_rows(jnp.asarray(many), jnp.ones(len(many))))
    once = SLOPES(parameters, in_rows(jnp.asarray(DATA), jnp.asarray(COUNTS)))
    for leaf, part in zip(jax.tree.leaves(whole), jax.tree.leaves(once), strict=True):
        np.testing.assert_allclose(leaf, 40 * part, rtol=1e-9, atol=1e-8)


@pytest.mark.parametrize("kind", [Kind.DIAGONAL, Kind.FULL, Kind.ORIENTED])
@pytest.mark.parametrize("times", [1, 40])  # one block of data, and several
def test_the_fused_form_is_that_of_products_of_features(kind, times):
    family, data = normals(D, kind), jnp.asarray(np.tile(DATA, (times, 1)))
    counts = jnp.asarray(np.random.default_rng(5).integers(0, 3, len(data)).astype(float))
    several = [jax.tree.map(jnp.asarray, parameters_of(a_mixture(seed, n_components=4), kind)) for seed in range(3)]
    active = jnp.array([True, False, True, True])  # one component that only pads the arrays

    def of(fused: bool, dtype: type):
        blocks = family.lay_out(data.astype(dtype), counts.astype(dtype), fused=fused)
        value = partial(family.log_likelihood_of, laid_out=blocks, active=active, fused=fused)
        together = jax.tree.map(lambda *leaves: jnp.stack(leaves).astype(dtype), *several)
        return jax.jit(jax.vmap(jax.value_and_grad(value)), compiler_options=family.compiler_options(fused))(together)

    expected = jax.tree.leaves(of(False, jnp.float64))
    for dtype, rtol in ((jnp.float64, 1e-10), (jnp.float32, 2e-5)):
        for leaf, other in zip(jax.tree.leaves(of(True, dtype)), expected, strict=True):
            np.testing.assert_allclose(leaf, other, rtol=rtol, atol=rtol * np.abs(other).max())
    for number, one in enumerate(several):
        mixture = constrain_multivariate(one)
        weights = mixture.weights[active] / mixture.weights[active].sum()
        sound = MultivariateMixture(weights, mixture.locs[active], mixture.covariances[active])
        of_data = np.array([log_likelihood(sound, datum[None]) for datum in DATA])
        np.testing.assert_allclose(expected[0][number], counts @ np.tile(of_data, times), rtol=1e-10)


@pytest.mark.parametrize(
    ("n_columns", "kind", "n_components", "incomplete", "expected"),
    [
        *((2, Kind.FULL, 20, False, True), (3, Kind.FULL, 10, False, True), (8, Kind.FULL, 5, False, False)),
        *((4, Kind.DIAGONAL, 10, False, True), (32, Kind.SPHERICAL, 5, False, False)),
        *((2, Kind.FULL, 5, True, False), (2, Kind.FACTOR, 5, False, False)),
    ],
)
def test_few_columns_and_components_are_fused(n_columns, kind, n_components, incomplete, expected):
    family = normals(n_columns, kind, incomplete=incomplete, factors=1)
    assert family.fuses(n_components) == expected


@pytest.mark.parametrize("times", [1, 40])  # one block of data, and several
@pytest.mark.parametrize("runs", [1, 3, 4])
def test_sums_of_runs_computed_at_once_are_those_of_each(times, runs, monkeypatch):
    monkeypatch.setattr("gmm_pipeline.inference.families.multivariate_objective.MOST_DENSITIES", 3 * K * N)
    parameters = jax.tree.map(jnp.asarray, parameters_of(a_mixture(), Kind.FULL))
    several = jax.tree.map(lambda leaf: jnp.stack([leaf * (1.0 + 0.1 * run) for run in range(runs)]), parameters)
    blocks = in_rows(jnp.asarray(np.tile(DATA, (times, 1))), jnp.ones(times * len(DATA)))
    together = jax.jit(jax.vmap(jax.grad(multivariate_log_likelihood), (0, None)))(several, blocks)
    for run in range(runs):
        alone = SLOPES(jax.tree.map(lambda leaf, run=run: leaf[run], several), blocks)
        for leaf, own in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
            np.testing.assert_allclose(leaf[run], own, rtol=1e-9, atol=1e-8)


def test_runs_can_take_branches_of_their_own_as_in_a_line_search():
    blocks = in_rows(jnp.asarray(DATA), jnp.asarray(COUNTS))
    many = [parameters_of(a_mixture(seed), kind_of("VVV")) for seed in range(3)]
    several = jax.tree.map(lambda *leaves: jnp.stack(leaves), *many)

    def chosen(parameters, climbs):
        return jax.lax.cond(climbs, lambda one: multivariate_log_likelihood(one, blocks), lambda one: 0.0, parameters)

    found = jax.jit(jax.vmap(chosen))(several, jnp.array([True, False, True]))
    expected = [log_likelihood(a_mixture(seed), DATA) * (seed != 1) for seed in range(3)]
    np.testing.assert_allclose(found, expected, rtol=1e-10)


@pytest.mark.parametrize("residue", [1e-15, -1e-15])
def test_where_data_lie_in_a_plane_axes_do_not_follow_rounding(residue):
    counts, floor = np.array([40.0]), np.log(1e-2)
    covariance = np.array([[1.0, 1.0, 0.5], [1.0, 1.0 + residue, 0.5 - residue], [0.5, 0.5 - residue, 1.0]])
    seen = Scatter(counts, counts[:, None, None] * covariance, np.ones(1, bool), np.array(floor))
    one = np.zeros((1, 3)), np.eye(3)[None]
    log_scales, axes = unstructured(*one, seen, Shared(*(np.array(False),) * 4))
    np.testing.assert_allclose(log_scales[0], [0.0, floor, 0.5 * np.log(0.75)], atol=1e-9)
    # z₃ = x₃ − ½ x₁, whatever x₁ − x₂ is.
    np.testing.assert_allclose(axes[0], [[1.0, 0.0, 0.0], [-1.0, 1.0, 0.0], [-0.5, 0.0, 1.0]], atol=1e-9)


@pytest.mark.parametrize("model", MODELS)
def test_gradients_of_every_model_equal_finite_differences(model):
    family, constraints = normals(D, kind_of(model)), constraints_of(model, DATA)
    free, blocks = free_of(a_mixture(), model, DATA), in_rows(jnp.asarray(DATA), jnp.asarray(COUNTS))

    def value(free: Unconstrained):
        return multivariate_log_likelihood(family.mixture_of(free, constraints, sticks=False), blocks)

    flat, unravel = jax.flatten_util.ravel_pytree(free)
    evaluate = jax.jit(jax.value_and_grad(lambda numbers: value(unravel(numbers))))
    _, slopes = evaluate(flat)
    directions = np.random.default_rng(1).normal(size=(4, len(flat)))
    for direction in directions:
        step = 1e-5 * direction
        numerical = (evaluate(flat + step)[0] - evaluate(flat - step)[0]) / 2e-5
        np.testing.assert_allclose(slopes @ direction, numerical, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("model", MODELS)
def test_em_never_falls_and_ends_where_the_gradient_vanishes(model):
    values, fitted, norm = climbed(a_mixture(), model, DATA, 150)
    assert np.diff(values).min() > -1e-8
    assert norm < 0.05
    assert values[-1] == pytest.approx(log_likelihood(fitted, DATA), abs=0.1)
    # At a maximum the mean of the mixture is that of the sample.
    np.testing.assert_allclose(fitted.weights @ fitted.locs, DATA.mean(axis=0), atol=1e-4)
    parts = [volume_shape_orientation(covariance) for covariance in fitted.covariances]
    volumes, shapes, axes = (np.array(leaf) for leaf in zip(*parts, strict=True))
    volume, shape, orientation = model
    assert (np.ptp(np.log(volumes)) < 1e-8) == (volume == "E")
    assert (np.ptp(np.log(shapes), axis=0).max() < 1e-6) == (shape in "EI")
    if shape == "I":
        np.testing.assert_allclose(shapes, 1.0, rtol=1e-8)
    if orientation == "I":
        off = fitted.covariances - fitted.covariances * np.eye(D)
        np.testing.assert_allclose(off, 0.0, atol=1e-10)
    if orientation == "E":
        rotated = axes[0].T @ fitted.covariances @ axes[0]
        np.testing.assert_allclose(rotated - rotated * np.eye(D), 0.0, atol=1e-8)


@pytest.mark.parametrize("model", ["VEI", "VEE", "VEV"])
def test_a_floor_that_no_component_is_at_changes_nothing_although_one_has_no_extent_along_an_axis(model):
    random = np.random.default_rng(3)
    flat = np.column_stack([random.normal(6.0, 0.2, 30), np.full(30, 8.0), random.normal(-6.0, 0.2, 30)])
    data = np.concatenate([random.normal(loc, [1.0, 0.15, 1.0], (60, D)) for loc in (0.0, 3.0)] + [flat])
    covariances = np.diag([1.0, 0.05, 1.0]) * np.array([1.0, 1.0, 0.04])[:, None, None]
    begun = MultivariateMixture(np.array([0.4, 0.4, 0.2]), np.array([[0.0] * 3, [3.0] * 3, flat[0]]), covariances)
    free, _, _ = climbed(begun, model, data, 100)
    bounded, fitted, _ = climbed(begun, model, data, 100, scale_floor=0.01)
    assert np.diff(bounded).min() > -1e-8
    assert bounded[-1] == pytest.approx(free[-1], abs=1e-6)
    floor = np.exp(float(constraints_of(model, data, K, 0.01).log_floor))
    assert np.sqrt(np.linalg.eigvalsh(fitted.covariances).min()) > 1.2 * floor


@pytest.mark.parametrize(
    ("alias", "theirs"), [("full", "full"), ("tied", "tied"), ("diagonal", "diag"), ("spherical", "spherical")]
)
def test_a_step_of_em_is_that_of_scikit_learn(alias, theirs):
    model, mixture = ALIASES[alias], a_mixture()
    values, _, _ = climbed(mixture, model, DATA, 3)
    start = constrain_multivariate(
        normals(D, kind_of(model)).mixture_of(free_of(mixture, model, DATA), constraints_of(model, DATA), sticks=False)
    )
    precisions = np.linalg.inv(start.covariances)
    given = {
        "full": precisions,
        "tied": precisions[0],
        "diag": np.diagonal(precisions, axis1=1, axis2=2),
        "spherical": precisions[:, 0, 0],
    }[theirs]
    sklearn = GaussianMixture(
        K, covariance_type=theirs, max_iter=2, tol=0.0, reg_covar=0.0,
        weights_init=start.weights, means_init=start.locs, precisions_init=given,
    )  # fmt: skip
    with pytest.warns(UserWarning, match="converge"):
        sklearn.fit(DATA)
    assert values[2] == pytest.approx(sklearn.score(DATA) * N, rel=1e-9)


def test_at_the_maximum_of_full_covariances_the_mixture_has_the_covariance_of_the_sample():
    _, fitted, _ = climbed(a_mixture(), "VVV", DATA, 400)
    mean, covariance = mean_and_covariance(DATA, COUNTS)
    away = fitted.locs - mean
    within = np.einsum("k,kij->ij", fitted.weights, fitted.covariances)
    between = np.einsum("k,ki,kj->ij", fitted.weights, away, away)
    np.testing.assert_allclose(within + between, covariance, atol=1e-5)


@pytest.mark.parametrize("model", MODELS)
def test_one_component_has_the_moments_of_the_sample(model):
    alone = MultivariateMixture(np.ones(1), np.zeros((1, D)), np.eye(D)[None] + 0.3)
    _, fitted, _ = climbed(alone, model, DATA, 40)
    mean, covariance = mean_and_covariance(DATA, COUNTS)
    np.testing.assert_allclose(fitted.locs[0], mean, atol=1e-10)
    expected = {
        Kind.SPHERICAL: np.trace(covariance) / D * np.eye(D),
        Kind.DIAGONAL: np.diag(np.diagonal(covariance)),
    }.get(kind_of(model), covariance)
    np.testing.assert_allclose(fitted.covariances[0], expected, atol=1e-8)


@pytest.mark.parametrize("model", MODELS)
def test_the_map_to_fit_units_stays_within_the_model(model):
    kind, data = kind_of(model), DATA * [1.0, 30.0, 0.2] + [5.0, -100.0, 0.0]
    scaling = linear_scaling_of(data, COUNTS, kind)
    standardised = to_fit_units(data, scaling)
    mean, covariance = mean_and_covariance(standardised, COUNTS)
    np.testing.assert_allclose(mean, 0.0, atol=1e-9)
    if kind is Kind.FULL:
        np.testing.assert_allclose(covariance, np.eye(D), atol=1e-9)
    free = free_of(a_mixture(), model, standardised)
    family, constraints = normals(D, kind), constraints_of(model, standardised)
    parameters = family.mixture_of(free, constraints, sticks=False)
    inside, outside = constrain_multivariate(parameters), constrain_multivariate(to_user_units(parameters, scaling))
    shifted = log_likelihood(inside, standardised) - N * scaling.log_volume
    assert log_likelihood(outside, data) == pytest.approx(shifted, rel=1e-10)
    volumes, shapes, axes = zip(*map(volume_shape_orientation, outside.covariances), strict=True)
    if model[0] == "E":
        np.testing.assert_allclose(volumes, volumes[0], rtol=1e-8)
    if model[1] == "E":
        np.testing.assert_allclose(shapes, np.broadcast_to(shapes[0], np.shape(shapes)), rtol=1e-6)
    if model[2] == "E":
        rotated = axes[0].T @ outside.covariances @ axes[0]
        np.testing.assert_allclose(rotated * (1 - np.eye(D)), 0.0, atol=1e-6 * np.abs(rotated).max())


@pytest.mark.parametrize("model", ["VVV", "EEE"])
def test_full_covariances_do_not_depend_on_the_coordinates(model):
    turned = np.array([[1.0, 0.7, 0.0], [-0.4, 2.0, 0.3], [0.0, 0.1, 0.5]])
    mixture = a_mixture()
    if model == "EEE":  # unlike covariances would first be averaged, which depends on the coordinates
        mixture = mixture._replace(covariances=np.broadcast_to(mixture.covariances[0], (K, D, D)))
    moved = MultivariateMixture(mixture.weights, mixture.locs @ turned.T, turned @ mixture.covariances @ turned.T)
    values, _, _ = climbed(mixture, model, DATA, 20)
    others, _, _ = climbed(moved, model, DATA @ turned.T, 20)
    shift = N * np.log(abs(np.linalg.det(turned)))
    np.testing.assert_allclose(np.array(others) + shift, values, rtol=1e-8)


def test_spheres_do_not_depend_on_a_rotation():
    turned = stats.special_ortho_group.rvs(D, random_state=1)
    mixture = a_mixture()
    moved = MultivariateMixture(mixture.weights, mixture.locs @ turned.T, mixture.covariances)
    spheres = mixture._replace(covariances=np.broadcast_to(np.eye(D), (K, D, D)))
    values, _, _ = climbed(spheres, "VII", DATA, 20)
    others, _, _ = climbed(moved._replace(covariances=spheres.covariances), "VII", DATA @ turned.T, 20)
    np.testing.assert_allclose(others, values, rtol=1e-9)


@pytest.mark.parametrize("n_columns", range(1, 8))
def test_each_pair_of_axes_meets_once(n_columns):
    seen = [
        frozenset((one, int(partners[one])))
        for partners in _rounds(n_columns)
        for one in range(n_columns)
        if partners[one] > one
    ]
    assert len(seen) == len(set(seen)) == n_columns * (n_columns - 1) // 2


def test_numbers_of_parameters_are_those_that_mclust_prints():
    # df of fits that the vignette and the package print.
    assert number_of_parameters("EEE", 3, 2) == 11
    assert number_of_parameters("VVV", 3, 3) == 29
    assert number_of_parameters("VEV", 2, 4) == 26
    assert number_of_parameters("VVE", 3, 6) == 53


def test_a_model_contains_those_with_less_to_vary():
    assert all(contains("VVV", model) for model in MODELS)
    assert all(not contains("EII", model) for model in MODELS if model != "EII")
    assert contains("VVE", "VVI")
    assert not contains("EEV", "VII")


def test_fewest_data_that_bound_the_likelihood_of_each_model():
    needed = {model: rows_needed_in_all(model, 3, 4) for model in MODELS}
    assert needed == {
        **{"EII": 4, "VII": 6, "EEI": 4, "VEI": 6, "EVI": 6, "VVI": 6, "EEE": 7, "VEE": 7},
        **{"EEV": 13, "VEV": 13, "EVE": 15, "VVE": 15, "EVV": 15, "VVV": 15},
    }


@pytest.mark.parametrize("model", ["EEV", "VEV"])
def test_one_shape_that_turns_is_degenerate_where_each_component_lies_in_a_plane(model):
    rows = np.random.default_rng(1).normal(size=(13, 4))
    for n, is_degenerate in ((12, True), (13, False)):
        job = a_job(rows[:n], 3, sample_weights=np.ones(n), covariance=model, fewest_data=FEWEST_OF_TWO)
        weights = np.array([4.0, 4.0, n - 8.0]) / n
        covariances = np.broadcast_to(np.eye(4), (3, 4, 4))
        mixture = parameters_of(MultivariateMixture(weights, np.zeros((3, 4)), covariances), Kind.ORIENTED)
        assert has_too_few(job, mixture).tolist() == [is_degenerate] * 3


@pytest.mark.parametrize(("size", "is_degenerate"), [(1.05, True), (1.2, False)])
def test_a_component_that_comes_near_the_floor_is_degenerate(size, is_degenerate):
    job = a_job(np.zeros((100, 3)), 2, sample_weights=np.ones(100), covariance="VVV", scale_floor=0.01)
    covariances = np.stack([np.eye(3), (0.01 * size) ** 2 * np.eye(3)])
    mixture = parameters_of(MultivariateMixture(np.array([0.9, 0.1]), np.zeros((2, 3)), covariances), Kind.FULL)
    assert normals(3, Kind.FULL).degenerate(job, mixture, np.eye(3)).tolist() == [False, is_degenerate]


@pytest.mark.parametrize("model", MODELS)
def test_moves_keep_the_number_of_components_and_what_is_shared(model):
    family, kind = normals(D, kind_of(model)), kind_of(model)
    rows = moves.Rows(
        cloud := moves.Cloud.of(DATA, COUNTS), cloud.coordinates(), model, np.log(0.02), 4,
        {"quantile": 0.4, "kmeans": 0.4, "smallest_scale": 0.01, "narrowest": 0.05},
    )  # fmt: skip
    generators = [np.random.default_rng(seed) for seed in range(2)]
    drawn = [moves.fresh(generator, rows, 3, K) for generator in generators]
    kept = family.in_order(jax.tree.map(lambda *leaves: np.stack(leaves), *drawn))
    numbers = {"swap": 2, "split": 2, "nest": 2, "join": 2, "fresh": 1}
    children = moves.varied(generators, rows, kept, np.array([3, 2]), numbers)
    assert children.component_mus.shape == (2, 9, K, D)
    assert (children.axes is None) == (kind in (Kind.SPHERICAL, Kind.DIAGONAL))
    mixtures = constrain_multivariate(children)
    assert np.isfinite(mixtures.covariances).all()
    assert np.linalg.eigvalsh(mixtures.covariances).min() > 0.0
    assert (compared.distances(kept, kept) == 0.0).all()
