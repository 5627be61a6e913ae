import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gmm_pipeline.model import sticks

K = 50
LARGEST = 60.0
TINY = 1e-300

every_logit = st.one_of(st.floats(-LARGEST, LARGEST), st.sampled_from([-LARGEST, 0.0, LARGEST]))
many_logits = arrays(np.float64, K, elements=every_logit)
precisions = st.sampled_from([np.float32, np.float64])

break_sticks = jax.jit(sticks.log_stick_breaking_weights)
weights_of = jax.jit(sticks.stick_breaking_weights)
join_sticks = jax.jit(sticks.logits_of_log_weights)


@pytest.fixture(autouse=True)
def in_float64():
    with jax.enable_x64(True):
        yield


def log_share(logit: float) -> float:
    """log(1 / (1 + exp(−logit))), exact to the last digits at both ends."""
    return -math.log1p(math.exp(-logit)) if logit > 0 else logit - math.log1p(math.exp(logit))


def by_loop(logits: np.ndarray) -> np.ndarray:
    """Log weights one stick at a time, in float64, with sums that do not round."""
    left: list[float] = []
    log_weights = []
    for logit in logits[:-1].astype(float):
        log_weights.append(math.fsum([log_share(logit), *left]))
        left.append(log_share(-logit))
    return np.array([*log_weights, math.fsum(left)])


def rounding(log_weights, dtype) -> float:
    """A few units in the last place of the largest log weight, which is what can be kept of them."""
    return 8 * float(np.finfo(dtype).eps) * max(1.0, float(np.abs(log_weights).max()))


@given(many_logits, precisions)
def test_log_weights_equal_a_loop(logits, dtype):
    logits = logits.astype(dtype)
    ours = np.asarray(break_sticks(logits))
    assert ours.dtype == dtype
    # Relative to each weight, as small as it may be; below the least normal number there are no digits to compare.
    least = float(np.finfo(dtype).tiny)
    np.testing.assert_allclose(ours, by_loop(logits), rtol=32 * np.finfo(dtype).eps, atol=least)


@given(many_logits, precisions)
def test_weights_sum_to_one(logits, dtype):
    log_weights = break_sticks(logits.astype(dtype))
    total = np.exp(np.asarray(log_weights, np.float64)).sum()
    np.testing.assert_allclose(total, 1.0, rtol=64 * np.finfo(dtype).eps)
    weights = np.asarray(weights_of(logits.astype(dtype)))
    np.testing.assert_allclose(weights, np.exp(log_weights), rtol=1e-6, atol=np.finfo(dtype).tiny)


@given(many_logits, precisions, st.floats(-100, 100))
def test_logits_come_back_whatever_constant_the_log_weights_carry(logits, dtype, constant):
    logits = logits.astype(dtype)
    log_weights = break_sticks(logits)
    there_and_back = np.asarray(join_sticks(log_weights))
    assert there_and_back.dtype == dtype
    assert there_and_back[-1] == 0
    np.testing.assert_allclose(there_and_back[:-1], logits[:-1], rtol=0, atol=rounding(log_weights, dtype))
    shifted = log_weights + np.asarray(constant, dtype)
    moved = rounding(np.append(shifted, log_weights), dtype)
    np.testing.assert_allclose(join_sticks(shifted)[:-1], logits[:-1], rtol=0, atol=moved)


@given(arrays(np.float64, K, elements=st.floats(-LARGEST, LARGEST)), precisions)
def test_log_weights_come_back(log_weights, dtype):
    log_weights = np.asarray(jax.nn.log_softmax(log_weights)).astype(dtype)
    there_and_back = break_sticks(join_sticks(log_weights))
    # Each of the sticks before a weight adds a rounding of its own.
    atol = K * float(np.finfo(dtype).eps) * float(np.abs(log_weights).max())
    np.testing.assert_allclose(there_and_back, log_weights, rtol=0, atol=atol)


@given(arrays(np.float64, 6, elements=st.floats(0.001, 1000)))
def test_shares_are_what_each_weight_takes_of_the_rest(weights):
    shares = np.asarray(sticks.sticks_of_weights(weights))
    np.testing.assert_allclose(shares, weights / np.cumsum(weights[::-1])[::-1], rtol=1e-13)
    left = np.append(1.0, np.cumprod(1 - shares[:-1]))
    np.testing.assert_allclose(shares * left, weights / weights.sum(), rtol=1e-9)


def slope_of(function):
    return jax.jit(jax.grad(lambda values, direction: jnp.vdot(function(values), direction)))


slope_of_weights = slope_of(sticks.log_stick_breaking_weights)
slope_of_logits = slope_of(sticks.logits_of_log_weights)
slope_of_shares = slope_of(sticks.sticks_of_weights)


@given(many_logits, precisions)
def test_gradients_are_finite_and_those_of_the_formula(logits, dtype):
    logits = logits.astype(dtype)
    direction = np.linspace(-1, 2, K).astype(dtype)
    slope = slope_of_weights(logits, direction)
    # ∂log w_j/∂logit_l is 1 − v_l for j = l, −v_l for j > l, and 0 before.
    shares = np.array([math.exp(log_share(float(logit))) for logit in logits])
    after = np.append(np.cumsum(direction[::-1].astype(float))[::-1][1:], 0.0)
    expected = (1 - shares) * direction - shares * after
    np.testing.assert_allclose(slope[:-1], expected[:-1], rtol=0, atol=200 * np.finfo(dtype).eps)
    assert slope[-1] == 0
    log_weights = break_sticks(logits)
    assert np.isfinite(slope_of_logits(log_weights, direction)).all()
    assert np.isfinite(slope_of_shares(np.exp(np.maximum(log_weights, -80)), direction)).all()


def test_gradients_equal_finite_differences():
    rng = np.random.default_rng(0)
    step = 1e-6
    for function in (sticks.log_stick_breaking_weights, sticks.logits_of_log_weights):
        values, direction = rng.normal(size=5), rng.normal(size=5)
        slope = jax.grad(lambda v, function=function, direction=direction: jnp.vdot(function(v), direction))(values)
        for j, one in enumerate(np.eye(5)):
            difference = (function(values + step * one) - function(values - step * one)) @ direction / (2 * step)
            np.testing.assert_allclose(slope[j], difference, rtol=1e-6, atol=1e-8)


@given(st.integers(1, 6), arrays(np.float64, 8, elements=every_logit))
def test_components_that_do_not_count_change_nothing(n_active, logits):
    active = np.arange(8) < n_active
    padded = np.asarray(sticks.log_stick_breaking_weights(logits, active))
    np.testing.assert_allclose(padded[:n_active], by_loop(logits[:n_active]), rtol=1e-13, atol=TINY)
    assert (np.exp(padded[n_active:]) == 0).all()
    np.testing.assert_allclose(np.exp(padded).sum(), 1.0, rtol=1e-13)

    filled_up = np.where(active, padded, 3.0)  # whatever the rest of the array holds
    back = sticks.logits_of_log_weights(filled_up, active)
    np.testing.assert_allclose(
        back[: n_active - 1], logits[: n_active - 1], atol=rounding(padded[:n_active], np.float64)
    )
    assert (np.asarray(back[n_active - 1 :]) == 0).all()

    shares = np.asarray(sticks.sticks_of_weights(np.where(active, np.exp(padded) + 1e-3, 3.0), active))
    assert shares[n_active - 1] == 1
    assert (shares[n_active:] == 0).all()


@pytest.mark.parametrize("rest", [np.nan, np.inf, -np.inf, -1e9])
def test_what_does_not_count_never_reaches_a_gradient(rest):
    active = np.arange(5) < 3
    values = jnp.where(active, jnp.arange(1.0, 6.0), rest)
    for function in (sticks.log_stick_breaking_weights, sticks.logits_of_log_weights, sticks.sticks_of_weights):
        slope = jax.grad(lambda values, function=function: jnp.sum(function(values, active)[:3]))(values)
        assert np.isfinite(slope).all()
        assert (np.asarray(slope[3:]) == 0).all()


def test_many_mixtures_at_once_are_each_its_own():
    logits = np.random.default_rng(1).normal(size=(3, 7))
    active = np.arange(7) < np.array([[2], [7], [4]])
    together = jax.jit(jax.vmap(sticks.log_stick_breaking_weights))(logits, active)
    back = jax.jit(jax.vmap(sticks.logits_of_log_weights))(together, active)
    for run in range(3):
        np.testing.assert_allclose(
            together[run], sticks.log_stick_breaking_weights(logits[run], active[run]), rtol=1e-14
        )
        np.testing.assert_allclose(
            back[run], np.where(np.arange(7) < active[run].sum() - 1, logits[run], 0), rtol=1e-12
        )


def test_weights_of_fresh_sticks_decrease_on_average_as_the_process_says():
    """The mean of w_j under v ~ Beta(1, α) is α^(j−1) / (1 + α)^j (Sethuraman 1994)."""
    concentration, draws = 2.0, 20_000
    shares = np.random.default_rng(2).beta(1, concentration, size=(draws, 12))
    weights = np.asarray(jax.vmap(sticks.stick_breaking_weights)(np.log(shares) - np.log1p(-shares)))[:, :-1]
    expected = concentration ** np.arange(11) / (1 + concentration) ** np.arange(1, 12)
    errors = weights.std(axis=0) / math.sqrt(draws)
    assert (np.abs(weights.mean(axis=0) - expected) < 5 * errors).all()
