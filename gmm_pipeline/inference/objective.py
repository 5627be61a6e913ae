"""What a fit minimises, in fast forms; tests hold value and gradient to `model/mixture.py`.

`log_likelihood` is the plain form: terms laid out as [K, n], which keeps the long axis contiguous, and autodiff.
`fused_log_likelihood` is what fits use on CPUs. One pass over the data carries all 3K + 1 sums that value and gradient
need (the log-likelihood; Σ r, Σ r z and Σ r z² of each component), so that nothing of size K × n is ever stored. The
data are in blocks of at most 2,048, which also keeps float32 sums accurate to a few units in the last place: without
blocks, a million observations lose a hundred nats. The price: the formula is written twice, with its own powers and
reciprocals, K is unrolled into the program, the reduction is vectorised only with the options of `compiler_options`,
and there is no second derivative.
"""

import math
from functools import partial, reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import log_softmax, softmax
from jax.scipy.special import logsumexp
from jaxtyping import Array, Bool, Float

from gmm_pipeline.model import portable
from gmm_pipeline.model.mixture import ABSENT, AnyArray, Parameters

LONGEST_BLOCK = 2048
MOST_UNROLLED = 32
"""Most components for which the unrolled program saves more time than it takes to compile."""

LN_2 = math.log(2.0)


def joint_terms(parameters: Parameters, data: Float[AnyArray, " n"]) -> Float[Array, "K n"]:
    """Log joint density of every component and datum: log w_j + log N(x_i | μ_j, σ_j), in nats.

    Args:
        parameters: the mixture, K components.
        data: x.
    """
    inverse_scales = jnp.exp(-parameters.log_component_scales)
    standardised = (data[None, :] - parameters.component_mus[:, None]) * inverse_scales[:, None]
    heights = portable.log_height(log_softmax(parameters.log_component_weights), parameters.log_component_scales)
    return portable.log_joint(heights[:, None], standardised)


def log_likelihood(
    parameters: Parameters, data: Float[AnyArray, " n"], sample_weights: Float[AnyArray, " n"]
) -> Float[Array, ""]:
    """Log-likelihood of all data: Σ_i c_i log Σ_j w_j N(x_i | μ_j, σ_j), in nats; equal to `mixture_loglike`.

    Args:
        parameters: the mixture, K components.
        data: x.
        sample_weights: c, how often each datum counts.
    """
    return jnp.sum(sample_weights * logsumexp(joint_terms(parameters, data), axis=0))


class Blocks(NamedTuple):
    """Data in rows of equal length; the last row is padded with data of weight 0."""

    data: Float[AnyArray, "*B L"]
    sample_weights: Float[AnyArray, "*B L"]


class Sums(NamedTuple):
    """The sums that one pass over the data yields."""

    log_likelihood: Float[Array, ""]
    responsibility: Float[Array, " K"]
    """Σ_i c_i r_ij."""
    first_moment: Float[Array, " K"]
    """Σ_i c_i r_ij z_ij with z = (x − μ) / σ."""
    second_moment: Float[Array, " K"]
    """Σ_i c_i r_ij z_ij²."""


def in_blocks(data: Float[AnyArray, " n"], sample_weights: Float[AnyArray, " n"]) -> Blocks:
    """Lay data out in balanced rows of at most 2,048.

    Args:
        data: x.
        sample_weights: c, how often each datum counts.
    """
    rows = math.ceil(len(data) / LONGEST_BLOCK)
    length = math.ceil(len(data) / rows)
    padding = (0, rows * length - len(data))
    padded = jnp.pad(data, padding, mode="edge"), jnp.pad(sample_weights, padding)
    return Blocks(*(values.reshape(rows, length) for values in padded))


def sums(parameters: Parameters, blocks: Blocks) -> Sums:
    """All sums over the data that value and gradient of the log-likelihood need, in one pass.

    Args:
        parameters: the mixture, K components.
        blocks: data and how often each counts.
    """
    n_components = parameters.component_mus.shape[-1]
    dtype = blocks.data.dtype
    # Densities as powers of two: y² is ½ z² log₂ e.
    y_of_z = np.sqrt(0.5 / LN_2).astype(dtype)
    inverse_scales = y_of_z * jnp.exp(-parameters.log_component_scales)
    heights = portable.log_height(log_softmax(parameters.log_component_weights), parameters.log_component_scales)
    log2_heights = heights / np.asarray(LN_2, dtype)
    y = [(blocks.data - parameters.component_mus[k]) * inverse_scales[k] for k in range(n_components)]
    terms = [log2_heights[k] - y[k] * y[k] for k in range(n_components)]
    highest = reduce(jnp.maximum, terms)
    shares = [power_of_two(term - highest) for term in terms]
    total = reduce(jnp.add, shares)
    loglikes = blocks.sample_weights * (highest * np.asarray(LN_2, dtype) + jnp.log(total))
    per_share = blocks.sample_weights * reciprocal(total)
    r = [share * per_share for share in shares]
    ry = [r[k] * y[k] for k in range(n_components)]
    ryy = [ry[k] * y[k] for k in range(n_components)]
    operands = (loglikes, *r, *ry, *ryy)
    zero = jnp.zeros((), dtype)
    rows = jax.lax.reduce(operands, (zero,) * len(operands), partial(jax.tree.map, jnp.add), dimensions=(1,))
    totals = jnp.stack([jnp.sum(row) for row in rows])
    responsibility, first, second = jnp.split(totals[1:], 3)
    return Sums(totals[0], responsibility, first / y_of_z, second / y_of_z**2)


class _Binary(NamedTuple):
    """A type of floats (IEEE 754), and what the functions below need of it."""

    integers: type
    """Of the same size."""
    mantissa_bits: int
    exponent_bias: int
    terms: int
    """Of the series of 2^f for |f| ≤ ½, until they are below the rounding."""


BINARY = {
    "float32": _Binary(np.int32, mantissa_bits=23, exponent_bias=127, terms=8),
    "float64": _Binary(np.int64, mantissa_bits=52, exponent_bias=1023, terms=14),
}
SERIES = [LN_2**power / math.factorial(power) for power in range(14)]
RECIPROCAL_GUESS = 0x7EF311C7
"""Twice the bias in the exponent of float32, less what makes the guess best; three steps of Newton's method are exact
then."""


def power_of_two(exponents: Float[AnyArray, "*shape"]) -> Float[Array, "*shape"]:
    """2^t for t ≤ 0, and 0 below the least exponent, by operations that XLA considers cheap.

    It fuses a cheap operation into the loop that uses its result several times, and stores the result of `exp`: K
    arrays of the size of the data, which take three times as long to write and read as to compute.

    Args:
        exponents: t.
    """
    binary = BINARY[str(exponents.dtype)]
    bounded = jnp.maximum(exponents, -float(binary.exponent_bias))
    whole = jax.lax.round(bounded, jax.lax.RoundingMethod.TO_NEAREST_EVEN)
    fraction = bounded - whole
    value = jnp.full_like(fraction, SERIES[binary.terms - 1])
    for coefficient in reversed(SERIES[: binary.terms - 1]):
        value = value * fraction + coefficient
    # Added to this large number, an integer becomes the last bits of the sum.
    last_bits = jax.lax.bitcast_convert_type(whole + 1.5 * 2.0**binary.mantissa_bits, binary.integers)
    shifted = (last_bits + binary.exponent_bias) << binary.mantissa_bits
    return value * jax.lax.bitcast_convert_type(shifted, exponents.dtype)


def reciprocal(values: Float[AnyArray, "*shape"]) -> Float[Array, "*shape"]:
    """1/x for x ≥ 1; in float32 by Newton's method from a guess that negates the exponent.

    Args:
        values: x.
    """
    if values.dtype != jnp.float32:
        return jnp.reciprocal(values)
    guess = np.int32(RECIPROCAL_GUESS) - jax.lax.bitcast_convert_type(values, jnp.int32)
    inverse = jax.lax.bitcast_convert_type(guess, jnp.float32)
    for _ in range(3):
        inverse = inverse * (2.0 - values * inverse)
    return inverse


@jax.custom_vjp
def fused_log_likelihood(parameters: Parameters, blocks: Blocks) -> Float[Array, ""]:
    """Log-likelihood of all data, in nats; equal to `log_likelihood`, with a gradient that costs no second pass.

    ∂ℓ/∂log w_j = Σ c r_j − w_j Σ c,  ∂ℓ/∂μ_j = Σ c r_j z_j / σ_j,  ∂ℓ/∂log σ_j = Σ c r_j (z_j² − 1).

    Args:
        parameters: the mixture, K components.
        blocks: data and how often each counts; not differentiated.
    """
    return sums(parameters, blocks).log_likelihood


def _forward(parameters: Parameters, blocks: Blocks) -> tuple[Float[Array, ""], tuple[Parameters, Blocks, Sums]]:
    found = sums(parameters, blocks)
    return found.log_likelihood, (parameters, blocks, found)


def _backward(kept: tuple[Parameters, Blocks, Sums], cotangent: Float[Array, ""]) -> tuple[Parameters, Blocks]:
    parameters, blocks, found = kept
    weights = softmax(parameters.log_component_weights)
    gradient = Parameters(
        found.responsibility - weights * jnp.sum(found.responsibility),
        found.first_moment * jnp.exp(-parameters.log_component_scales),
        found.second_moment - found.responsibility,
    )
    return jax.tree.map(lambda leaf: cotangent * leaf, gradient), jax.tree.map(jnp.zeros_like, blocks)


fused_log_likelihood.defvjp(_forward, _backward)


def use_fused(n_components: int) -> bool:
    """Whether the fused form is faster: on a CPU, and with few enough components to unroll."""
    return jax.default_backend() == "cpu" and n_components <= MOST_UNROLLED


def compiler_options(fused: bool) -> dict[str, bool | int] | None:
    """XLA options with which the fused form is vectorised and compiles quickly; None for the plain form."""
    if not fused:
        return None
    return {
        "xla_cpu_enable_fast_math": True,
        "xla_cpu_prefer_vector_width": 512,
        "xla_backend_optimization_level": 1,
    }


def lay_out(data: Float[AnyArray, " n"], sample_weights: Float[AnyArray, " n"], *, fused: bool) -> Blocks:
    """Lay data out for a form of the log-likelihood: in blocks for the fused form, unchanged for the plain one.

    Args:
        data: [n], x.
        sample_weights: [n], c, how often each datum counts.
        fused: whether they are for the fused form.
    """
    return in_blocks(data, sample_weights) if fused else Blocks(data, sample_weights)


def log_likelihood_of(
    parameters: Parameters, laid_out: Blocks, *, active: Bool[AnyArray, " K"], fused: bool
) -> Float[Array, ""]:
    """Log-likelihood of the active components, in nats, in the form that the data are laid out for.

    Args:
        parameters: the mixture, K components.
        laid_out: data and how often each counts, by `lay_out`.
        active: false for components that only pad the arrays: they get no weight and no gradient.
        fused: whether it is the fused form or the plain one.
    """
    log_weights = jnp.where(active, parameters.log_component_weights, ABSENT)
    present = parameters._replace(log_component_weights=log_weights)
    return fused_log_likelihood(present, laid_out) if fused else log_likelihood(present, *laid_out)
