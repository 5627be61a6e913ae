"""The log-likelihood of several columns in one pass over the data, with its gradient.

The log joint density is linear in the features 1, x_i, x_i x_j (i ≤ j), and the sums that value and gradient need are
the features weighted by responsibilities: both are matrix products, and nothing of size n × K × d is stored. The data
are in blocks, so that what is stored stays in the cache, and along the last axis, which is long: features, maxima and
sums over few columns or components are then over whole vectors, two to three times faster than row by row. The price:
products of features cancel, so data must be centred and of unit spread; float32 then resolves components down to some
hundredths of it.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.nn import softmax
from jaxtyping import Array, Float, Int

from gmm_pipeline.inference.objective import Blocks
from gmm_pipeline.model.mixture import AnyArray
from gmm_pipeline.model.multivariate import MultivariateParameters, log_heights, whiteners

LONGEST_BLOCK = 2048
MOST_DENSITIES = 2**18
"""Runs × components × rows whose densities are computed at once: about a megabyte, which fits the cache."""


class MultivariateSums(NamedTuple):
    """The sums that one pass over the data yields."""

    log_likelihood: Float[Array, ""]
    responsibility: Float[Array, " K"]
    """R = Σ_i c_i r_ik."""
    first: Float[Array, "K d"]
    """Σ_i c_i r_ik x_i."""
    second: Float[Array, "K d d"] | Float[Array, "K d"]
    """Σ_i c_i r_ik x_i x_iᵀ, or its diagonal where axes are those of the columns."""


def in_rows(data: Float[AnyArray, "n d"], sample_weights: Float[AnyArray, " n"]) -> Blocks:
    """Lay data out in blocks of at most 2,048 rows, [blocks, d, rows].

    Args:
        data: x.
        sample_weights: c, how often each datum counts.
    """
    blocks = math.ceil(len(data) / LONGEST_BLOCK)
    length = math.ceil(len(data) / blocks)
    missing = (0, blocks * length - len(data))
    rows = jnp.pad(data, (missing, (0, 0)), mode="edge").reshape(blocks, length, data.shape[-1])
    return Blocks(jnp.swapaxes(rows, 1, 2), jnp.pad(sample_weights, missing).reshape(blocks, length))


def _pairs(n_columns: int) -> tuple[Int[Array, " p"], Int[Array, " p"]]:
    # Computed in the program: JAX cannot batch constants of such functions in branches, as in a line search.
    left, right = jnp.triu_indices(n_columns)
    return left, right


def _features(columns: Float[AnyArray, "d L"], *, diagonal: bool) -> Float[Array, "p L"]:
    if diagonal:
        return jnp.concatenate([columns, columns**2])
    left, right = _pairs(len(columns))
    return jnp.concatenate([columns, columns[left] * columns[right]])


def _coefficients(parameters: MultivariateParameters) -> tuple[Float[Array, " K"], Float[Array, "K p"]]:
    """Of the features: log w + log N(x | μ, Σ) = height − ½ μᵀ P μ + (P μ)ᵀ x − ½ xᵀ P x with P = Σ⁻¹."""
    mus = parameters.component_mus
    if parameters.axes is None:
        precisions = jnp.exp(-2.0 * parameters.log_component_scales)
        linear, quadratic = precisions * mus, -0.5 * precisions
    else:
        inverse = whiteners(parameters)
        precisions = jnp.einsum("kji,kjl->kil", inverse, inverse)
        linear = jnp.einsum("kij,kj->ki", precisions, mus)
        left, right = _pairs(mus.shape[-1])
        quadratic = precisions[:, left, right] * jnp.where(left == right, -0.5, -1.0).astype(mus.dtype)[None, :]
    heights = log_heights(parameters) - 0.5 * jnp.sum(linear * mus, axis=-1)
    return heights, jnp.concatenate([linear, quadratic], axis=-1)


def in_groups(sums: Callable[[MultivariateParameters, Blocks], Any]) -> Callable[..., Any]:
    """Sums over data for as many runs at once as the cache holds the densities of; large data of one run after another.

    XLA is slow in products of batches, and densities of hundreds of runs at once take five times as long.

    Args:
        sums: (parameters, blocks) -> the sums of a run.
    """
    of_one = jax.custom_batching.custom_vmap(sums)

    @of_one.def_vmap
    def of_many(axis_size: int, is_batched: Any, parameters: MultivariateParameters, blocks: Blocks) -> tuple[Any, Any]:
        leaves, structure = jax.tree.flatten((parameters, blocks))
        batched = jax.tree.leaves(is_batched)

        def of_run(number: Any) -> Any:
            own = [leaf[number] if is_one else leaf for leaf, is_one in zip(leaves, batched, strict=True)]
            return of_one(*jax.tree.unflatten(structure, own))

        if axis_size == 1:
            found = jax.tree.map(lambda leaf: leaf[None], of_run(0))
        elif blocks.data.shape[-3] > 1:
            found = jax.lax.map(of_run, jnp.arange(axis_size))
        else:
            axes = jax.tree.unflatten(structure, [0 if is_one else None for is_one in batched])
            at_once = _divisor(axis_size, MOST_DENSITIES // (leaves[0].shape[-1] * blocks.data.shape[-1]))

            def of_group(group: list[Any]) -> Any:
                own = iter(group)
                given = [next(own) if is_one else leaf for leaf, is_one in zip(leaves, batched, strict=True)]
                return jax.vmap(sums, axes)(*jax.tree.unflatten(structure, given))

            split = [leaf for leaf, is_one in zip(leaves, batched, strict=True) if is_one]
            if at_once == axis_size:
                found = of_group(split)
            else:
                groups = [leaf.reshape(-1, at_once, *leaf.shape[1:]) for leaf in split]
                found = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), jax.lax.map(of_group, groups))
        return found, jax.tree.map(lambda _: True, found)

    return of_one


def _divisor(number: int, most: int) -> int:
    """The largest divisor of a number that is not above another, or 1."""
    return max(one for one in range(1, number + 1) if number % one == 0 and one <= max(most, 1))


def shared_out(
    terms: Float[Array, "K L"], sample_weights: Float[AnyArray, " L"]
) -> tuple[Float[Array, ""], Float[Array, "K L"]]:
    """The log-likelihood of a block, Σ_i c_i log Σ_k e^{t_ki}, and its weights shared out to components, c_i r_ki.

    Args:
        terms: t, log joint densities.
        sample_weights: c, how often each datum counts.
    """
    highest = jnp.max(terms, axis=0, keepdims=True)
    shares = jnp.exp(terms - highest)
    density = jnp.sum(shares, axis=0)
    log_likelihood = jnp.sum(sample_weights * (highest[0] + jnp.log(density)))
    return log_likelihood, shares * (sample_weights / density)[None, :]


def summed(of_block: Callable[[Any, Blocks], tuple[Any, None]], zeros: Any, blocks: Blocks) -> Any:
    """Sums over all blocks of data; one block needs no loop.

    Args:
        of_block: (sums, block) -> (sums with those of the block, None).
        zeros: the sums of no data.
        blocks: data and how often each counts.
    """
    if blocks.data.shape[0] == 1:
        return of_block(zeros, Blocks(blocks.data[0], blocks.sample_weights[0]))[0]
    return jax.lax.scan(of_block, zeros, blocks)[0]


@in_groups
def multivariate_sums(parameters: MultivariateParameters, blocks: Blocks) -> MultivariateSums:
    """All sums over the data that value and gradient of the log-likelihood need, in one pass.

    Args:
        parameters: the mixture, K components.
        blocks: data and how often each counts.
    """
    heights, coefficients = _coefficients(parameters)
    diagonal = parameters.axes is None

    def of_block(total: Any, block: Blocks) -> tuple[Any, None]:
        features = _features(block.data, diagonal=diagonal)
        terms = coefficients @ features + heights[:, None]
        log_likelihood, counted = shared_out(terms, block.sample_weights)
        found = log_likelihood, jnp.sum(counted, axis=1), counted @ features.T
        return jax.tree.map(jnp.add, total, found), None

    zeros = jnp.zeros((), heights.dtype), jnp.zeros_like(heights), jnp.zeros_like(coefficients)
    log_likelihood, responsibility, moments = summed(of_block, zeros, blocks)
    n_columns = blocks.data.shape[-2]
    first, second = moments[:, :n_columns], moments[:, n_columns:]
    if not diagonal:
        left, right = _pairs(n_columns)
        whole = jnp.zeros((len(heights), n_columns, n_columns), heights.dtype)
        second = whole.at[:, left, right].set(second).at[:, right, left].set(second)
    return MultivariateSums(log_likelihood, responsibility, first, second)


@jax.custom_vjp
def multivariate_log_likelihood(parameters: MultivariateParameters, blocks: Blocks) -> Float[Array, ""]:
    """Log-likelihood of all data, Σ_i c_i log Σ_k w_k N(x_i | μ_k, Σ_k), in nats; its gradient costs no second pass.

    With M = Σ c r (x − μ) and W = Σ c r (x − μ)(x − μ)ᵀ: ∂ log w = R − w Σ R, ∂μ = Bᵀ B M, ∂s_i = (B W Bᵀ)_ii − R,
    ∂Q = −e^{−s} ∘ (B W).

    Args:
        parameters: the mixture, K components.
        blocks: data and how often each counts; not differentiated.
    """
    return multivariate_sums(parameters, blocks).log_likelihood


def _forward(parameters: MultivariateParameters, blocks: Blocks) -> tuple[Float[Array, ""], Any]:
    found = multivariate_sums(parameters, blocks)
    return found.log_likelihood, (parameters, blocks, found)


def _backward(kept: Any, cotangent: Float[Array, ""]) -> tuple[MultivariateParameters, Blocks]:
    parameters, blocks, found = kept
    by_parameters = gradient_of(parameters, found)
    return jax.tree.map(lambda leaf: cotangent * leaf, by_parameters), jax.tree.map(jnp.zeros_like, blocks)


def gradient_of(parameters: MultivariateParameters, found: MultivariateSums) -> MultivariateParameters:
    """The gradient of the log-likelihood from its sums, as `multivariate_log_likelihood` states it.

    Args:
        parameters: where they were taken.
        found: the sums.
    """
    mus, counts = parameters.component_mus, found.responsibility
    away = found.first - counts[:, None] * mus
    if parameters.axes is None:
        squares = found.second - 2.0 * mus * found.first + counts[:, None] * mus**2
        return gradient_by_moments(parameters, counts, away, squares)
    outer = mus[:, :, None] * found.first[:, None, :]
    scatter = found.second - outer - jnp.swapaxes(outer, 1, 2)
    scatter = scatter + counts[:, None, None] * mus[:, :, None] * mus[:, None, :]
    return gradient_by_moments(parameters, counts, away, scatter)


def gradient_by_moments(
    parameters: MultivariateParameters,
    counts: Float[Array, " K"],
    away: Float[Array, "K d"],
    scatter: Float[Array, "K d d"] | Float[Array, "K d"],
) -> MultivariateParameters:
    """The gradient of the log-likelihood from moments about the locs.

    Args:
        parameters: where they were taken.
        counts: R.
        away: M.
        scatter: W, or its diagonal where axes are those of the columns.
    """
    by_weight = counts - softmax(parameters.log_component_weights) * jnp.sum(counts)
    inverse_scales = jnp.exp(-parameters.log_component_scales)
    if parameters.axes is None:
        precisions = inverse_scales**2
        return MultivariateParameters(by_weight, precisions * away, precisions * scatter - counts[:, None], None)
    inverse = whiteners(parameters)
    seen = jnp.einsum("kij,kjl->kil", inverse, scatter)
    by_mu = jnp.einsum("kji,kj->ki", inverse, jnp.einsum("kij,kj->ki", inverse, away))
    by_scale = jnp.einsum("kil,kil->ki", seen, inverse) - counts[:, None]
    return MultivariateParameters(by_weight, by_mu, by_scale, -inverse_scales[:, :, None] * seen)


multivariate_log_likelihood.defvjp(_forward, _backward)
