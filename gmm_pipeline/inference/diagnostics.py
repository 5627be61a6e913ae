"""How good an answer is: its log-likelihood in float64, and information criteria.

Whatever a fit ran in, its answer is judged in float64: a float32 total of 5e4 nats cannot show 1e-3. The price is one
more small program to compile, for the losses of a history.
"""

import functools
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gmm_pipeline.inference.objective import (
    compiler_options,
    fused_log_likelihood,
    in_blocks,
    log_likelihood,
    use_fused,
)
from gmm_pipeline.inference.plugins import Plugin
from gmm_pipeline.inference.scaling import Scaling
from gmm_pipeline.inference.tracing import prior_density
from gmm_pipeline.model import portable
from gmm_pipeline.model.mixture import AnyArray, Parameters, constrain

ENTRIES_AT_ONCE = 8
"""Entries of a history evaluated side by side: enough to keep all cores busy."""


class Evaluation(NamedTuple):
    """What a mixture says of data, in float64."""

    log_likelihood: float
    """Σ_i c_i log p(x_i), in nats, for data in the user's units."""
    responsibilities: Float[np.ndarray, "n K"]


def evaluate(
    parameters: Parameters,
    data: Float[np.ndarray, " n"],
    sample_weights: Float[np.ndarray, " n"],
    scaling: Scaling,
) -> Evaluation:
    """Judge parameters in float64, by NumPy: nothing is compiled for a number of components that is judged once.

    Args:
        parameters: in the units of the fit.
        data: in the units of the fit, float64.
        sample_weights: c, how often each datum counts.
        scaling: from the user's units to the fit's; moves the log density by −log spread.
    """
    mixture = constrain(parameters)
    if not np.isfinite(mixture).all():
        return Evaluation(math.nan, np.full((len(data), len(mixture.locs)), np.nan))
    log_densities, responsibilities = portable.evaluate(*mixture, np.asarray(data, np.float64))
    counts = np.asarray(sample_weights, np.float64)
    return Evaluation(
        log_likelihood=float(np.sum(counts * log_densities)) - float(np.sum(counts)) * float(np.log(scaling.spread)),
        responsibilities=responsibilities.T,
    )


def _exact(parameters: Parameters) -> Parameters:
    return Parameters(*(np.asarray(leaf, np.float64) for leaf in parameters))


def _filled(entries: Any) -> Any:
    """Entries of a history, filled up with the last to a power of two of them.

    A fit that stops early has a history of its own length, for which everything would be compiled anew.
    """

    def filled(leaf: np.ndarray) -> np.ndarray:
        missing = (1 << max(len(leaf) - 1, 0).bit_length()) - len(leaf) if len(leaf) else 0
        return np.concatenate([leaf, np.repeat(leaf[-1:], missing, axis=0)])

    return jax.tree.map(filled, entries)


def _log_likelihoods(parameters: Parameters, data: AnyArray, sample_weights: AnyArray, *, fused: bool) -> Array:
    if fused:
        of_one = partial(fused_log_likelihood, blocks=in_blocks(data, sample_weights))
    else:
        of_one = partial(log_likelihood, data=data, sample_weights=sample_weights)
    return jax.lax.map(of_one, parameters, batch_size=ENTRIES_AT_ONCE)


@functools.cache
def _compiled_log_likelihoods(fused: bool) -> Callable[..., Array]:
    return jax.jit(partial(_log_likelihoods, fused=fused), compiler_options=compiler_options(fused))


def log_likelihoods(
    parameters: Parameters,
    data: Float[np.ndarray, " n"],
    sample_weights: Float[np.ndarray, " n"],
    scaling: Scaling,
) -> Float[np.ndarray, " H"]:
    """Log-likelihood at each entry of a history, for data in the user's units, in nats and float64.

    Args:
        parameters: [H, K], in the units of the fit.
        data: in the units of the fit, float64.
        sample_weights: c, how often each datum counts.
        scaling: from the user's units to the fit's.
    """
    fused, n_entries = use_fused(parameters.component_mus.shape[-1]), len(parameters.component_mus)
    with jax.enable_x64(True):
        filled = _filled(_exact(parameters))
        found = np.asarray(_compiled_log_likelihoods(fused)(filled, data, sample_weights))[:n_entries]
    # The fused form is compiled as if there were no NaN.
    finite = np.all([np.isfinite(leaf).all(axis=-1) for leaf in parameters], axis=0)
    return np.where(finite, found - np.sum(sample_weights) * np.log(scaling.spread), np.nan)


@partial(jax.jit, static_argnames="log_prior")
def _log_priors(
    parameters: Parameters, learned: dict[str, AnyArray], floats: dict[str, AnyArray], *, log_prior: Plugin
) -> Array:
    active = jnp.ones(parameters.component_mus.shape[-1], bool)

    def of_one(parameters: Parameters, learned: dict[str, AnyArray]) -> Array:
        return prior_density(log_prior.given({**floats, **learned}), parameters, active)

    return jax.vmap(of_one)(parameters, learned)


def log_priors(
    parameters: Parameters, log_prior: Plugin, floats: Mapping[str, float], learned: Mapping[str, AnyArray]
) -> Float[np.ndarray, " H"]:
    """Log prior density at each entry of a history, in nats and float64.

    Args:
        parameters: [H, K], in the units of the fit.
        log_prior: without those of its floats that differ between runs.
        floats: these.
        learned: [H] each, hyperparameters that the prior learns.
    """
    with jax.enable_x64(True):
        exact = {name: np.float64(value) for name, value in floats.items()}
        varied = {name: np.asarray(values, np.float64) for name, values in learned.items()}
        found = _log_priors(_filled(_exact(parameters)), _filled(varied), exact, log_prior=log_prior)
        return np.asarray(found, np.float64)[: len(parameters.component_mus)]


def information_criteria(log_likelihood: float, n_parameters: int, n_data: float) -> dict[str, float]:
    """AIC = 2p − 2ℓ (Akaike 1974) and BIC = p log n − 2ℓ (Schwarz 1978), in nats; lower is better.

    Args:
        log_likelihood: ℓ, in nats.
        n_parameters: p.
        n_data: n, or the sum of the sample weights.
    """
    return {
        "aic": 2.0 * n_parameters - 2.0 * log_likelihood,
        "bic": n_parameters * float(np.log(n_data)) - 2.0 * log_likelihood,
    }
