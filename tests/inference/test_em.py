"""EM against the textbook, against Xu & Jordan's preconditioner and against scikit-learn; SQUAREM against EM."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROUNDING_64
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.mixture import GaussianMixture
from small_fits import job, plugin

from gmm_pipeline.errors import InputError
from gmm_pipeline.inference import em, fits
from gmm_pipeline.inference.jobs import FitJob, FitResult, check
from gmm_pipeline.inference.objective import compiler_options, lay_out, log_likelihood_of
from gmm_pipeline.inference.parameterization import Constraints, Unconstrained, mixture_of, unconstrained_of
from gmm_pipeline.model import inits, priors
from gmm_pipeline.model.mixture import AnyArray, Parameters, constrain

pytestmark = pytest.mark.usefixtures("quickly_compiled")

ROOM = 5
"""Components of the arrays; those that are not used only fill up."""
N_DATA = 40


def textbook_step(weights, locs, scales, data, counts, *, alpha, equal):
    """EM of Dempster, Laird & Rubin (1977), a datum and a component at a time."""
    n_components, total = len(weights), sum(counts)
    r = np.zeros((len(data), n_components))
    for i, x in enumerate(data):
        densities = [
            weights[k] * np.exp(-0.5 * ((x - locs[k]) / scales[k]) ** 2) / scales[k] for k in range(n_components)
        ]
        for k in range(n_components):
            r[i, k] = counts[i] * densities[k] / sum(densities)
    new_weights, new_locs, squares = np.zeros(n_components), np.zeros(n_components), np.zeros(n_components)
    for k in range(n_components):
        new_weights[k] = (sum(r[:, k]) + alpha - 1) / (total + n_components * (alpha - 1))
        new_locs[k] = sum(r[i, k] * x for i, x in enumerate(data)) / sum(r[:, k])
        squares[k] = sum(r[i, k] * (x - new_locs[k]) ** 2 for i, x in enumerate(data))
    variances = np.full(n_components, sum(squares) / total) if equal else squares / r.sum(axis=0)
    return new_weights, new_locs, np.sqrt(variances)


@partial(jax.jit, static_argnames="fused")
def engine_step(parameters, constraints, data, sample_weights, alpha, divisor, *, fused=False) -> Parameters:
    """Where a step of EM leads, from the gradient of what a fit minimises."""
    laid_out = lay_out(data, sample_weights, fused=fused)

    def loss(free: Unconstrained):
        mixture = mixture_of(free, constraints, sticks=False)
        log_likelihood = log_likelihood_of(mixture, laid_out, active=constraints.active, fused=fused)
        return -(log_likelihood + priors.dirichlet(mixture, constraints.active, concentration=alpha)) / divisor

    free = unconstrained_of(parameters, {}, constraints, sticks=False)
    problem = em.Problem(jnp.sum(sample_weights), divisor, alpha - 1.0, constraints, em.em_step)
    return mixture_of(em.em_step(free, jax.grad(loss)(free), problem), constraints, sticks=False)


@st.composite
def problems(draw):
    """Data with counts, a mixture that is somewhere near them, and how scales and weights are to be found."""
    random = np.random.default_rng(draw(st.integers(0, 10**6)))
    n_components = draw(st.integers(1, ROOM))
    data = random.normal(size=N_DATA) + random.choice([-2.0, 0.0, 3.0], N_DATA)
    counts = random.choice([0.0, 0.5, 1.0, 3.0], N_DATA) if draw(st.booleans()) else np.ones(N_DATA)
    counts[0] = 1.0
    equal = draw(st.booleans())
    log_scales = random.normal(0.0, 0.3, n_components)
    log_scales = np.full(n_components, log_scales[0]) if equal else log_scales
    found = Parameters(random.normal(size=n_components), random.normal(0.0, 2.0, n_components), log_scales)
    return found, data, counts, draw(st.sampled_from([1.0, 1.5, 4.0])), equal


def padded(parameters: Parameters, dtype) -> Parameters:
    # What fills up is neither zero nor in order, so that it would be seen if it counted.
    return Parameters(*(np.append(leaf, np.full(ROOM - len(leaf), 0.7)).astype(dtype) for leaf in parameters))


def constraints_of(n_components: int, equal: bool, dtype=np.float64, log_floor=-np.inf) -> Constraints:
    return Constraints(np.arange(ROOM) < n_components, np.array(equal), np.array(log_floor, dtype))


def stepped(problem, *, dtype, divisor=1.0, fused=False):
    """Weights, locs and scales after a step in the engine, and by the textbook."""
    parameters, data, counts, alpha, equal = problem
    n_components = len(parameters.component_mus)
    with jax.enable_x64(dtype == np.float64):
        arrays = padded(parameters, dtype), constraints_of(n_components, equal, dtype), data.astype(dtype)
        moved = engine_step(*arrays, counts.astype(dtype), dtype(alpha), dtype(divisor), fused=fused)
        moved = Parameters(*(np.asarray(leaf)[:n_components] for leaf in moved))
    before = constrain(parameters)
    return constrain(moved), textbook_step(*before, data, counts, alpha=alpha, equal=equal)


@settings(max_examples=20)
@given(problems(), st.sampled_from([1.0, 40.0]))
def test_a_step_is_the_textbooks_in_float64(problem, divisor):
    # Responsibilities are the difference of larger sums, and variances are too: three digits of twelve.
    for ours, expected in zip(*stepped(problem, dtype=np.float64, divisor=divisor), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-9, atol=1e-10)


@settings(max_examples=20)
@given(problems(), st.booleans())
def test_a_step_is_the_textbooks_in_float32(problem, fused):
    # The same three digits of seven.
    for ours, expected in zip(*stepped(problem, dtype=np.float32, fused=fused), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=3e-3, atol=3e-4)


@jax.jit
@partial(jax.grad, argnums=(0, 1, 2))
def slopes_of(weights, locs, variances, data, counts):
    """Of the log-likelihood of weights that need not sum to one, locs and variances."""
    squares = (data[:, None] - locs[None, :]) ** 2 / variances[None, :]
    densities = weights[None, :] * jnp.exp(-0.5 * squares) / jnp.sqrt(2 * jnp.pi * variances)[None, :]
    return jnp.sum(counts * jnp.log(jnp.sum(densities, axis=1)))


@settings(max_examples=20)
@given(problems())
def test_a_step_is_a_preconditioned_gradient_step(problem):
    """Xu & Jordan (1996), theorem 1: weights (diag w − w wᵀ)/n, locs σ²/R, variances about the old locs 2σ⁴/R."""
    parameters, data, counts, _, _ = problem
    before = constrain(parameters)

    with jax.enable_x64(True):
        gradient = slopes_of(before.weights, before.locs, before.scales**2, data, counts)
    by_weight, by_loc, by_variance = (np.asarray(leaf) for leaf in gradient)
    weights, locs, variances = before.weights, before.locs, before.scales**2
    total, counted = counts.sum(), weights * by_weight
    new_weights = weights + (np.diag(weights) - np.outer(weights, weights)) / total @ by_weight
    new_locs = locs + np.diag(variances / counted) @ by_loc
    about_old_locs = variances + np.diag(2 * variances**2 / counted) @ by_variance
    expected = new_weights, new_locs, np.sqrt(about_old_locs - (new_locs - locs) ** 2)
    ours, _ = stepped((parameters, data, counts, 1.0, False), dtype=np.float64)
    for one, other in zip(ours, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-10)


def by_em(number: int = 0, *, optimizer=em.em, n_components=3, n_data=60, steps=60, **changes) -> FitJob:
    """A fit in float64 of data and from a start that its number decides."""
    random = np.random.default_rng(number)
    data = random.normal(size=n_data) + random.choice([-2.0, 0.0, 2.5], n_data)
    settings = {
        "data": data,
        "init": plugin(inits.normal),
        "log_prior": plugin(priors.dirichlet, concentration=1.0),
        "optimizer": plugin(optimizer),
        "n_components": n_components,
        "steps": steps,
        "seed": number,
    }
    return job(**{**settings, **changes})


def fit_all(jobs: list[FitJob]) -> list[FitResult]:
    with jax.enable_x64(True):
        return fits.fit_all(jobs)


def lost(losses: AnyArray) -> float:
    """By how much a loss ever rose, relative to its size."""
    return float(np.max(np.diff(losses) / np.abs(np.asarray(losses)[1:])))


def all_sorts(first: int, optimizer, **changes) -> list[FitJob]:
    """Fits of one program that differ in all that may differ."""
    jobs = []
    for number in range(first, first + 24):
        random = np.random.default_rng([number, 1])
        prior = plugin(priors.dirichlet, concentration=float(random.choice([1.0, 1.3, 5.0])))
        one = by_em(
            number,
            optimizer=optimizer,
            n_components=int(random.integers(1, 6)),
            equal_scales=bool(random.integers(2)),
            scale_floor=float(random.choice([0.02, 0.1, 0.4])),
            log_prior=prior,
            **changes,
        )
        jobs.append(one._replace(sample_weights=random.choice([0.5, 1.0, 2.0], len(one.data))))
    return jobs


@settings(max_examples=3)
@given(st.integers(0, 10**6))
def test_no_step_of_em_loses(first):
    results = fit_all(all_sorts(first, em.em))
    assert len({tuple(result.parameters.component_mus) for result in results}) > 20
    for result in results:
        assert lost(result.history.loss) < 100 * ROUNDING_64


@settings(max_examples=3)
@given(st.integers(0, 10**6))
def test_no_cycle_of_squarem_loses(first):
    results = fit_all(all_sorts(first, em.squarem))
    leaps = 0
    for result in results:
        assert lost(result.history.loss[::3]) < 100 * ROUNDING_64
        leaps += np.sum(np.diff(result.history.loss) > 0)
    assert leaps > 0  # some leaps are too long, and are taken back


@settings(max_examples=3)
@given(st.integers(0, 10**6))
def test_squarem_never_ends_on_a_leap_that_lost(first):
    for result in fit_all(all_sorts(first, em.squarem, steps=14)):
        # 13 steps end on a step of EM, and the 14th is a leap.
        assert lost(result.history.loss[-2:]) < 100 * ROUNDING_64


@pytest.mark.parametrize("bits", [32, 64])
def test_squarem_takes_back_what_is_not_a_number_whatever_the_compiler_assumes(bits):
    with jax.enable_x64(bits == 64):
        dtype = np.dtype(f"float{bits}").type
        parameters = Parameters(*(np.zeros(2, dtype) for _ in range(3)))
        state: Any = em.squarem().init(Unconstrained(parameters, {}))
        state = state._replace(value=jnp.asarray(1.0, dtype))
        kept = jax.jit(em._kept, compiler_options=compiler_options(True))
        found = [bool(kept(state, dtype(value))) for value in (np.nan, np.inf, -np.inf, 2.0, 1.0, -3.0, 0.0)]
    assert found == [False, False, False, False, True, True, True]


def sklearns(data: np.ndarray, start: Parameters) -> GaussianMixture:
    before = constrain(start)
    estimator = GaussianMixture(
        len(before.locs),
        tol=1e-13,
        max_iter=100_000,
        reg_covar=0.0,
        weights_init=before.weights,
        means_init=before.locs[:, None],
        precisions_init=before.scales[:, None, None] ** -2,
    )
    return estimator.fit(data[:, None])


@pytest.mark.parametrize("optimizer", [em.em, em.squarem])
def test_ends_where_scikit_learn_does_from_the_same_start(optimizer):
    begin = Parameters(np.zeros(3), np.array([-2.0, 0.1, 2.0]), np.log(np.full(3, 0.8)))
    flat = plugin(priors.flat)
    chosen = by_em(3, optimizer=optimizer, n_data=300, steps=3000, history_every=30, begin=begin, log_prior=flat)
    (result,) = fit_all([chosen])
    theirs: Any = sklearns(chosen.data, begin)
    ours = constrain(result.parameters)
    assert theirs.converged_
    assert -result.history.loss[-1] == pytest.approx(theirs.score(chosen.data[:, None]), abs=1e-9)
    np.testing.assert_allclose(ours.weights, theirs.weights_, atol=1e-4)
    np.testing.assert_allclose(ours.locs, theirs.means_[:, 0], atol=1e-4)
    np.testing.assert_allclose(ours.scales, np.sqrt(theirs.covariances_[:, 0, 0]), atol=1e-4)


@pytest.mark.parametrize("optimizer", [em.em, em.squarem])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
def test_components_without_data_stay_numbers(optimizer, dtype, alpha):
    begin = Parameters(*(np.array(leaf, dtype) for leaf in ([0.0, -30.0, 0.0], [0.0, 1.0, 1e4], [0.0, 0.0, -2.0])))
    chosen = by_em(1, optimizer=optimizer, log_prior=plugin(priors.dirichlet, concentration=alpha))
    chosen = chosen._replace(
        data=chosen.data.astype(dtype), sample_weights=chosen.sample_weights.astype(dtype), begin=begin
    )
    with jax.enable_x64(dtype == np.float64):
        result = fits.fit(chosen)
    assert not result.diverged
    assert all(np.isfinite(leaf).all() for leaf in result.history.parameters)
    found = constrain(result.parameters)
    total = chosen.sample_weights.sum()
    assert found.weights[2] == pytest.approx(max(0.0, alpha - 1) / (total + 3 * (alpha - 1)), abs=1e-6)
    if alpha >= 1:  # it stays where it is, which is nowhere near the data
        assert found.locs[2] == pytest.approx(1e4)


@pytest.mark.parametrize("optimizer", [em.em, em.squarem])
def test_em_with_a_prior_that_it_is_not_exact_for_is_refused(optimizer):
    check(job(optimizer=plugin(optimizer)))
    check(job(optimizer=plugin(optimizer), log_prior=plugin(priors.dirichlet, concentration=2.0)))
    check(job(optimizer=plugin(optimizer), log_prior=plugin(priors.variance_penalty, strength=0.1, variance=1.0)))
    inexact = plugin(priors.normal_half_normal, loc=0.0, loc_scale=1.0, scale_scale=1.0)
    check(job(log_prior=inexact))
    with pytest.raises(InputError, match=f"{optimizer.__name__} with the prior normal_half_normal"):
        check(job(optimizer=plugin(optimizer), log_prior=inexact))
    with pytest.raises(InputError, match="optimizer=adam"):
        check(job(optimizer=plugin(optimizer), log_prior=plugin(lambda parameters: 0.0)))


@pytest.mark.parametrize("optimizer", [em.em, em.squarem])
def test_averaging_the_loss_changes_nothing_but_the_loss(optimizer):
    prior = plugin(priors.dirichlet, concentration=2.0)
    averaged, summed = (
        fit_all([by_em(2, optimizer=optimizer, log_prior=prior, average_loss=average, steps=20)])[0]
        for average in (True, False)
    )
    np.testing.assert_allclose(60 * averaged.history.loss, summed.history.loss, rtol=1e-9)
    for one, other in zip(averaged.parameters, summed.parameters, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-7)  # a leap multiplies rounding
    assert averaged.gradient_norm == pytest.approx(summed.gradient_norm, rel=1e-5)


def test_squarem_reaches_ems_optimum_with_several_times_fewer_gradients():
    random = np.random.default_rng(0)
    data = random.normal(size=400) + 2.0 * random.integers(0, 4, 400)
    data = (data - data.mean()) / data.std()
    ends = {}
    for optimizer in (em.em, em.squarem):
        chosen = by_em(
            0,
            optimizer=optimizer,
            data=data,
            n_components=4,
            steps=20_000,
            history_every=10,
            init=plugin(inits.quantile, jitter=0.0, overlap=1.0),
            tolerance=1e-9,
            gradient_tolerance=1e-4,
        )
        (ends[optimizer],) = fit_all([chosen])
    slow, fast = ends[em.em], ends[em.squarem]
    assert slow.converged
    assert fast.converged
    assert 400 * fast.history.loss[-1] == pytest.approx(400 * slow.history.loss[-1], abs=1e-4)
    assert 5 * fast.n_steps < slow.n_steps
