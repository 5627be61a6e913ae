"""Rows with missing cells: held to SciPy on what is there, to EM as textbooks have it, and to complete data."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp

from gmm_pipeline.inference import em
from gmm_pipeline.inference.diagnostics import evaluate
from gmm_pipeline.inference.families.multivariate_objective import in_rows, multivariate_log_likelihood
from gmm_pipeline.inference.families.normals import normals
from gmm_pipeline.inference.families.observed_objective import lay_out_observed, observed_log_likelihood
from gmm_pipeline.inference.scaling import linear_scaling_of, log_volumes, to_fit_units
from gmm_pipeline.model import portable
from gmm_pipeline.model.covariances import MODELS, Kind, kind_of
from gmm_pipeline.model.incomplete import distinct_rows, filled
from gmm_pipeline.model.multivariate import MultivariateParameters, constrain_multivariate, parameters_of
from gmm_pipeline.model.multivariate_inits import Cloud
from gmm_pipeline.model.natural import MultivariateMixture, mean_and_covariance

RNG = np.random.default_rng(5)
D = 4
WHOLE = np.concatenate([RNG.normal(size=(40, D)) @ RNG.normal(size=(D, D)) + 3.0 * RNG.normal(size=D) for _ in "ab"])
MISSING = RNG.random(WHOLE.shape) < 0.25
MISSING[MISSING.all(axis=1), 0] = False
DATA = np.where(MISSING, np.nan, WHOLE)
COUNTS = RNG.integers(1, 4, len(DATA)).astype(float)


@pytest.fixture(autouse=True)
def in_float64():
    with jax.enable_x64(True):
        yield


def a_mixture(kind: Kind = Kind.FULL, n_components: int = 2) -> MultivariateMixture:
    rng = np.random.default_rng(1)
    roots = rng.normal(size=(n_components, D, D)) + 2.0 * np.eye(D)
    covariances = roots @ roots.transpose(0, 2, 1)
    if kind in (Kind.SPHERICAL, Kind.DIAGONAL):
        covariances = covariances * np.eye(D)
    return MultivariateMixture(np.full(n_components, 1 / n_components), rng.normal(size=(n_components, D)), covariances)


def of_rows(mixture: MultivariateMixture) -> Any:
    """Log joint densities of what each row has, [n, K]."""
    found = []
    for row in DATA:
        here = ~np.isnan(row)
        found.append(
            [
                np.log(weight) + stats.multivariate_normal.logpdf(row[here], loc[here], covariance[here][:, here])
                for weight, loc, covariance in zip(*mixture, strict=True)
            ]
        )
    return np.array(found)


def textbook_em(mixture: MultivariateMixture, model: str) -> MultivariateMixture:
    """One step of EM by a loop over rows and components (Ghahramani & Jordan 1994)."""
    joint = of_rows(mixture)
    shares = np.exp(joint - logsumexp(joint, axis=1, keepdims=True)) * COUNTS[:, None]
    expected, within = np.empty((*shares.shape, D)), np.zeros((*shares.shape, D, D))
    for (i, k), _ in np.ndenumerate(shares):
        o, m = ~MISSING[i], MISSING[i]
        loc, covariance = mixture.locs[k], mixture.covariances[k]
        slopes = covariance[np.ix_(m, o)] @ np.linalg.inv(covariance[np.ix_(o, o)])
        expected[i, k, o] = DATA[i, o]
        expected[i, k, m] = loc[m] + slopes @ (DATA[i, o] - loc[o])
        within[i, k][np.ix_(m, m)] = covariance[np.ix_(m, m)] - slopes @ covariance[np.ix_(o, m)]
    counts = shares.sum(axis=0)
    locs = np.einsum("ik,ikd->kd", shares, expected) / counts[:, None]
    away = expected - locs
    scatter = np.einsum("ik,ikde->kde", shares, away[..., :, None] * away[..., None, :] + within)
    if model == "EEE":
        covariances = np.broadcast_to(scatter.sum(axis=0) / COUNTS.sum(), scatter.shape)
    elif model == "EII":
        variance = np.trace(scatter.sum(axis=0)) / (D * COUNTS.sum())
        covariances = np.broadcast_to(variance * np.eye(D), scatter.shape)
    else:
        covariances = scatter / counts[:, None, None] * (np.eye(D) if model == "VVI" else 1.0)
    return MultivariateMixture(counts / COUNTS.sum(), locs, covariances)


class Job:
    """What constraints are made from."""

    scale_floor, floor_of_few, is_large = 0.0, 0.0, False

    def __init__(self, model: str):
        self.covariance, self.data, self.sample_weights = model, DATA, COUNTS


@partial(jax.jit, static_argnames="kind")
def stepped(free, constraints, *, kind: Kind):
    """Log-likelihood, and the free numbers after a step of EM."""
    family = normals(D, kind, incomplete=True)
    blocks = family.lay_out(jnp.asarray(DATA), jnp.asarray(COUNTS), fused=True)
    objective = partial(family.log_likelihood_of, laid_out=blocks, active=constraints.active, fused=True)
    mixture = family.mixture_of(free, constraints, sticks=False)
    value, by_mixture = jax.value_and_grad(lambda one: -objective(one))(mixture)
    problem = em.Problem(jnp.asarray(COUNTS.sum()), 1.0, jnp.asarray(0.0), constraints, family.em_step, by_mixture)
    return -value, family.em_step(free, free, problem)


def climbed(mixture: MultivariateMixture, model: str, steps: int) -> tuple[list[float], MultivariateMixture]:
    """Log-likelihoods over steps of EM, and the mixture where they end."""
    kind = kind_of(model)
    family, job = normals(D, kind, incomplete=True), Job(model)
    with np.errstate(divide="ignore"):
        constraints = family.constraints_of(job, np.ones(len(mixture.weights), bool), family.spread_of(job))
    constraints = jax.tree.map(jnp.asarray, constraints)
    parameters = jax.tree.map(jnp.asarray, parameters_of(mixture, kind))
    free, values = family.unconstrained_of(parameters, {}, constraints, sticks=False), []
    for _ in range(steps):
        value, free = stepped(free, constraints, kind=kind)
        values.append(float(value))
    return values, constrain_multivariate(family.mixture_of(free, constraints, sticks=False))


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.FACTOR])
def test_the_density_of_a_row_is_that_of_what_it_has(kind):
    mixture = a_mixture(kind)
    joint = of_rows(mixture)
    expected: Any = logsumexp(joint, axis=1)
    blocks = lay_out_observed(jnp.asarray(DATA), jnp.asarray(COUNTS), fused=True)
    parameters = jax.tree.map(jnp.asarray, parameters_of(mixture, kind))
    np.testing.assert_allclose(observed_log_likelihood(parameters, blocks), COUNTS @ expected, rtol=1e-11)
    log_densities, responsibilities = portable.evaluate(*mixture, DATA)
    np.testing.assert_allclose(log_densities, expected, rtol=1e-10)
    np.testing.assert_allclose(responsibilities.T, np.exp(joint - expected[:, None]), rtol=1e-8)


def test_blocks_do_not_change_the_sums(monkeypatch):
    parameters = jax.tree.map(jnp.asarray, parameters_of(a_mixture(), Kind.FULL))
    data, counts = jnp.asarray(DATA), jnp.asarray(COUNTS)
    whole = observed_log_likelihood(parameters, lay_out_observed(data, counts, fused=True))
    monkeypatch.setattr("gmm_pipeline.inference.families.observed_objective.ELEMENTS_A_BLOCK", 7 * D**2)
    blocks = lay_out_observed(data, counts, fused=True)
    assert blocks.data.shape == (12, 7, D)  # 80 rows, four of them added
    np.testing.assert_allclose(observed_log_likelihood(parameters, blocks), whole, rtol=1e-12)


@pytest.mark.parametrize("kind", [Kind.DIAGONAL, Kind.FULL, Kind.ORIENTED])
def test_of_complete_data_value_and_gradient_are_the_same(kind):
    parameters = jax.tree.map(jnp.asarray, parameters_of(a_mixture(kind), kind))
    data, counts = jnp.asarray(WHOLE), jnp.asarray(COUNTS)
    rows, patterns = in_rows(data, counts), lay_out_observed(data, counts, fused=True)
    complete = jax.jit(jax.value_and_grad(lambda one: multivariate_log_likelihood(one, rows)))(parameters)
    found = jax.jit(jax.value_and_grad(lambda one: observed_log_likelihood(one, patterns)))(parameters)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(complete), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("model", ["VVV", "EEE", "VVI", "EII"])
@pytest.mark.parametrize("n_components", [1, 2])
def test_em_is_that_of_the_textbook(model, n_components):
    mixture = a_mixture(kind_of(model), n_components)
    if model[0] == "E":
        of_first = np.eye(D) if model == "EII" else mixture.covariances[0]
        mixture = mixture._replace(covariances=np.broadcast_to(of_first, mixture.covariances.shape))
    _, found = climbed(mixture, model, 3)
    for _ in range(3):
        mixture = textbook_em(mixture, model)
    for one, other in zip(found, mixture, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-9)


def test_one_diagonal_component_has_the_moments_of_each_column():
    _, found = climbed(a_mixture(Kind.DIAGONAL, 1), "VVI", 80)
    for column, loc, variance in zip(DATA.T, found.locs[0], np.diag(found.covariances[0]), strict=True):
        here = ~np.isnan(column)
        mean = np.average(column[here], weights=COUNTS[here])
        np.testing.assert_allclose(loc, mean, rtol=1e-8)
        np.testing.assert_allclose(variance, np.average((column[here] - mean) ** 2, weights=COUNTS[here]), rtol=1e-8)


@pytest.mark.parametrize("model", MODELS)
def test_em_never_lowers_the_likelihood(model):
    values, _ = climbed(a_mixture(kind_of(model)), model, 12)
    assert np.diff(values).min() > -1e-9
    assert values[-1] > values[0] + 1.0


def test_the_spread_of_incomplete_data_is_that_of_the_best_normal():
    mean, covariance = mean_and_covariance(DATA, COUNTS)
    _, best = climbed(MultivariateMixture(np.ones(1), mean[None], covariance[None]), "VVV", 400)
    units = np.sqrt(np.diag(best.covariances[0]))
    np.testing.assert_allclose((mean - best.locs[0]) / units, 0.0, atol=2e-3)
    np.testing.assert_allclose(
        covariance / np.outer(units, units), best.covariances[0] / np.outer(units, units), atol=2e-3
    )


def test_incomplete_data_are_standardised_column_by_column():
    scaling = linear_scaling_of(DATA, COUNTS, Kind.FULL)
    assert np.array_equal(scaling.spread, np.diag(np.diag(scaling.spread)))
    assert np.count_nonzero(linear_scaling_of(WHOLE, COUNTS, Kind.FULL).spread) > D


def test_no_mixture_seems_better_than_it_is_since_it_cannot_be_represented():
    # Precisions of 1e24 next to the floor of the scales: a form whose terms cancel finds a likelihood of any height.
    rng = np.random.default_rng(0)
    axes = jnp.asarray(np.tril(1e12 * rng.normal(size=(1, D, D)), -1) + np.eye(D))
    far = MultivariateParameters(jnp.zeros(1), jnp.zeros((1, D)), jnp.full((1, D), -6.5), axes)
    blocks = lay_out_observed(jnp.asarray(DATA), jnp.asarray(COUNTS), fused=True)
    near = jax.tree.map(jnp.asarray, parameters_of(a_mixture(n_components=1), Kind.FULL))
    assert observed_log_likelihood(far, blocks) < observed_log_likelihood(near, blocks)


def test_the_place_of_a_prior_is_finite():
    family = normals(D, Kind.FULL, incomplete=True)
    with np.errstate(divide="ignore"):
        setting = family.constraints_of(Job("VVV"), np.ones(2, bool), family.spread_of(Job("VVV"))).setting
    for mean, column in zip(setting.mean, DATA.T, strict=True):
        here = ~np.isnan(column)
        np.testing.assert_allclose(mean, np.average(column[here], weights=COUNTS[here]))


@pytest.mark.parametrize("kind", [Kind.FULL, Kind.ORIENTED])
def test_likelihoods_are_of_the_users_units(kind):
    scaling, mixture = linear_scaling_of(DATA, COUNTS, kind), a_mixture()
    inverse = np.linalg.inv(scaling.spread)
    covariances = inverse @ mixture.covariances @ inverse.T
    inside = MultivariateMixture(mixture.weights, to_fit_units(mixture.locs, scaling), covariances)
    standardised = to_fit_units(DATA, scaling)
    expected: Any = logsumexp(of_rows(mixture), axis=1)
    seen = evaluate(parameters_of(inside, kind), standardised, COUNTS, scaling)
    np.testing.assert_allclose(seen.log_likelihood, COUNTS @ expected, rtol=1e-10)
    own = log_volumes(scaling, standardised)
    np.testing.assert_allclose(portable.evaluate(*inside, standardised)[0] - own, expected, rtol=1e-9)


def test_starts_see_data_without_gaps():
    cloud = Cloud.of(DATA, COUNTS)
    assert np.array_equal(cloud.data[~MISSING], WHOLE[~MISSING])
    assert np.isfinite(cloud.data).all()
    lacking = np.flatnonzero(MISSING.any(axis=1))[0]
    o, m, away = ~MISSING[lacking], MISSING[lacking], DATA[lacking] - cloud.centre
    slopes = cloud.covariance[np.ix_(m, o)] @ np.linalg.inv(cloud.covariance[np.ix_(o, o)])
    np.testing.assert_allclose(cloud.data[lacking, m], cloud.centre[m] + slopes @ away[o], rtol=1e-9)


def test_rows_with_the_same_gaps_are_the_same():
    data = np.array([[1.0, np.nan], [1.0, np.nan], [1.0, 0.0], [np.nan, 0.0], [1.0, 0.0]])
    rows, inverse = distinct_rows(data)
    assert len(rows) == 3
    np.testing.assert_array_equal(rows[inverse], data)


def test_expectations_are_there_where_a_column_follows_from_others():
    columns = np.random.default_rng(3).normal(size=(2, 40))
    third = np.where(np.arange(40) < 10, np.nan, columns[0])
    data = np.stack([columns[0], columns[0], columns[1], third], axis=1)  # the first two are one
    covariance = np.cov(np.stack([columns[0], columns[0], columns[1], columns[0]]))
    np.testing.assert_array_equal(filled(data[10:], np.zeros(4), covariance), data[10:])
    of_all = filled(data, data[:, [0, 0, 2, 0]].mean(axis=0), covariance)
    np.testing.assert_allclose(of_all[:, 3], columns[0], rtol=1e-6)
