"""Weights as pieces broken off a stick of length one (Sethuraman 1994), unconstrained and without underflow.

Piece j is the share v_j = 1 / (1 + exp(−logit_j)) of what the pieces before it left, w_j = v_j Π_{l<j} (1 − v_l);
the last one takes the rest, so K weights have K − 1 free logits and the last logit is not used. Both directions stay
in logarithms, where neither v near 0 nor v near 1 loses a digit. The price: an error of one rounding of the largest
log weight, so that logits far smaller than the log weights keep fewer digits.

`active` says which components count: they come first, those that do not get no weight, and the last active one takes
the rest. All functions are of one mixture; `vmap` adds other axes.
"""

import jax
import jax.numpy as jnp
from jax.lax import cumlogsumexp
from jax.nn import log_sigmoid, sigmoid
from jaxtyping import Array, Bool, Float

from gmm_pipeline.model.mixture import ABSENT, AnyArray


@jax.custom_jvp
def _log_sigmoid(values: Float[AnyArray, " K"]) -> Float[Array, " K"]:
    """The function log σ(x) with the exact derivative σ(−x); JAX's own loses digits where that is small."""
    return log_sigmoid(values)


@_log_sigmoid.defjvp
def _(primals: tuple[AnyArray], tangents: tuple[AnyArray]) -> tuple[Array, Array]:
    (values,), (directions,) = primals, tangents
    return log_sigmoid(values), sigmoid(-values) * directions


def log_stick_breaking_weights(
    logits: Float[AnyArray, " K"], active: Bool[AnyArray, " K"] | None = None
) -> Float[Array, " K"]:
    """Log weights of broken sticks: log w_j = log v_j + Σ_{l<j} log(1 − v_l), which exponentiate to a sum of one.

    Args:
        logits: log(v / (1 − v)) of each stick; that of the last active component is not used.
        active: which components count, the first ones; None for all.
    """
    free, last = _free_and_last(logits, active)
    # Masked before and after: inactive components must not reach the gradient, where NaN times 0 is NaN.
    broken = jnp.where(free, logits, 0.0)
    log_shares = jnp.where(free, _log_sigmoid(broken), 0.0)
    log_left = jnp.where(free, _log_sigmoid(-broken), 0.0)
    # Shifted rather than subtracted: a sum of what is left keeps its digits however little the next piece leaves.
    log_left_before = jnp.append(jnp.zeros_like(log_left[:1]), jnp.cumsum(log_left[:-1]))
    return jnp.where(free | last, log_shares + log_left_before, ABSENT)


def stick_breaking_weights(
    logits: Float[AnyArray, " K"], active: Bool[AnyArray, " K"] | None = None
) -> Float[Array, " K"]:
    """Weights of broken sticks: w_j = v_j Π_{l<j} (1 − v_l), which sum to one; see `log_stick_breaking_weights`.

    Args:
        logits: log(v / (1 − v)) of each stick; that of the last active component is not used.
        active: which components count, the first ones; None for all.
    """
    return jnp.exp(log_stick_breaking_weights(logits, active))


def logits_of_log_weights(
    log_weights: Float[AnyArray, " K"], active: Bool[AnyArray, " K"] | None = None
) -> Float[Array, " K"]:
    """Logits of sticks with these weights: logit_j = log w_j − log Σ_{l>j} w_l; 0 where there is no stick to break.

    Args:
        log_weights: log w up to a constant, which changes nothing.
        active: which components count, the first ones; None for all.
    """
    free, last = _free_and_last(log_weights, active)
    present = jnp.where(free | last, log_weights, ABSENT)
    log_rest = jnp.append(cumlogsumexp(present, reverse=True)[1:], present[-1:])
    return jnp.where(free, present - log_rest, 0.0)


def sticks_of_weights(weights: Float[AnyArray, " K"], active: Bool[AnyArray, " K"] | None = None) -> Float[Array, " K"]:
    """Share that each takes of the remaining weight: v_j = w_j / Σ_{l≥j} w_l; 1 for the last active one, 0 beyond.

    Args:
        weights: w, positive, of any sum.
        active: which components count, the first ones; None for all.
    """
    free, last = _free_and_last(weights, active)
    logits = logits_of_log_weights(jnp.log(jnp.where(free | last, weights, 1.0)), active)
    return jnp.where(free, sigmoid(logits), jnp.where(last, 1.0, 0.0))


def _free_and_last(
    values: Float[AnyArray, " K"], active: Bool[AnyArray, " K"] | None
) -> tuple[Bool[Array, " K"], Bool[Array, " K"]]:
    """Which components have a stick of their own to break, and which one takes the rest."""
    n_components = values.shape[-1]
    positions = jnp.arange(n_components)
    n_active = n_components if active is None else jnp.sum(active)
    return positions < n_active - 1, positions == n_active - 1
