"""Free numbers and the mixtures they stand for; fits of weights as sticks, and of what a prior learns."""

from functools import partial

import jax
import numpy as np
import optax
import pytest
from conftest import ROUNDING_32
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from small_fits import job, plugin
from test_search import SEARCH

from gmm_pipeline.inference import batching, fits
from gmm_pipeline.inference.jobs import FitResult
from gmm_pipeline.inference.parameterization import Constraints, mixture_of, unconstrained_of
from gmm_pipeline.model import inits, priors
from gmm_pipeline.model.mixture import Parameters, constrain

pytestmark = pytest.mark.usefixtures("quickly_compiled")

ROOM = 5

PROCESS = {
    "concentration": 1.0,
    "concentration_shape": 2.0,
    "concentration_rate": 1.0,
    "loc": 0.0,
    "loc_scale": 1.0,
    "scale_shape": 1.0,
    "scale_scale": 3.0,
}


@partial(jax.jit, static_argnames="sticks")
def there_and_back(parameters, learned, constraints, *, sticks):
    free = unconstrained_of(parameters, learned, constraints, sticks=sticks)
    return free, mixture_of(free, constraints, sticks=sticks)


@st.composite
def padded_mixtures(draw):
    random = np.random.default_rng(draw(st.integers(0, 10**6)))
    leaves = random.normal(size=ROOM) * 3, random.normal(size=ROOM), random.normal(size=ROOM)
    return Parameters(*(leaf.astype(np.float32) for leaf in leaves)), draw(st.integers(1, ROOM))


@given(
    padded_mixtures(),
    st.booleans(),
    st.booleans(),
    st.sampled_from([-np.inf, -1.0, 0.5]),
    st.floats(0.015625, 100, width=32),
)
def test_free_numbers_stand_for_the_mixture_that_they_come_from(padded, sticks, equal, log_floor, learned):
    parameters, n_components = padded
    active = np.arange(ROOM) < n_components
    constraints = Constraints(active, np.array(equal), np.array(log_floor, np.float32))
    free, found = there_and_back(parameters, {"concentration": np.float32(learned)}, constraints, sticks=sticks)
    log_weights, locs, log_scales = (leaf[:n_components] for leaf in parameters)
    log_scales = np.full(n_components, log_scales.mean()) if equal else log_scales
    expected = constrain(Parameters(log_weights, locs, np.maximum(log_scales, log_floor)))
    ours = constrain(Parameters(*(np.asarray(leaf)[:n_components] for leaf in found)))
    for one, other in zip(ours, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=5 * ROUNDING_32)
    assert np.exp(free.learned["concentration"]) == pytest.approx(learned, rel=ROUNDING_32)
    # What fills up has no weight, even next to the smallest of the others.
    whole = constrain(Parameters(*(np.asarray(leaf) for leaf in found)))
    assert (whole.weights[n_components:] == 0).all()
    np.testing.assert_allclose(whole.weights[:n_components], expected.weights, rtol=5 * ROUNDING_32)


def data_of(dtype=np.float64) -> np.ndarray:
    random = np.random.default_rng(4)
    data = np.concatenate([random.normal(-1.5, 0.5, 40), random.normal(1.0, 0.4, 40)])
    return ((data - data.mean()) / data.std()).astype(dtype)


def by_process(**changes):
    settings = {
        "data": data_of(),
        "log_prior": plugin(priors.dirichlet_process, **PROCESS),
        "n_components": 4,
        "init": plugin(inits.quantile, jitter=0.5, overlap=1.0),
        "optimizer": plugin(optax.adam, learning_rate=0.05),
        "steps": 4000,
        "history_every": 50,
        "tolerance": 1e-10,
        "gradient_tolerance": 1e-6,
        "seed": 1,
    }
    return job(**{**settings, **changes})


def log_posterior_by_scipy(values: np.ndarray) -> float:
    """Of the logits of K − 1 sticks, K locs, K log scales and log α; sticks in the order of decreasing weight."""
    k = len(values) // 3
    logits, locs, log_scales, (log_concentration,) = np.split(values, [k - 1, 2 * k - 1, 3 * k - 1])
    shares, alpha = 1 / (1 + np.exp(-logits)), np.exp(log_concentration)
    weights = np.append(shares, 1.0) * np.concatenate([[1.0], np.cumprod(1 - shares)])
    scales = np.exp(log_scales)
    terms = np.log(weights) + stats.norm.logpdf(data_of()[:, None], locs, scales)
    found = np.sum(np.logaddexp.reduce(terms, axis=1))
    found += np.sum(stats.beta.logpdf(shares, 1.0, alpha) + np.log(shares) + np.log1p(-shares))
    found += stats.gamma.logpdf(alpha, 2.0, scale=1.0) + log_concentration
    found += np.sum(stats.norm.logpdf(locs))
    return float(found + np.sum(stats.invgamma.logpdf(scales, 1.0, scale=3.0) + log_scales))


def in_decreasing_order(result: FitResult) -> np.ndarray:
    found = constrain(result.parameters)
    order = np.argsort(-found.weights)
    weights, locs, scales = found.weights[order], found.locs[order], found.scales[order]
    rest = np.append(np.cumsum(weights[::-1])[::-1][1:], 0.0)[:-1]
    logits = np.log(weights[:-1]) - np.log(rest)
    return np.concatenate([logits, locs, np.log(scales), [np.log(result.learned["concentration"])]])


def test_a_dirichlet_process_ends_where_no_free_number_has_a_slope():
    with jax.enable_x64(True):
        result = fits.fit(by_process())
    assert result.converged
    assert result.degenerate == ()
    assert result.learned["concentration"] > 0
    assert result.learned["concentration"] != PROCESS["concentration"]
    values = in_decreasing_order(result)
    slopes = [
        (log_posterior_by_scipy(values + step) - log_posterior_by_scipy(values - step)) / 2e-5
        for step in 1e-5 * np.eye(len(values))
    ]
    np.testing.assert_allclose(slopes, 0.0, atol=1e-3)
    assert log_posterior_by_scipy(values) == pytest.approx(result.restarts[0].log_posterior, abs=1e-9)
    # What is learned moves with the rest from where it starts.
    history = result.history.learned["concentration"]
    assert history[0] == pytest.approx(PROCESS["concentration"])
    assert history[-1] == pytest.approx(result.learned["concentration"])


def test_searches_agree_with_what_their_optimum_leads_to_once_the_concentration_is_learned():
    with jax.enable_x64(True):
        many = plugin(priors.dirichlet_process, **{**PROCESS, "concentration": 2.0})
        result = fits.fit(by_process(n_components=3, log_prior=many, search=SEARCH, restarts=2))
    assert result.learned["concentration"] == pytest.approx(0.9, abs=0.1)
    assert result.searched is not None
    assert result.searched.n_agreeing == 2
    assert result.searched.log_posteriors[0] == pytest.approx(log_posterior_by_scipy(in_decreasing_order(result)))


def test_padded_sticks_change_nothing_but_rounding():
    changes = {"steps": 40, "history_every": 10, "tolerance": 0.0}
    with jax.enable_x64(True):
        padded, alone = (fits.fit(by_process(as_written=as_written, **changes)) for as_written in (False, True))
    assert batching.width_of(by_process(**changes)).components == 5
    for one, other in zip(constrain(padded.parameters), constrain(alone.parameters), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-8)
    assert padded.learned["concentration"] == pytest.approx(alone.learned["concentration"], rel=1e-8)
    np.testing.assert_allclose(padded.history.loss, alone.history.loss, rtol=1e-10)
