# The starts here are of one column; the same functions return those of several.
# pyright: reportAttributeAccessIssue=false

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROUNDING_32
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from gmm_pipeline.errors import InputError
from gmm_pipeline.model import inits, priors
from gmm_pipeline.model.mixture import Parameters

DATA = jnp.asarray(np.random.default_rng(0).normal(size=200) * 3 + 10, jnp.float32)
ONCE = jnp.ones_like(DATA)

STARTS = {
    "normal": inits.normal,
    "quantile": lambda *job: inits.quantile(*job, jitter=0.5, overlap=2.0),
    "kmeans": lambda *job: inits.kmeans(*job, smallest_scale=0.01),
    "scattered": lambda *job: inits.scattered(*job, narrowest=0.05),
    "various": lambda *job: inits.various(
        *job, quantile=0.375, kmeans=0.375, jitter=0.5, overlap=2.0, smallest_scale=0.01, narrowest=0.05
    ),
}
AWARE_OF_DATA = [name for name in STARTS if name != "normal"]


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
@pytest.mark.parametrize("n_components", [1, 2, 7])
def test_starts_are_finite_and_decided_by_the_key(start, n_components):
    first, again = (start(jax.random.key(3), DATA, ONCE, n_components) for _ in range(2))
    other = start(jax.random.key(4), DATA, ONCE, n_components)
    assert all(leaf.shape == (n_components,) and np.isfinite(leaf).all() for leaf in first)
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first.component_mus, other.component_mus)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 8), st.floats(0, 1), st.integers(0, 2**31))
def test_quantile_start_puts_one_loc_into_each_share_of_the_data(n_components, jitter, seed):
    mus = inits.quantile(jax.random.key(seed), DATA, ONCE, n_components, jitter=jitter, overlap=2.0).component_mus
    edges = np.quantile(DATA, np.arange(n_components + 1) / n_components, method="hazen")
    slack = 1e-3  # interpolation at the edges of the shares
    assert (np.asarray(mus) >= edges[:-1] - slack).all()
    assert (np.asarray(mus) <= edges[1:] + slack).all()


@pytest.mark.parametrize("name", AWARE_OF_DATA)
def test_data_aware_starts_follow_a_change_of_units(name):
    here = STARTS[name](jax.random.key(0), DATA, ONCE, 3)
    there = STARTS[name](jax.random.key(0), 4 * DATA, ONCE, 3)
    np.testing.assert_allclose(there.component_mus, 4 * here.component_mus, rtol=ROUNDING_32)
    np.testing.assert_allclose(
        there.log_component_scales, here.log_component_scales + np.log(4), rtol=ROUNDING_32, atol=ROUNDING_32
    )


def test_data_without_weight_are_not_there():
    outliers = jnp.concatenate([DATA, jnp.full(50, 1e4, jnp.float32)])
    counts = jnp.concatenate([ONCE, jnp.zeros(50, jnp.float32)])
    for name in AWARE_OF_DATA:
        start = STARTS[name](jax.random.key(0), outliers, counts, 4)
        assert np.max(start.component_mus) < 30, name
        assert np.max(start.log_component_scales) < np.log(10), name


def test_kmeans_seeds_far_apart_clusters_each_once():
    clusters = jnp.asarray(np.repeat([0.0, 100.0, 200.0], 30) + np.random.default_rng(1).normal(size=90), jnp.float32)
    for seed in range(10):
        start = inits.kmeans(jax.random.key(seed), clusters, jnp.ones_like(clusters), 3, smallest_scale=0.01)
        np.testing.assert_allclose(start.component_mus, [0, 100, 200], atol=5)
        np.testing.assert_allclose(jax.nn.softmax(start.log_component_weights), 1 / 3, rtol=ROUNDING_32)


def test_normal_start_is_that_of_the_notebook():
    keys = jax.random.split(jax.random.key(100), 4)
    expected = [jax.random.normal(key, (2,)) for key in keys[:3]]
    ours = inits.normal(jax.random.key(100), DATA, ONCE, 2)
    assert all((a == b).all() for a, b in zip(ours, expected, strict=True))


def test_flat_prior_is_zero_and_concentration_one_is_flat_in_the_weights():
    active = np.ones(3, bool)
    one, other = (
        Parameters(jnp.asarray(weights), jnp.zeros(3), jnp.zeros(3)) for weights in ([0.0, 1, 2], [3.0, 0, 0])
    )
    assert float(priors.flat(one, active)) == 0.0
    expected = priors.dirichlet(other, active, concentration=1.0)
    np.testing.assert_allclose(priors.dirichlet(one, active, concentration=1.0), expected, rtol=ROUNDING_32)


def test_a_concentration_that_is_not_positive_is_refused():
    with pytest.raises(InputError, match=r"prior\.concentration: expected a positive, finite number, but got 0.0"):
        priors.dirichlet(Parameters(jnp.zeros(2), jnp.zeros(2), jnp.zeros(2)), np.ones(2, bool), concentration=0.0)


@pytest.mark.parametrize(("name", "value"), [("jitter", -0.1), ("jitter", 1.5), ("overlap", 0.0), ("overlap", np.inf)])
def test_hyperparameters_of_a_start_out_of_range_are_refused(name, value):
    settings_ = {"jitter": 0.5, "overlap": 2.0, name: value}
    with pytest.raises(InputError, match=rf"init\.{name}: expected .* number.*, but got {value}"):
        inits.quantile(jax.random.key(0), DATA, ONCE, 2, **settings_)
    with pytest.raises(InputError, match=r"init\.smallest_scale"):
        inits.kmeans(jax.random.key(0), DATA, ONCE, 2, smallest_scale=-1.0)


def test_scattered_starts_have_scales_of_all_sizes_and_locs_like_the_data():
    starts = _many(lambda key: inits.scattered(key, DATA, ONCE, 5, narrowest=0.05))
    shares = (np.asarray(starts.log_component_scales) - np.log(np.std(DATA))) / np.log(0.05)
    # Kolmogorov & Smirnov: a distance of 1.95 / √n has a chance of one in a thousand.
    assert _distance(shares.ravel(), stats.uniform.cdf) < 1.95 / np.sqrt(2000)
    assert _distance(np.asarray(starts.component_mus).ravel(), _share_of_data_up_to) < 1.95 / np.sqrt(2000)


def _many(start) -> Parameters:
    drawn = [start(np.array([0, seed], np.uint32)) for seed in range(400)]
    return Parameters(*(np.stack(leaves) for leaves in zip(*drawn, strict=True)))


def _distance(values: np.ndarray, cdf) -> float:
    ordered = np.sort(values)
    return float(np.abs(cdf(ordered) - (np.arange(len(ordered)) + 0.5) / len(ordered)).max())


def _share_of_data_up_to(values: np.ndarray) -> np.ndarray:
    # Locs are data, so that both have steps, the middles of which are compared.
    ordered = np.sort(np.asarray(DATA))
    return 0.5 * (np.searchsorted(ordered, values) + np.searchsorted(ordered, values, "right")) / len(ordered)


def test_various_starts_are_of_all_three_kinds():
    starts = _many(lambda key: STARTS["various"](key, DATA, ONCE, 3))
    weights, scales = np.asarray(starts.log_component_weights), np.asarray(starts.log_component_scales)
    kmeans = np.ptp(weights, axis=1) > 0
    quantile = ~kmeans & (np.ptp(scales, axis=1) < 1e-6)
    # Four standard errors of a share.
    np.testing.assert_allclose([quantile.mean(), kmeans.mean()], [3 / 8, 3 / 8], atol=4 * np.sqrt(0.25 / 400))


def test_draws_of_centres_have_the_shares_that_they_are_given():
    uniforms = (np.arange(800) + 0.5) / 800
    drawn = inits._drawn(uniforms, np.broadcast_to([0.0, 1.0, 3.0, 0.0], (800, 4)))
    assert np.bincount(drawn, minlength=4).tolist() == [0, 200, 600, 0]


def test_weights_and_scales_of_clusters_are_those_of_the_data_nearest_to_each_centre():
    counts = np.random.default_rng(2).uniform(0.0, 3.0, len(DATA)).astype(np.float32)
    found = inits.kmeans(jax.random.key(5), DATA, counts, 4, smallest_scale=1e-6)
    values, centres = np.asarray(DATA, np.float64), np.asarray(found.component_mus, np.float64)
    nearest = np.argmin(np.abs(values[:, None] - centres), axis=1)
    for component, centre in enumerate(centres):
        here = nearest == component
        total = counts[here].sum()
        np.testing.assert_allclose(np.exp(found.log_component_weights[component]), total + 1.0, rtol=1e-5)
        variance = counts[here] @ (values[here] - centre) ** 2 / total
        np.testing.assert_allclose(np.exp(2 * found.log_component_scales[component]), variance, rtol=1e-4)
