"""Sums over the data of one column at a mixture, from which come its log-likelihood, entropy and information.

The likelihood's information is in closed form (Louis 1982): the information that the data would have if each came with
its component, less the variance of the score that not knowing it adds. Both are sums over the data of products of r_j,
r_j z_j and r_j z_j², which one pass in blocks collects. Compared with autodiff, nothing is compiled, which saves 0.7 s
per shape, and a million observations take a few megabytes instead of hundreds. The price: the formula is written out,
and tests hold it to autodiff.
"""

import math
from collections.abc import Callable
from functools import partial, reduce
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from gmm_pipeline.inference.batching import default_workers
from gmm_pipeline.inference.calls import in_threads
from gmm_pipeline.inference.scaling import AnyData
from gmm_pipeline.model import portable
from gmm_pipeline.model.mixture import AnyArray, Mixture, Parameters, constrain
from gmm_pipeline.model.noise import share_of_components, weight_of_noise

DATA_AT_ONCE = 8192
"""A block whose terms stay in a core's cache: some hundred bytes a datum and component."""
DATA_OF_A_THREAD = 2**18
"""Data that one thread sums, a multiple of the block."""
LEAST_TERM = -750.0
"""Logarithm of less than the least number."""


class LikelihoodSums(NamedTuple):
    """Sums over the data at a mixture; with noise, it is the last of K components."""

    moments: Float[np.ndarray, "5 K"]
    """Σ c r_j z_j^m for m from 0."""
    products: Float[np.ndarray, "P P"]
    """Σ c f fᵀ."""
    log_likelihood: float
    """In nats, in the units of the data."""
    entropy: float
    """Of the responsibilities, in nats."""


def information(
    parameters: Parameters,
    data: Float[AnyData, " n"],
    sample_weights: Float[np.ndarray, " n"],
    noise: float | None = None,
) -> tuple[Float[np.ndarray, "P P"], Float[np.ndarray, "P P"]]:
    """`information_of` the sums over data.

    Args:
        parameters: the mixture, float64.
        data: x.
        sample_weights: c, how often each datum counts.
        noise: log density of the noise; None without noise.
    """
    sums = likelihood_sums(parameters, data, sample_weights, noise)
    return information_of(sums, parameters, sample_weights, noise)


def likelihood_sums(
    parameters: Parameters,
    data: Float[AnyArray, " n"] | AnyData,
    sample_weights: Float[np.ndarray, " n"],
    noise: float | None = None,
    seen: Callable[[int], None] | None = None,
) -> LikelihoodSums:
    """All sums over the data that an answer needs, in one pass.

    Args:
        parameters: the mixture, float64.
        data: x.
        sample_weights: c, how often each datum counts.
        noise: log density of the noise; None without noise.
        seen: called with the number of data seen, now and then; None for no progress.
    """
    in_parts = partial(_sums, parameters, data, sample_weights, noise, len(weighed(parameters, noise).weights))
    parts = []
    for part in in_threads(in_parts, max(1, -(-len(data) // DATA_OF_A_THREAD)), default_workers()):
        parts.append(part)
        if seen is not None:
            seen(min(len(parts) * DATA_OF_A_THREAD, len(data)))
    moments, products, log_likelihoods, entropies = zip(*parts, strict=True)
    log_weights = np.append(parameters.log_component_weights, [0.0] * (noise is not None))
    log_total = float(np.logaddexp.reduce(log_weights))
    log_likelihood = math.fsum(log_likelihoods) - float(np.sum(sample_weights, dtype=np.float64)) * log_total
    return LikelihoodSums(reduce(np.add, moments), reduce(np.add, products), log_likelihood, math.fsum(entropies))


def information_of(
    sums: LikelihoodSums,
    parameters: Parameters,
    sample_weights: Float[np.ndarray, " n"],
    noise: float | None = None,
) -> tuple[Float[np.ndarray, "P P"], Float[np.ndarray, "P P"]]:
    """Complete and missing information of the log-likelihood; minus its Hessian is their difference (Louis 1982).

    With f_j = (r_j, r_j z_j, r_j z_j²), z_j = (x − μ_j)/σ_j, the complete-data score is linear in the indicator of the
    component times (1, z, z²). So the complete information and the second moment of that score need only Σ c r_j z_j^m
    up to m = 4, and the square of its expectation needs Σ c f fᵀ.

    Args:
        sums: over the data.
        parameters: the mixture, float64.
        sample_weights: c, how often each datum counts.
        noise: log density of the noise, which is then a last component, with z = 0; None without noise.

    Returns:
        In the order of `Parameters`, P = 3 K; singular along a constant added to all log weights.
    """
    weights = weighed(parameters, noise).weights
    moments, products, *_ = sums
    inverse_scales, scores = _scores(parameters, noise)
    zero = np.zeros((len(weights), len(weights)))
    squared_scores = np.block([[np.diag(moments[a + b]) for b in range(3)] for a in range(3)])
    mixed = np.diag(2.0 * moments[1] * inverse_scales)
    complete = np.block(
        [
            [np.sum(sample_weights, dtype=np.float64) * (np.diag(weights) - np.outer(weights, weights)), zero, zero],
            [zero, np.diag(moments[0] * inverse_scales**2), mixed],
            [zero, mixed, np.diag(2.0 * moments[2])],
        ]
    )
    return complete, scores @ (squared_scores - products) @ scores.T


def squared_gradients(
    parameters: Parameters,
    data: Float[AnyArray, " n"] | AnyData,
    sample_weights: Float[np.ndarray, " n"],
    noise: float | None = None,
) -> Float[np.ndarray, "P P"]:
    """Σ c² s sᵀ of the gradients s of the log density of each datum, as far as the sum of all weights stays one.

    Args:
        parameters: the mixture, float64.
        data: x.
        sample_weights: c.
        noise: log density of the noise, as for `information`.

    Returns:
        In the order of `Parameters`.
    """
    products = likelihood_sums(parameters, data, sample_weights**2, noise).products
    _, scores = _scores(parameters, noise)
    return scores @ products @ scores.T


def weighed(parameters: Parameters, noise: float | None) -> Mixture:
    """The mixture, with the noise as a last component, of loc 0 and scale 1, neither of which counts.

    Args:
        parameters: of the components.
        noise: log density of the noise; None without noise.
    """
    found = constrain(parameters)
    if noise is None:
        return found
    share = share_of_components(parameters.log_component_weights)
    found = found._replace(weights=found.weights * share)
    last = (weight_of_noise(parameters.log_component_weights), 0.0, 1.0)
    return Mixture(*(np.append(leaf, one) for leaf, one in zip(found, last, strict=True)))


def _scores(parameters: Parameters, noise: float | None) -> tuple[np.ndarray, np.ndarray]:
    """1/σ, and the gradient of a complete datum as a matrix on (1, z, z²) of its component.

    ∂/∂log w_j of a complete datum is 1 less a constant, ∂/∂μ_j is z/σ_j, ∂/∂log σ_j is z² − 1.
    """
    inverse_scales = np.exp(-np.append(parameters.log_component_scales, np.zeros(int(noise is not None))))
    zero, one = np.zeros((len(inverse_scales),) * 2), np.eye(len(inverse_scales))
    return inverse_scales, np.block([[one, zero, zero], [zero, np.diag(inverse_scales), zero], [-one, zero, one]])


def _sums(
    parameters: Parameters,
    data: Float[AnyArray, " n"] | AnyData,
    sample_weights: Float[np.ndarray, " n"],
    noise: float | None,
    n_components: int,
    part: int,
) -> LikelihoodSums:
    """The sums over a part of the data."""
    moments, products = np.zeros((5, n_components)), np.zeros((3 * n_components, 3 * n_components))
    log_likelihood, entropy = 0.0, 0.0
    begin = part * DATA_OF_A_THREAD
    for first in range(begin, min(begin + DATA_OF_A_THREAD, len(data)), DATA_AT_ONCE):
        block = slice(first, first + DATA_AT_ONCE)
        counts = np.ascontiguousarray(sample_weights[block], np.float64)
        z, r, log_densities, surprises = _standardised(parameters, np.asarray(data[block], np.float64), noise)
        log_likelihood += float(np.sum(log_densities * counts))
        entropy += float(np.sum(surprises * counts))
        squares = z * z
        features = np.stack([r, r * z, r * squares])
        moments[:3] += features @ counts
        moments[3] += np.einsum("kn,kn,n->k", features[2], z, counts)
        moments[4] += np.einsum("kn,kn,n->k", features[2], squares, counts)
        features = features.reshape(3 * n_components, -1)
        products += (features * counts) @ features.T
    return LikelihoodSums(moments, products, log_likelihood, entropy)


def _standardised(
    parameters: Parameters, data: Float[np.ndarray, " n"], noise: float | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The z and r of every component and datum, [K, n]; log densities and entropies of the data, [n]."""
    log_weights, mus, log_scales = (np.asarray(leaf)[:, None] for leaf in parameters)
    z = (data - mus) * np.exp(-log_scales)
    terms = portable.log_joint(portable.log_height(log_weights, log_scales), z)
    if noise is not None:  # log odds are against its weight
        z, terms = np.vstack([z, np.zeros_like(z[:1])]), np.vstack([terms, np.full_like(terms[:1], noise)])
    highest = terms.max(axis=0)
    terms = terms - highest
    shares = np.exp(terms)
    total = shares.sum(axis=0)
    r, log_total = shares / total, np.log(total)
    # −Σ r log r with log r = term − log total, bounded where r is 0.
    return z, r, highest + log_total, log_total - np.einsum("kn,kn->n", r, np.maximum(terms, LEAST_TERM))
