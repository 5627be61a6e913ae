"""Normalised log densities of one number, in nats: the building blocks of priors on locs, scales and sticks.

Positive quantities are given as logarithms, so that the smallest scale that float32 holds is no special case. A
function's name or docstring says which measure its density refers to: densities of σ and of log σ differ by log σ, and
so do their modes.
"""

import jax.numpy as jnp
from jax.nn import log_sigmoid
from jax.scipy.special import gammaln
from jaxtyping import Array, Float

from gmm_pipeline.model import portable
from gmm_pipeline.model.mixture import Scalar

LOG_TWO = 0.6931471805599453


def log_normal_density(value: Scalar, *, loc: Scalar, scale: Scalar) -> Float[Array, ""]:
    """Normal: −½((x − μ)/σ)² − log σ − ½ log 2π.

    Args:
        value: x.
        loc: μ, in the unit of x.
        scale: σ, positive, in the unit of x.
    """
    return portable.log_normal((value - loc) / scale, jnp.log(scale))


def log_half_normal_density(log_value: Scalar, *, scale: Scalar) -> Float[Array, ""]:
    """Half-normal of x > 0, given as log x: −½(x/s)² − log s − ½ log 2π + log 2.

    Args:
        log_value: log x.
        scale: s, positive, in the unit of x.
    """
    return log_normal_density(jnp.exp(log_value), loc=0.0, scale=scale) + LOG_TWO


def log_inverse_gamma_density(log_value: Scalar, *, shape: Scalar, scale: Scalar) -> Float[Array, ""]:
    """Inverse-gamma of x > 0, given as log x: a log b − log Γ(a) − (a + 1) log x − b/x.

    Args:
        log_value: log x.
        shape: a, positive, without a unit.
        scale: b, positive, in the unit of x.
    """
    of_value = jnp.multiply(shape + 1.0, log_value) + jnp.multiply(scale, jnp.exp(-log_value))
    return jnp.multiply(shape, jnp.log(scale)) - gammaln(shape) - of_value


def log_gamma_density(log_value: Scalar, *, shape: Scalar, rate: Scalar) -> Float[Array, ""]:
    """Gamma of x > 0, given as log x: a log b − log Γ(a) + (a − 1) log x − b x.

    Args:
        log_value: log x.
        shape: a, positive, without a unit.
        rate: b, positive, per unit of x.
    """
    of_value = jnp.multiply(shape - 1.0, log_value) - jnp.multiply(rate, jnp.exp(log_value))
    return jnp.multiply(shape, jnp.log(rate)) - gammaln(shape) + of_value


def log_stick_density(logit: Scalar, *, concentration: Scalar) -> Float[Array, ""]:
    """Beta(1, α) of a share v, as a density of its logit: log α + log v + α log(1 − v).

    It is the density of v times dv/d logit = v (1 − v). That of v alone has its mode at 0 or 1, an end of the range
    that no optimizer reaches; this one has its only mode at v = 1 / (1 + α).

    Args:
        logit: log(v / (1 − v)).
        concentration: α, positive.
    """
    return jnp.log(concentration) + log_sigmoid(logit) + concentration * log_sigmoid(-logit)
