"""What is true of any maximum-likelihood fit, whatever the data."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_fits import job, plugin
from test_stopping import norm_by_numpy

from gmm_pipeline.analysis.uncertainty import peak_of, uncertainty
from gmm_pipeline.inference import em, fits
from gmm_pipeline.inference.jobs import FitJob, FitResult
from gmm_pipeline.model import inits, priors
from gmm_pipeline.model.mixture import Parameters, constrain
from gmm_pipeline.model.splitting import split_component

N_DATA = 80
FLAT = plugin(priors.flat)
some = settings(max_examples=4)
seeds = st.integers(0, 10**6)


def fitted(number: int, n_components: int, **changes) -> FitJob:
    """A fit in float64 that goes on until rounding is all that moves; all of them share a program."""
    random = np.random.default_rng(number)
    options = {
        "data": random.normal(size=N_DATA) + random.choice([-4.0, 0.0, 5.0], N_DATA),
        "init": plugin(inits.quantile, jitter=0.3, overlap=1.0),
        "optimizer": plugin(em.squarem),
        "n_components": n_components,
        "steps": 3000,
        "history_every": 30,
        "scale_floor": 0.02,
        "fewest_data": 2.5,
        "tolerance": 1e-14,
        "gradient_tolerance": 1e-7,
        "seed": number,
    }
    sample_weights = changes.pop("sample_weights", random.choice([1.0, 2.0], N_DATA))
    chosen = job(**{**options, **changes})
    return chosen._replace(sample_weights=sample_weights[: len(chosen.data)])


def fit_all(jobs: list[FitJob]) -> list[FitResult]:
    with jax.enable_x64(True):
        return fits.fit_all(jobs)


def is_optimum(result: FitResult) -> bool:
    return result.converged and not result.degenerate


def log_likelihood(result: FitResult) -> float:
    return result.restarts[0].log_posterior  # the prior is flat


@some
@given(seeds)
def test_an_optimum_has_no_slope_and_the_mean_and_variance_of_the_data(first):
    jobs = [fitted(first + k, k, equal_scales=equal) for k in range(1, 5) for equal in (False, True)]
    optima = [pair for pair in zip(jobs, fit_all(jobs), strict=True) if is_optimum(pair[1])]
    assert len(optima) >= 5
    for chosen, result in optima:
        assert norm_by_numpy(chosen, result.parameters) < 1e-6
        found = constrain(result.parameters)
        mean = np.sum(found.weights * found.locs)
        variance = np.sum(found.weights * (found.scales**2 + (found.locs - mean) ** 2))
        of_data = np.average(chosen.data, weights=chosen.sample_weights)
        assert mean == pytest.approx(of_data, abs=1e-6)
        spread = np.average((chosen.data - of_data) ** 2, weights=chosen.sample_weights)
        assert variance == pytest.approx(spread, rel=1e-6)
        if chosen.equal_scales:
            assert np.ptp(found.scales) < 1e-12


@some
@given(seeds)
def test_an_optimum_of_modes_apart_is_a_strict_maximum(first):
    jobs = [fitted(first, 3, equal_scales=equal) for equal in (False, True)]
    for chosen, result in zip(jobs, fit_all(jobs), strict=True):
        if is_optimum(result):
            found = uncertainty(peak_of(chosen, result, chosen.data))
            assert found.positive_definite


@some
@given(seeds)
def test_likelihood_ratios_of_nested_fits_are_not_negative(first):
    n_components = 1 + first % 4
    equal, free = fit_all([fitted(first, n_components, equal_scales=equal) for equal in (True, False)])
    larger = [
        fitted(first, n_components, begin=equal.parameters),
        *(
            fitted(
                first, n_components + 1, begin=split_component(result.parameters, 0, keep_scale=True), equal_scales=same
            )
            for result, same in ((equal, True), (free, False))
        ),
    ]
    for smaller, result in zip((equal, equal, free), fit_all(larger), strict=True):
        assert 2 * (log_likelihood(result) - log_likelihood(smaller)) > -1e-8


@some
@given(seeds)
def test_the_order_of_components_and_a_constant_in_log_weights_change_nothing(first):
    random = np.random.default_rng(first)
    begin = Parameters(np.zeros(3), np.array([-3.0, 0.5, 4.0]), random.normal(0.0, 0.2, 3))
    order = random.permutation(3)
    jobs = [
        fitted(first, 3, begin=begin),
        fitted(first, 3, begin=Parameters(*(leaf[order] for leaf in begin))),
        fitted(first, 3, begin=begin._replace(log_component_weights=np.full(3, random.normal(0.0, 20.0)))),
    ]
    result, permuted, shifted = fit_all(jobs)
    for one, other, same in zip(*(constrain(each.parameters) for each in (result, permuted, shifted)), strict=True):
        np.testing.assert_allclose(other, one[order], atol=1e-5)
        np.testing.assert_allclose(same, one, atol=1e-5)


@some
@given(seeds)
def test_a_datum_that_counts_twice_is_two_data(first):
    counts = np.repeat([2.0, 1.0], [40, 40])
    once = fitted(first, 2, sample_weights=counts)
    begin = Parameters(np.zeros(2), np.array([-3.0, 4.0]), np.ones(2))
    twice = once._replace(data=np.repeat(once.data, counts.astype(int)), sample_weights=np.ones(120))
    one, other = fit_all([each._replace(begin=begin) for each in (once, twice)])
    for ours, expected in zip(constrain(one.parameters), constrain(other.parameters), strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-5)
    assert log_likelihood(one) == pytest.approx(log_likelihood(other), abs=1e-8)
