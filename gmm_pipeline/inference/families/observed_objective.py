"""The log-likelihood of rows with missing cells: that of the values they have, whatever the others are.

It is ∫ of the density over what is missing, and by Fisher's identity its gradient is that of complete data, expected
given what is observed. So sums of expected moments (Ghahramani & Jordan 1994) take the place of the sums over complete
data, and EM, every other optimizer and the search need nothing else. It is exact where values are missing at random:
where the chance that a value is missing does not depend on that value (Little & Rubin 2002, ch. 8 and 11).

With P = Σ⁻¹ and the columns of a row split into missing m and observed o, sweeping P on m (Goodnight 1979; the sweep
operator of Little & Rubin) yields at once −P_mm⁻¹, the covariance of x_m given x_o; P_mm⁻¹ P_mo, by which its mean
depends on x_o; and the inverse of Σ_oo. The pivots multiply to |P_mm| = |Σ_oo| / |Σ|. The price: n K d³ operations and
K d² numbers for each row of a block.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from gmm_pipeline.inference.families.multivariate_objective import gradient_by_moments, shared_out
from gmm_pipeline.model.mixture import ABSENT, AnyArray
from gmm_pipeline.model.multivariate import MultivariateParameters, log_heights, whiteners
from gmm_pipeline.model.portable import HALF_LOG_TWO_PI

ELEMENTS_A_BLOCK = 2**14
"""Rows × d² of a block."""


class ObservedBlocks(NamedTuple):
    """Rows with missing cells, in blocks of equal length; what pads the last one has weight 0."""

    data: Float[AnyArray, "*B L d"]
    """0 where a value is missing."""
    present: Float[AnyArray, "*B L d"]
    """1 where there is a value, 0 where it is missing."""
    sample_weights: Float[AnyArray, "*B L"]


class Moments(NamedTuple):
    """Sums over the data, expected given what is observed."""

    log_likelihood: Float[Array, ""]
    responsibility: Float[Array, " K"]
    """R = Σ_i c_i r_ik."""
    away: Float[Array, "K d"]
    """M = Σ_i c_i r_ik E (x_i − μ_k)."""
    scatter: Float[Array, "K d d"] | Float[Array, "K d"]
    """W = Σ_i c_i r_ik E (x_i − μ_k)(x_i − μ_k)ᵀ, or its diagonal where axes are those of the columns."""


def lay_out_observed(
    data: Float[AnyArray, "n d"], sample_weights: Float[AnyArray, " n"], *, fused: bool
) -> ObservedBlocks:
    """Lay rows with missing cells out in blocks.

    Args:
        data: x, NaN where a value is missing.
        sample_weights: c, how often each datum counts.
        fused: not used.
    """
    n_rows, n_columns = data.shape
    blocks = math.ceil(n_rows * n_columns**2 / ELEMENTS_A_BLOCK)
    length = math.ceil(n_rows / blocks)
    padding = (0, blocks * length - n_rows)
    missing = jnp.isnan(data)

    def in_blocks(values: Any) -> Any:
        return jnp.pad(values, (padding, (0, 0))).reshape(blocks, length, n_columns)

    return ObservedBlocks(
        in_blocks(jnp.where(missing, 0.0, data)),
        in_blocks((~missing).astype(data.dtype)),
        jnp.pad(sample_weights, padding).reshape(blocks, length),
    )


def swept(
    whitening: Float[AnyArray, "K d d"], least: Float[AnyArray, " K"], missing: Bool[AnyArray, "L d"]
) -> tuple[Float[Array, "K d d L"], Float[Array, "K L"]]:
    """Precision matrices swept on the missing columns of each row, the last ones first, and log |P_mm|.

    A pivot is the square of a column of B, without its share in those swept before. So none is less than the square of
    the diagonal of a triangular B, or than the least eigenvalue of P, and one that rounding has made less is set right:
    a likelihood that is too high would be taken for an optimum.

    Args:
        whitening: B of P = Bᵀ B.
        least: the least e^(−2s).
        missing: which columns, for each row.
    """
    precisions = jnp.einsum("kji,kjl->kil", whitening, whitening)
    n_components, n_columns, _ = precisions.shape
    places, n_rows = jnp.arange(n_columns), len(missing)
    begin = jnp.broadcast_to(precisions[..., None], (*precisions.shape, n_rows))

    def on_column(number: Any, carried: Any) -> Any:
        matrix, log_determinant = carried
        column = n_columns - 1 - number
        row = matrix[:, column]
        pivot = jnp.maximum(row[:, column], least[:, None])
        scaled = row / pivot[:, None]
        is_row, is_column = (places == column)[None, :, None, None], (places == column)[None, None, :, None]
        after = matrix - row[:, :, None] * scaled[:, None]
        after = jnp.where(is_row, scaled[:, None], jnp.where(is_column, scaled[:, :, None], after))
        after = jnp.where(is_row & is_column, -1.0 / pivot[:, None, None], after)
        here = missing[None, :, column]
        log_pivot = jnp.log(jnp.where(here, pivot, 1.0))
        return jnp.where(here[None, None], after, matrix), log_determinant + log_pivot

    zeros = jnp.zeros((n_components, n_rows), precisions.dtype)
    return jax.lax.fori_loop(0, n_columns, on_column, (begin, zeros))


def _along_columns(
    parameters: MultivariateParameters, block: ObservedBlocks, heights: Float[Array, " K"]
) -> tuple[Float[Array, "K L"], Any]:
    scales, present = parameters.log_component_scales, block.present.T[None]
    away = (block.data.T[None] - parameters.component_mus[:, :, None]) * present
    squares = away**2 * jnp.exp(-2.0 * scales)[:, :, None]
    lacking = (1.0 - present) * (scales + HALF_LOG_TWO_PI)[:, :, None]
    terms = heights[:, None] + jnp.sum(lacking - 0.5 * squares, axis=1)

    def sums(counted: Float[Array, "K L"]) -> tuple[Array, Array]:
        expected = away**2 + (1.0 - present) * jnp.exp(2.0 * scales)[:, :, None]
        return jnp.einsum("kl,kil->ki", counted, away), jnp.einsum("kl,kil->ki", counted, expected)

    return terms, sums


def _with_covariances(
    parameters: MultivariateParameters, block: ObservedBlocks, heights: Float[Array, " K"]
) -> tuple[Float[Array, "K L"], Any]:
    whitening, present = whiteners(parameters), block.present.T[None]
    missing = block.present.T == 0.0
    least = jnp.exp(-2.0 * jnp.max(parameters.log_component_scales, axis=-1))
    matrix, log_determinant = swept(whitening, least, missing.T)
    away = (block.data.T[None] - parameters.component_mus[:, :, None]) * present
    expected = jnp.where(missing[None], -jnp.einsum("kijl,kjl->kil", matrix, away), away)
    # As a sum of squares it cannot be negative, nor too small: what is expected is where it is least.
    squares = jnp.sum(jnp.einsum("kij,kjl->kil", whitening, expected) ** 2, axis=1)
    lacking = jnp.sum(1.0 - present, axis=1) * HALF_LOG_TWO_PI - 0.5 * log_determinant
    terms = heights[:, None] + lacking - 0.5 * squares

    def sums(counted: Float[Array, "K L"]) -> tuple[Array, Array]:
        within = jnp.where(missing[None, :, None] & missing[None, None], -matrix, 0.0)
        scatter = jnp.einsum("kil,kjl->kij", counted[:, None] * expected, expected)
        return jnp.einsum("kl,kil->ki", counted, expected), scatter + jnp.einsum("kl,kijl->kij", counted, within)

    return terms, sums


def observed_moments(parameters: MultivariateParameters, blocks: ObservedBlocks) -> Moments:
    """All sums over the data that value and gradient of the log-likelihood need, in one pass.

    Args:
        parameters: the mixture, K components.
        blocks: data and how often each counts.
    """
    heights = log_heights(parameters)
    form = _along_columns if parameters.axes is None else _with_covariances

    def of_block(total: Moments, block: ObservedBlocks) -> tuple[Moments, None]:
        terms, sums = form(parameters, block, heights)
        log_likelihood, counted = shared_out(terms, block.sample_weights)
        found = Moments(log_likelihood, jnp.sum(counted, axis=1), *sums(counted))
        return jax.tree.map(jnp.add, total, found), None

    scatter = parameters.log_component_scales if parameters.axes is None else parameters.axes
    zeros = Moments(
        jnp.zeros((), heights.dtype),
        jnp.zeros_like(heights),
        jnp.zeros_like(parameters.component_mus),
        jnp.zeros_like(scatter),
    )
    return jax.lax.scan(of_block, zeros, blocks)[0]


@jax.custom_vjp
def observed_log_likelihood(parameters: MultivariateParameters, blocks: ObservedBlocks) -> Float[Array, ""]:
    """Log-likelihood of what is observed, Σ_i c_i log Σ_k w_k N(x_io | μ_ko, Σ_koo), in nats.

    Its gradient is that of complete data (`multivariate_log_likelihood`), from expected moments.

    Args:
        parameters: the mixture, K components.
        blocks: data and how often each counts; not differentiated.
    """
    return observed_moments(parameters, blocks).log_likelihood


def _forward(parameters: MultivariateParameters, blocks: ObservedBlocks) -> tuple[Float[Array, ""], Any]:
    found = observed_moments(parameters, blocks)
    return found.log_likelihood, (parameters, blocks, found)


def _backward(kept: Any, cotangent: Float[Array, ""]) -> tuple[MultivariateParameters, ObservedBlocks]:
    parameters, blocks, found = kept
    by_parameters = gradient_by_moments(parameters, found.responsibility, found.away, found.scatter)
    return jax.tree.map(lambda leaf: cotangent * leaf, by_parameters), jax.tree.map(jnp.zeros_like, blocks)


observed_log_likelihood.defvjp(_forward, _backward)


def observed_log_likelihood_of(
    parameters: MultivariateParameters, laid_out: ObservedBlocks, *, active: Bool[AnyArray, " K"], fused: bool
) -> Float[Array, ""]:
    """Log-likelihood of the active components, in nats.

    Args:
        parameters: the mixture, K components.
        laid_out: data and how often each counts, by `lay_out_observed`.
        active: false for components that only pad the arrays: they get no weight and no gradient.
        fused: not used: there is one form.
    """
    log_weights = jnp.where(active, parameters.log_component_weights, ABSENT)
    return observed_log_likelihood(parameters._replace(log_component_weights=log_weights), laid_out)
