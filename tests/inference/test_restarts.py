"""Which start is the answer, what is said of the others, and that threads change nothing."""

import threading

import jax
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from small_fits import DATA, OVER_STICKS, job, plugin
from test_batching import same_bits

from gmm_pipeline.inference import batching, em, fits
from gmm_pipeline.inference.calls import fit_starts
from gmm_pipeline.inference.jobs import FitJob, FitResult, Restart
from gmm_pipeline.inference.restarts import (
    best_of,
    degenerate_components,
    hit_rate,
    log_posterior,
)
from gmm_pipeline.model import inits, priors
from gmm_pipeline.model.mixture import Parameters
from gmm_pipeline.model.vocabulary import DEGENERATE, DIVERGED, REACHED, WORSE


def found(locs=(-2.0, 2.0), log_scales=(0.0, 0.0), log_weights=(0.0, 0.0), *, template: FitResult, **changes):
    """A result that someone else's fit might have ended with."""
    leaves = (np.array(leaf, np.float32) for leaf in (log_weights, locs, log_scales))
    return template._replace(**{"parameters": Parameters(*leaves), "diverged": False, "degenerate": (), **changes})


@pytest.fixture(scope="module")
def template() -> FitResult:
    return fits.fit(job(steps=1))


def outcomes(result: FitResult) -> list[str]:
    return [restart.outcome for restart in result.restarts]


def test_the_log_posterior_is_scipys(template):
    prior = plugin(priors.dirichlet, concentration=3.0)
    weights, locs, scales = np.array([0.25, 0.75]), np.array([-2.0, 1.5]), np.array([0.8, 1.3])
    one = found(locs, np.log(scales), np.log(weights) + 5.0, template=template)
    chosen = job(log_prior=prior)._replace(sample_weights=np.linspace(0.5, 2.0, 300).astype(np.float32))
    densities = np.sum(weights * stats.norm.pdf(DATA.astype(np.float64)[:, None], locs, scales), axis=1)
    expected = np.sum(chosen.sample_weights * np.log(densities)) + stats.dirichlet.logpdf(weights, [3.0, 3.0])
    assert log_posterior(chosen, one) == pytest.approx(expected, abs=1e-3)  # its parameters are float32


def test_the_best_sound_start_is_the_answer(template):
    best, close = found(template=template), found((-2.0, 2.0003), template=template)
    worse = found((-1.0, 1.0), template=template)
    degenerate = found(template=template, degenerate=(1,))
    diverged = found((np.nan, 0.0), template=template, diverged=True)
    order = [diverged, worse, degenerate, best, close, worse]
    result = best_of(job(), order)
    values = [restart.log_posterior for restart in result.restarts]
    assert abs(values[3] - values[4]) < 1e-2
    assert outcomes(result) == [DIVERGED, WORSE, DEGENERATE, REACHED, REACHED, WORSE]
    assert result.parameters is order[int(np.argmax(np.where(np.arange(6) == 2, -np.inf, values)))].parameters
    assert result.degenerate == ()
    assert hit_rate(result.restarts) == pytest.approx(2 / 6)


def test_a_start_of_higher_posterior_that_is_degenerate_is_not_the_answer(template):
    spike = found((-2.0, float(DATA[0])), (0.0, -20.0), template=template, degenerate=(1,))
    sound = found((-1.0, 0.5), template=template)
    result = best_of(job(), [spike, sound])
    assert result.parameters is sound.parameters
    assert outcomes(result) == [DEGENERATE, REACHED]


def test_where_no_start_is_sound_the_best_is_the_answer_and_none_reached_it(template):
    diverged = found((np.nan, 0.0), template=template, diverged=True)
    better, worse = (found((-at, at), template=template, degenerate=(0,)) for at in (2.0, 1.0))
    result = best_of(job(), [diverged, worse, better])
    assert result.parameters is better.parameters
    assert outcomes(result) == [DIVERGED, DEGENERATE, DEGENERATE]
    assert hit_rate(result.restarts) == 0.0
    assert outcomes(best_of(job(), [diverged, diverged])) == [DIVERGED, DIVERGED]


@given(st.lists(st.tuples(st.floats(0.1, 4.0), st.booleans(), st.booleans()), min_size=1, max_size=6))
def test_any_tally_counts_every_start_and_the_answer_reached(template, starts):
    results = [
        found((-at, at), template=template, degenerate=(0,) * degenerate, diverged=diverged)
        for at, degenerate, diverged in starts
    ]
    result = best_of(job(), results)
    assert len(result.restarts) == len(starts)
    is_sound = [not degenerate and not diverged for _, degenerate, diverged in starts]
    assert (REACHED in outcomes(result)) == any(is_sound)
    for (_, degenerate, diverged), outcome in zip(starts, outcomes(result), strict=True):
        assert (outcome == DIVERGED) == diverged
        assert (outcome == DEGENERATE) == (degenerate and not diverged)


def test_the_hit_rate_is_the_share_of_starts_that_reached_the_answer():
    assert hit_rate([]) == 0.0
    assert hit_rate([Restart(0.0, REACHED, True, 1), Restart(0.0, WORSE, True, 1)]) == 0.5


def several(restarts: int = 5, **changes) -> FitJob:
    settings = {
        "init": plugin(inits.normal),
        "optimizer": plugin(em.em),
        "n_components": 3,
        "restarts": restarts,
        "steps": 30,
        "history_every": 10,
    }
    return job(**{**settings, **changes})


def test_the_first_restart_is_the_fit_without_others_and_no_two_are_alike():
    (starts,) = fit_starts([several()])
    alone = fits.fit(several(1))
    assert len({tuple(start.history.parameters.component_mus[0]) for start in starts}) == 5
    for one, other in zip(starts[0].history.parameters, alone.history.parameters, strict=True):
        np.testing.assert_array_equal(one, other)


def test_threads_change_neither_bits_nor_order(monkeypatch):
    monkeypatch.setattr(batching, "MOST_ELEMENTS_BATCHED", 2 * 364 * 5.0)  # so that restarts fill more than a call
    monkeypatch.setattr(batching, "FEW_RUNS", 1)
    jobs = [several(seed=seed, steps=29) for seed in range(2)]
    assert batching.program_of(jobs[0]).width.runs == 2
    alone, threaded = (fit_starts(jobs, workers=workers) for workers in (1, 2))
    assert same_bits(alone, threaded)
    assert len({tuple(start.history.parameters.component_mus[0]) for job in alone for start in job}) == 10
    assert same_bits(alone[1], fit_starts(jobs[1:])[0])


@pytest.mark.parametrize("workers", [1, 2])
def test_what_progress_raises_ends_the_fits_and_their_threads(monkeypatch, workers):
    monkeypatch.setattr(batching, "MOST_ELEMENTS_BATCHED", 2 * 364 * 5.0)
    monkeypatch.setattr(batching, "FEW_RUNS", 1)
    monkeypatch.setattr("gmm_pipeline.inference.calls.ELEMENTS_A_SEGMENT", 1e5)
    jobs, calls = [several(seed=seed, steps=29) for seed in range(6)], []

    def interrupted(done: int, total: int) -> None:
        calls.append((done, total))
        if len(calls) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fits.fit_all(jobs, interrupted, workers)
    left = [thread for thread in threading.enumerate() if thread.name.startswith("start")]
    for thread in left:  # nobody waits for it, and it ends by itself
        thread.join(60.0)
    assert not [thread for thread in left if thread.is_alive()]
    assert len(calls) == 3  # of dozens


@pytest.mark.parametrize("workers", [1, 2])
def test_progress_counts_all_steps(monkeypatch, workers):
    monkeypatch.setattr(batching, "MOST_ELEMENTS_BATCHED", 2 * 364 * 5.0)
    monkeypatch.setattr(batching, "FEW_RUNS", 1)
    calls = []
    fits.fit_all([several(seed=seed, steps=29) for seed in range(2)], lambda *call: calls.append(call), workers=workers)
    assert calls == sorted(calls)
    assert calls[-1] == (calls[-1][1],) * 2


def test_a_fit_begins_where_it_is_reported():
    begin = Parameters(*(np.array(leaf, np.float32) for leaf in ([0.1, 0.2, 0.3], [-1.0, 0.0, 4.0], [0.5, 0.1, -0.3])))
    result = fits.fit(several(1, begin=begin))
    for leaf, told in zip(result.history.parameters, begin, strict=True):
        np.testing.assert_array_equal(leaf[0], told)
    again = fits.fit(several(1, begin=begin, seed=7))
    assert same_bits(again, result)


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6, 1e25])
def test_the_spread_has_the_units_of_the_data(unit):
    sample_weights = np.random.default_rng(0).choice([1.0, 2.0], 300).astype(np.float32)
    chosen = job(data=(DATA * unit).astype(np.float32))._replace(sample_weights=sample_weights)
    repeated = np.repeat(DATA.astype(np.float64), sample_weights.astype(int))
    assert chosen.plan.family.spread_of(chosen) == pytest.approx(repeated.std() * unit, rel=1e-5)


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("optimizer", [plugin(em.em), plugin(optax.adam, learning_rate=0.1)], ids=["em", "adam"])
def test_a_component_on_ties_ends_at_the_floor_and_is_degenerate_in_any_units(unit, optimizer):
    data = (np.concatenate([DATA, np.full(40, 1.0, np.float32)]) * unit).astype(np.float32)
    leaves = [0.0, 0.0], [0.0, unit], np.log([2.0 * unit, 0.3 * unit])
    begin = Parameters(*(np.array(leaf, np.float32) for leaf in leaves))
    if optimizer.function is optax.adam:
        # Its steps are of its own size; so the component starts on the ties.
        optimizer = plugin(optax.adam, learning_rate=0.1 if unit == 1.0 else 1e-9 * max(unit, 1.0))
        begin = begin._replace(log_component_scales=np.log(np.array([2.0 * unit, 1e-3 * unit])).astype(np.float32))
    chosen = job(data=data, begin=begin, scale_floor=0.02, optimizer=optimizer, steps=200, history_every=50)
    result = fits.fit(chosen)
    assert result.degenerate == (1,)
    scale = np.exp(np.float64(result.parameters.log_component_scales[1]))
    assert scale == pytest.approx(0.02 * np.std(data.astype(np.float64)), rel=1e-5)
    assert (result.history.parameters.log_component_scales >= np.log(scale) - 1e-5).all()


def test_components_of_few_data_and_of_narrow_scale_are_degenerate():
    chosen = job(fewest_data=2.5, scale_floor=0.01)
    floor = 0.01 * chosen.plan.family.spread_of(chosen)

    def of(counts, scales, chosen=chosen):
        log_weights = np.log(np.array(counts)) + 3.0  # any constant
        return degenerate_components(chosen, Parameters(log_weights, np.zeros(3), np.log(np.array(scales))))

    assert of([197.4, 2.6, 100.0], [1.0, 1.0, 1.0]) == ()
    assert of([2.4, 295.6, 2.0], [1.0, 1.0, 1.0]) == (0, 2)
    assert of([100.0, 100.0, 100.0], [1.0, floor, 1.02 * floor]) == (1,)
    # Where scales are equal a component has a parameter fewer, but one datum says nothing but itself.
    equal = chosen._replace(equal_scales=True)
    assert of([297.0, 1.6, 1.4], [1.0, 1.0, 1.0], equal) == (2,)
    assert of([100.0, 100.0, 100.0], [floor] * 3, equal) == (0, 1, 2)
    assert of([299.0, 0.5, 0.5], [1.0] * 3, equal._replace(fewest_data=0.4)) == ()
    # Half as many data where each counts half.
    halves = chosen._replace(sample_weights=np.full(300, 0.5, np.float32))
    assert of([200.0, 4.0, 96.0], [1.0] * 3, halves) == (1,)


def test_a_prior_over_sticks_empties_components_by_intent():
    parameters = Parameters(np.array([0.0, -20.0]), np.zeros(2), np.zeros(2))
    assert degenerate_components(job(fewest_data=2.5), parameters) == (1,)
    assert degenerate_components(job(fewest_data=2.5, log_prior=OVER_STICKS), parameters) == ()


def test_a_scale_so_small_that_squares_overflow_is_a_number(template):
    spike = found((-2.0, 0.0), (0.0, -80.0), template=template)
    assert np.isfinite(log_posterior(job(), spike))
    exact = jax.tree.map(lambda leaf: leaf.astype(np.float64), spike.parameters)
    narrower = exact._replace(log_component_scales=np.array([0.0, -500.0]))
    assert np.isfinite(log_posterior(job(), spike._replace(parameters=narrower)))
