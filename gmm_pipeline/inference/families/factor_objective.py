"""The log-likelihood of mixtures of factor analysers in one pass over the data, with its gradient.

The log joint density of a datum and a component is that of a diagonal covariance and ½ ‖v‖², with the scores
v = T⁻¹ Aᵀ e^{−s} (x − μ) of the q factors and T Tᵀ = I + Aᵀ A. Both are products of matrices, n × 2d and n × d by K q,
and so are the sums that the gradient needs: nothing of size d × d or n × K × d is stored. The price: where loadings are
much longer than the roots of uniquenesses, the two parts cancel.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.nn import softmax
from jaxtyping import Array, Bool, Float

from gmm_pipeline.inference.families.multivariate_objective import in_groups, shared_out, summed
from gmm_pipeline.inference.objective import Blocks
from gmm_pipeline.model.mixture import ABSENT, AnyArray
from gmm_pipeline.model.multivariate import MultivariateParameters, log_heights, root_of_scores


class FactorSums(NamedTuple):
    """The sums that one pass over the data yields."""

    log_likelihood: Float[Array, ""]
    responsibility: Float[Array, " K"]
    """R = Σ_i c_i r_ik."""
    first: Float[Array, "K d"]
    """Σ_i c_i r_ik x_i."""
    second: Float[Array, "K d"]
    """Σ_i c_i r_ik x_i², column by column."""
    scores: Float[Array, "K q"]
    """Σ_i c_i r_ik v_ik."""
    products: Float[Array, "K q d"]
    """Σ_i c_i r_ik v_ik x_iᵀ."""


def _transposed(matrices: Float[AnyArray, "K m n"]) -> Float[Array, "K n m"]:
    return jnp.swapaxes(matrices, 1, 2)


@in_groups
def factor_sums(parameters: MultivariateParameters, blocks: Blocks) -> FactorSums:
    """All sums over the data that value and gradient of the log-likelihood need, in one pass.

    Args:
        parameters: the mixture, K components of q factors.
        blocks: data and how often each counts.
    """
    mus, inverse_scales = parameters.component_mus, jnp.exp(-parameters.log_component_scales)
    n_components, n_columns = mus.shape
    n_factors = parameters.loadings.shape[-1]
    precisions = inverse_scales**2
    linear = precisions * mus
    coefficients = jnp.concatenate([linear, -0.5 * precisions], axis=-1)
    heights = log_heights(parameters) - 0.5 * jnp.sum(linear * mus, axis=-1)
    _, inverse_root = root_of_scores(parameters.loadings)
    to_scores = inverse_root @ _transposed(parameters.loadings * inverse_scales[:, :, None])
    offsets = jnp.einsum("kqj,kj->kq", to_scores, mus)
    to_scores = to_scores.reshape(-1, n_columns)

    def of_block(total: Any, block: Blocks) -> tuple[Any, None]:
        features = jnp.concatenate([block.data, block.data**2])
        scores = (to_scores @ block.data).reshape(n_components, n_factors, -1) - offsets[:, :, None]
        terms = coefficients @ features + heights[:, None] + 0.5 * jnp.sum(scores**2, axis=1)
        log_likelihood, counted = shared_out(terms, block.sample_weights)
        weighted = counted[:, None, :] * scores
        products = weighted.reshape(-1, weighted.shape[-1]) @ block.data.T
        found = log_likelihood, jnp.sum(counted, axis=1), counted @ features.T, jnp.sum(weighted, axis=-1), products
        return jax.tree.map(jnp.add, total, found), None

    zeros = (
        jnp.zeros((), heights.dtype),
        jnp.zeros_like(heights),
        jnp.zeros_like(coefficients),
        jnp.zeros_like(offsets),
        jnp.zeros_like(to_scores),
    )
    log_likelihood, responsibility, moments, scores, products = summed(of_block, zeros, blocks)
    first, second = moments[:, :n_columns], moments[:, n_columns:]
    products = products.reshape(n_components, n_factors, n_columns)
    return FactorSums(log_likelihood, responsibility, first, second, scores, products)


@jax.custom_vjp
def factor_log_likelihood(parameters: MultivariateParameters, blocks: Blocks) -> Float[Array, ""]:
    """Log-likelihood of all data, Σ_i c_i log Σ_k w_k N(x_i | μ_k, Σ_k), in nats; its gradient costs no second pass.

    With z = e^{−s} ∘ (x − μ), m = Σ c r z, W = Σ c r z zᵀ, B = A M⁻¹ and P = I − B Aᵀ, the inverse of I + A Aᵀ:
    ∂ log w = R − w Σ R, ∂μ = e^{−s} ∘ (P m), ∂s_i = (P W)_ii − R, ∂A = P W B − R B.

    Args:
        parameters: the mixture, K components of q factors.
        blocks: data and how often each counts; not differentiated.
    """
    return factor_sums(parameters, blocks).log_likelihood


def _forward(parameters: MultivariateParameters, blocks: Blocks) -> tuple[Float[Array, ""], Any]:
    found = factor_sums(parameters, blocks)
    return found.log_likelihood, (parameters, blocks, found)


def _backward(kept: Any, cotangent: Float[Array, ""]) -> tuple[MultivariateParameters, Blocks]:
    parameters, blocks, found = kept
    by_parameters = _gradient_of(parameters, found)
    return jax.tree.map(lambda leaf: cotangent * leaf, by_parameters), jax.tree.map(jnp.zeros_like, blocks)


def _gradient_of(parameters: MultivariateParameters, found: FactorSums) -> MultivariateParameters:
    mus, counts, loadings = parameters.component_mus, found.responsibility, parameters.loadings
    inverse_scales = jnp.exp(-parameters.log_component_scales)
    away = inverse_scales * (found.first - counts[:, None] * mus)
    squares = inverse_scales**2 * (found.second - 2.0 * mus * found.first + counts[:, None] * mus**2)
    root, inverse_root = root_of_scores(loadings)
    # Σ c r z vᵀ = W A T⁻ᵀ, in which T⁻¹ makes W B, and Tᵀ makes W A.
    products = found.products - found.scores[:, :, None] * mus[:, None, :]
    products = products * inverse_scales[:, None, :]
    along = _transposed(_transposed(inverse_root) @ products)
    at_loadings = _transposed(root @ products)
    slopes = regressed(inverse_root, loadings)
    return MultivariateParameters(
        counts - softmax(parameters.log_component_weights) * jnp.sum(counts),
        inverse_scales * (away - jnp.einsum("kjq,kq->kj", slopes, jnp.einsum("kiq,ki->kq", loadings, away))),
        squares - jnp.sum(slopes * at_loadings, axis=-1) - counts[:, None],
        None,
        along - slopes @ (_transposed(loadings) @ along) - counts[:, None, None] * slopes,
    )


factor_log_likelihood.defvjp(_forward, _backward)


def regressed(inverse_root: Float[AnyArray, "K q q"], loadings: Float[AnyArray, "K d q"]) -> Float[Array, "K d q"]:
    """B = A M⁻¹ with M = T Tᵀ: Bᵀ z are the expected factors of a datum.

    Args:
        inverse_root: T⁻¹.
        loadings: A.
    """
    return jnp.matmul(loadings @ _transposed(inverse_root), inverse_root)


def factor_log_likelihood_of(
    parameters: MultivariateParameters, laid_out: Blocks, *, active: Bool[AnyArray, " K"], fused: bool
) -> Float[Array, ""]:
    """Log-likelihood of the active components, in nats.

    Args:
        parameters: the mixture, K components of q factors.
        laid_out: data and how often each counts, by `in_rows`.
        active: false for components that only pad the arrays: they get no weight and no gradient.
        fused: not used: there is one form.
    """
    log_weights = jnp.where(active, parameters.log_component_weights, ABSENT)
    return factor_log_likelihood(parameters._replace(log_component_weights=log_weights), laid_out)
