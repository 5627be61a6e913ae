"""The log-likelihood of few columns in one pass that stores nothing, with its gradient; see `inference/objective.py`.

As of one column, all sums that value and gradient need are carried by one reduction, with components and columns
unrolled into the program. They are moments about the locs, so nothing cancels. In two columns it is three times as fast
as products of features (`multivariate_objective.py`); the price is a program that grows with the number of sums.
"""

import itertools
from functools import partial, reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from gmm_pipeline.inference.families.multivariate_objective import (
    gradient_by_moments,
    in_rows,
    multivariate_log_likelihood,
)
from gmm_pipeline.inference.objective import (
    LN_2,
    Blocks,
    compiler_options,
    in_blocks,
    power_of_two,
    reciprocal,
    use_fused,
)
from gmm_pipeline.model.mixture import ABSENT, AnyArray
from gmm_pipeline.model.multivariate import MultivariateParameters, log_heights, whiteners

MOST_SUMS = 128
"""Most sums of a program: of more, compiling takes seconds, and products of features are about as fast."""


class Moments(NamedTuple):
    """The sums that one pass over the data yields."""

    log_likelihood: Float[Array, ""]
    responsibility: Float[Array, " K"]
    """R = Σ_i c_i r_ik."""
    first: Float[Array, "K d"]
    """M = Σ_i c_i r_ik (x_i − μ_k)."""
    second: Float[Array, "K d d"] | Float[Array, "K d"]
    """W = Σ_i c_i r_ik (x_i − μ_k)(x_i − μ_k)ᵀ, or its diagonal where axes are those of the columns."""


def fuses(n_components: int, *, n_columns: int, by_column: bool) -> bool:
    """Whether the fused form saves more time than it takes to compile: on CPUs, of few components and columns.

    Args:
        n_components: K, as padded.
        n_columns: d.
        by_column: whether axes are those of the columns.
    """
    of_component = 1 + 2 * n_columns if by_column else (n_columns + 1) * (n_columns + 2) // 2
    return use_fused(n_components) and n_components * of_component < MOST_SUMS


def lay_out_columns(data: Float[AnyArray, "n d"], sample_weights: Float[AnyArray, " n"]) -> Blocks:
    """Lay data out in blocks, [d, blocks, rows].

    Args:
        data: x.
        sample_weights: c, how often each datum counts.
    """
    columns = jax.vmap(in_blocks, in_axes=(1, None))(data, sample_weights)
    return Blocks(columns.data, columns.sample_weights[0])


def moments(parameters: MultivariateParameters, blocks: Blocks) -> Moments:
    """All sums over the data that value and gradient of the log-likelihood need, in one pass.

    Args:
        parameters: the mixture, K components.
        blocks: data and how often each counts, by `lay_out_columns`.
    """
    mus, diagonal = parameters.component_mus, parameters.axes is None
    n_components, n_columns = mus.shape[-2:]
    dtype = mus.dtype
    # Densities as powers of two: the square of what is standardised is ½ ‖z‖² log₂ e.
    to_base_two = np.sqrt(0.5 / LN_2).astype(dtype)
    heights = log_heights(parameters) / np.asarray(LN_2, dtype)
    rows = to_base_two * (jnp.exp(-parameters.log_component_scales) if diagonal else whiteners(parameters))
    away = [[blocks.data[i] - mus[k, i] for i in range(n_columns)] for k in range(n_components)]

    def squares(k: int) -> Float[Array, "B L"]:
        if diagonal:
            along = [rows[k, i] * away[k][i] for i in range(n_columns)]
        else:
            along = [reduce(jnp.add, [rows[k, i, j] * away[k][j] for j in range(n_columns)]) for i in range(n_columns)]
        return reduce(jnp.add, [one * one for one in along])

    terms = [heights[k] - squares(k) for k in range(n_components)]
    highest = reduce(jnp.maximum, terms)
    shares = [power_of_two(term - highest) for term in terms]
    total = reduce(jnp.add, shares)
    loglikes = blocks.sample_weights * (highest * np.asarray(LN_2, dtype) + jnp.log(total))
    per_share = blocks.sample_weights * reciprocal(total)
    r = [share * per_share for share in shares]
    firsts = [[r[k] * one for one in away[k]] for k in range(n_components)]
    pairs = [(i, j) for i in range(n_columns) for j in range(i, n_columns) if i == j or not diagonal]
    seconds = [firsts[k][i] * away[k][j] for k in range(n_components) for i, j in pairs]
    operands = (loglikes, *r, *itertools.chain.from_iterable(firsts), *seconds)
    zero = jnp.zeros((), dtype)
    sums = jax.lax.reduce(operands, (zero,) * len(operands), partial(jax.tree.map, jnp.add), dimensions=(1,))
    totals = jnp.stack([jnp.sum(one) for one in sums])
    ends = np.cumsum([1, n_components, n_components * n_columns])
    log_likelihood, responsibility, first, second = jnp.split(totals, ends)
    second = second.reshape(n_components, len(pairs))
    if not diagonal:
        second = second[:, [pairs.index((min(i, j), max(i, j))) for i in range(n_columns) for j in range(n_columns)]]
        second = second.reshape(n_components, n_columns, n_columns)
    return Moments(log_likelihood[0], responsibility, first.reshape(n_components, n_columns), second)


@jax.custom_vjp
def fused_log_likelihood(parameters: MultivariateParameters, blocks: Blocks) -> Float[Array, ""]:
    """Log-likelihood of all data, in nats; its gradient is `multivariate_objective.gradient_by_moments`.

    Args:
        parameters: the mixture, K components.
        blocks: data and how often each counts, by `lay_out_columns`; not differentiated.
    """
    return moments(parameters, blocks).log_likelihood


def _forward(parameters: MultivariateParameters, blocks: Blocks) -> tuple[Float[Array, ""], tuple]:
    found = moments(parameters, blocks)
    return found.log_likelihood, (parameters, blocks, found)


def _backward(kept: tuple, cotangent: Float[Array, ""]) -> tuple[MultivariateParameters, Blocks]:
    parameters, blocks, found = kept
    by_parameters = gradient_by_moments(parameters, found.responsibility, found.first, found.second)
    return jax.tree.map(lambda leaf: cotangent * leaf, by_parameters), jax.tree.map(jnp.zeros_like, blocks)


fused_log_likelihood.defvjp(_forward, _backward)


def lay_out_rows(data: Float[AnyArray, "n d"], sample_weights: Float[AnyArray, " n"], *, fused: bool) -> Blocks:
    """Lay data out for a form of the log-likelihood.

    Args:
        data: x.
        sample_weights: c, how often each datum counts.
        fused: whether they are for the fused form.
    """
    return lay_out_columns(data, sample_weights) if fused else in_rows(data, sample_weights)


def multivariate_log_likelihood_of(
    parameters: MultivariateParameters, laid_out: Blocks, *, active: Bool[AnyArray, " K"], fused: bool
) -> Float[Array, ""]:
    """Log-likelihood of the active components, in nats, in the form that the data are laid out for.

    Args:
        parameters: the mixture, K components.
        laid_out: data and how often each counts, by `lay_out_rows`.
        active: false for components that only pad the arrays: they get no weight and no gradient.
        fused: whether it is the fused form, or products of features.
    """
    log_weights = jnp.where(active, parameters.log_component_weights, ABSENT)
    present = parameters._replace(log_component_weights=log_weights)
    return fused_log_likelihood(present, laid_out) if fused else multivariate_log_likelihood(present, laid_out)


def options_of_columns(fused: bool) -> dict[str, bool | int]:
    """XLA options with which programs of several columns compile faster and are not slower.

    Args:
        fused: whether the fused form is to be vectorised.
    """
    return compiler_options(fused) or {"xla_backend_optimization_level": 1}
