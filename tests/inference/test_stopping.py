"""When a fit stops, what it says then, and how far from the optimum it is."""

import jax
import numpy as np
import optax
import pytest
from scipy.special import softmax
from small_fits import job, plugin
from test_batching import same_bits

from gmm_pipeline.inference import em, fits
from gmm_pipeline.inference.jobs import FitJob, FitResult
from gmm_pipeline.model import inits
from gmm_pipeline.model.mixture import Parameters

TOLERANCES = {"tolerance": 1e-6, "gradient_tolerance": 1e-3}


def modes(number: int, n_data: int, dtype: type = np.float32) -> np.ndarray:
    random = np.random.default_rng(number)
    data = random.normal(size=n_data) + random.choice([-1.5, 0.5, 3.0], n_data)
    return ((data - data.mean()) / data.std()).astype(dtype)


def by(optimizer, number: int = 0, *, n_data: int = 120, **changes) -> FitJob:
    settings = {
        "data": modes(number, n_data),
        "optimizer": plugin(optimizer),
        "steps": 1000,
        "history_every": 7,
        "seed": number,
        "init": plugin(inits.quantile, jitter=0.5, overlap=1.5),
        **TOLERANCES,
    }
    return job(**{**settings, **changes})


def as_it_should_be(result: FitResult, chosen: FitJob) -> None:
    """What is true of the history of any fit."""
    assert result.steps[0] == 0
    assert (np.diff(result.steps) > 0).all()
    assert result.steps[-1] == result.n_steps <= chosen.steps
    assert all(len(leaf) == len(result.steps) for leaf in jax.tree.leaves(result.history))
    assert all((a == b[-1]).all() for a, b in zip(result.parameters, result.history.parameters, strict=True))
    assert result.gradient_norm == result.history.gradient_norm[-1]
    assert result.converged == result.history.converged[-1]
    assert not result.history.converged[:-1].any()


def test_a_tolerance_of_zero_never_stops():
    for never in ("tolerance", "gradient_tolerance"):
        chosen = by(em.em)._replace(**{never: 0.0})
        result = fits.fit(chosen)
        as_it_should_be(result, chosen)
        assert result.n_steps == 1000
        assert not result.converged


def test_lanes_that_stop_leave_their_neighbours_alone_and_stay_where_they_are():
    jobs = [by(em.em, number, n_components=1 + number % 5) for number in range(10)]
    jobs.append(jobs[2]._replace(tolerance=0.0))
    together = fits.fit_all(jobs)
    for chosen, result in zip(jobs, together, strict=True):
        as_it_should_be(result, chosen)
    stops = [result.n_steps for result in together if result.converged]
    assert len(set(stops)) > 3
    assert max(result.n_steps for result in together) == 1000
    for number in (0, 2, 10):
        assert same_bits(together[number], fits.fit(jobs[number]))
    # Until it stops, a fit that may is the one that may not.
    stopped, went_on = together[2], together[10]
    last = len(stopped.steps) - 1
    assert stopped.steps[-1] == went_on.steps[last]
    for one, other in zip(stopped.history.parameters, went_on.history.parameters, strict=True):
        np.testing.assert_array_equal(one, other[: last + 1])


def test_a_fit_that_is_out_of_steps_says_so():
    chosen = by(em.em, n_components=3, steps=5, history_every=2)
    result = fits.fit(chosen)
    as_it_should_be(result, chosen)
    assert result.n_steps == 5
    assert not result.converged
    assert result.gradient_norm > 1e-3


def test_a_fit_that_converges_at_its_very_end_says_so():
    whole = fits.fit(by(em.em, n_components=2, history_every=1))
    assert whole.converged
    chosen = by(em.em, n_components=2, steps=whole.n_steps + 2, history_every=1000)
    result = fits.fit(chosen)
    as_it_should_be(result, chosen)
    assert result.converged
    assert result.n_steps == chosen.steps


@pytest.mark.parametrize(
    "optimizer",
    [plugin(em.em), plugin(em.squarem), plugin(optax.adam, learning_rate=0.05)],
    ids=lambda optimizer: optimizer.function.__name__,
)
def test_a_fit_at_the_floor_stops_too(optimizer):
    data = np.concatenate([modes(1, 100), np.full(30, 0.25, np.float32)])
    begin = Parameters(*(np.array(leaf, np.float32) for leaf in ([0.0, 0.0], [0.0, 0.25], [0.0, -3.0])))
    free = by(em.em, data=data, begin=begin, scale_floor=0.05)
    free = free._replace(plan=free.plan._replace(optimizer=optimizer))
    equal = free._replace(equal_scales=True, scale_floor=1.1)
    for chosen, degenerate, result in zip((free, equal), [(1,), (0, 1)], fits.fit_all([free, equal]), strict=True):
        as_it_should_be(result, chosen)
        assert result.converged
        assert result.n_steps < 1000
        assert result.degenerate == degenerate
        held = np.exp(result.parameters.log_component_scales[list(degenerate)])
        np.testing.assert_allclose(held, chosen.scale_floor * data.std(), rtol=1e-5)


def test_a_fit_that_diverges_never_converges():
    wild = job(optimizer=plugin(optax.sgd, learning_rate=1e30), tolerance=1e-6, gradient_tolerance=1e-3)
    result = fits.fit(wild)
    assert result.diverged
    assert not result.converged
    assert result.n_steps == wild.steps


def norm_by_numpy(chosen: FitJob, parameters: Parameters) -> float:
    """√(Σ g²/I) of a maximum-likelihood fit, with the gradient as sums of responsibilities."""
    log_weights, locs, log_scales = (np.asarray(leaf, np.float64) for leaf in parameters)
    weights, scales, total = softmax(log_weights), np.exp(log_scales), chosen.sample_weights.sum()
    z = (chosen.data[:, None] - locs[None, :]) / scales[None, :]
    r = chosen.sample_weights[:, None] * softmax(np.log(weights / scales)[None, :] - 0.5 * z**2, axis=1)
    counts = total * weights
    squared = np.sum((r.sum(axis=0) - counts) ** 2 / (counts + 1)) + np.sum((r * z).sum(axis=0) ** 2 / (counts + 1))
    by_scale = (r * (z**2 - 1)).sum(axis=0)
    if chosen.equal_scales:
        return float(np.sqrt(squared + by_scale.sum() ** 2 / (2 * total + 1)))
    return float(np.sqrt(squared + np.sum(by_scale**2 / (2 * counts + 1))))


@pytest.mark.parametrize("equal", [False, True])
def test_the_norm_of_the_gradient_is_its_formula(equal):
    with jax.enable_x64(True):
        chosen = by(
            em.em, 2, n_components=3, equal_scales=equal, data=modes(2, 120, np.float64), steps=60, tolerance=0.0
        )
        chosen = chosen._replace(sample_weights=np.random.default_rng(0).choice([0.5, 2.0], 120))
        result = fits.fit(chosen)
    for entry, norm in enumerate(result.history.gradient_norm):
        there = Parameters(*(leaf[entry] for leaf in result.history.parameters))
        assert norm == pytest.approx(norm_by_numpy(chosen, there), rel=1e-9)


@pytest.mark.parametrize(
    ("n_data", "optimizer"),
    [(50, em.em), (3_000, em.em), (3_000, em.squarem), (100_000, em.squarem)],
)
def test_a_converged_fit_is_within_a_thousandth_of_a_nat(n_data, optimizer):
    steps, every = (6000, 30) if n_data < 100_000 else (1500, 10)
    chosen = by(optimizer, 1, n_data=n_data, n_components=3, steps=steps, history_every=every)
    result = fits.fit(chosen)
    assert result.converged
    with jax.enable_x64(True):
        exact = chosen._replace(data=chosen.data.astype(np.float64), sample_weights=np.ones(n_data))
        begin = Parameters(*(np.asarray(leaf, np.float64) for leaf in result.parameters))
        plan = chosen.plan._replace(optimizer=plugin(em.squarem))
        further = exact._replace(begin=begin, tolerance=0.0, plan=plan, steps=1500, history_every=1500)
        optimum = fits.fit(further)
    shortfall = n_data * (optimum.history.loss[0] - optimum.history.loss[-1])
    assert optimum.gradient_norm < 0.02 * result.gradient_norm  # an optimum indeed
    assert -1e-9 * n_data <= shortfall < 1e-3
