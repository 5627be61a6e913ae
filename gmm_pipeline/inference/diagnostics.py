"""How good an answer is: its log-likelihood in float64, and information criteria.

Whatever the precision of a fit, its answer is evaluated in float64: a float32 total of 5e4 nats cannot resolve 1e-3.
NumPy does it, so that only the prior is compiled; the price is about a second for the longest history of large data.
"""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float

from gmm_pipeline.inference.padding import with_components
from gmm_pipeline.inference.plugins import Plugin
from gmm_pipeline.inference.scaling import AnyData, AnyScaling, total_log_volume
from gmm_pipeline.inference.tracing import prior_density, width_for
from gmm_pipeline.model import portable, priors
from gmm_pipeline.model.large_data import MANY, in_order, slices
from gmm_pipeline.model.mixture import AnyArray
from gmm_pipeline.model.multivariate import AnyParameters, MultivariateParameters, natural_of
from gmm_pipeline.model.natural import is_finite
from gmm_pipeline.model.noise import weight_of_noise
from gmm_pipeline.model.prior_traits import Setting

ENTRIES_AT_ONCE = 64
"""Entries of a history that a prior is evaluated at side by side."""
ELEMENTS_AT_ONCE = 50_000
"""Entries × components × data whose terms stay in a core's cache."""
UNDERFLOWING = 1e-290
"""Sums of densities up to which they are summed in logarithms instead."""


class Evaluation(NamedTuple):
    """A mixture evaluated on data, in float64."""

    log_likelihood: float
    """Σ_i c_i log p(x_i), in nats, for data in the user's units."""
    responsibilities: Float[np.ndarray, "n K"]
    """Those of the noise last, [n, K + 1], if there is noise."""


def evaluate(
    parameters: AnyParameters,
    data: Float[AnyData, "n ..."],
    sample_weights: Float[np.ndarray, " n"],
    scaling: AnyScaling,
    log_noise: float | None = None,
) -> Evaluation:
    """Evaluate parameters in float64, by NumPy, so that nothing is compiled for a single evaluation.

    Args:
        parameters: in the units of the fit.
        data: in the units of the fit, float64.
        sample_weights: c, how often each datum counts.
        scaling: from the user's units to the fit's; moves the log density by −log spread.
        log_noise: log density of the noise in the units of the fit; None without noise.
    """
    noise = log_noise is not None
    mixture = natural_of(parameters, noise=noise)
    if not is_finite(mixture):
        return Evaluation(math.nan, np.full((len(data), len(mixture.locs) + noise), np.nan))
    log_joint = log_joint_of_noise(parameters, log_noise)
    log_densities, responsibilities = portable.evaluate(*mixture, np.asarray(data, np.float64), log_joint)
    counts = np.asarray(sample_weights, np.float64)
    return Evaluation(
        log_likelihood=float(np.sum(counts * log_densities)) - total_log_volume(scaling, data, counts),
        responsibilities=responsibilities.T,
    )


class Totals(NamedTuple):
    """Sums over the data at a mixture, in float64."""

    log_likelihood: float
    """In nats, for data in the user's units."""
    entropy: float
    """Of the responsibilities, in nats."""


def totals(
    parameters: AnyParameters,
    data: Float[AnyData, "n ..."],
    sample_weights: Float[np.ndarray, " n"],
    scaling: AnyScaling,
    log_noise: float | None = None,
) -> Totals:
    """What `evaluate` says of all data together; of many, block by block.

    Args:
        parameters: in the units of the fit.
        data: in the units of the fit, float64.
        sample_weights: c, how often each datum counts.
        scaling: from the user's units to the fit's.
        log_noise: log density of the noise in the units of the fit; None without noise.
    """

    def of_block(here: slice) -> Totals:
        some, counts = np.asarray(data[here], np.float64), np.asarray(sample_weights[here], np.float64)
        seen = evaluate(parameters, some, counts, scaling, log_noise)
        return Totals(seen.log_likelihood, entropy_of(seen.responsibilities, counts))

    n = len(data)
    found = in_order(of_block, slices(n) if n > MANY else [slice(0, n)])
    return Totals(*map(math.fsum, zip(*found, strict=True)))


def entropy_of(responsibilities: Float[np.ndarray, "n K"], sample_weights: Float[np.ndarray, " n"]) -> float:
    """Entropy of the responsibilities: −Σ_i c_i Σ_j r_ij log r_ij, in nats; 0 if components are well separated.

    Args:
        responsibilities: r.
        sample_weights: c, how often each datum counts.
    """
    # A responsibility of 0 adds 0, although its logarithm is infinite.
    logs = np.log(np.where(responsibilities > 0.0, responsibilities, 1.0))
    return -float(np.sum(np.sum(responsibilities * logs, axis=1) * sample_weights))


def log_joint_of_noise(parameters: AnyParameters, log_noise: float | None) -> float | None:
    """Log joint density of the noise and any datum; None without noise.

    Args:
        parameters: [K], of a fit.
        log_noise: log density of the noise, in the units of the fit.
    """
    if log_noise is None:
        return None
    return float(np.log(weight_of_noise(parameters.log_component_weights)) + log_noise)


def log_likelihoods(
    parameters: AnyParameters,
    data: Float[AnyData, "n ..."],
    sample_weights: Float[np.ndarray, " n"],
    scaling: AnyScaling,
    log_noise: float | None = None,
) -> Float[np.ndarray, " H"]:
    """Log-likelihood at each entry of a history, for data in the user's units, in nats and float64.

    Args:
        parameters: [H, K], in the units of the fit.
        data: in the units of the fit, float64.
        sample_weights: c, how often each datum counts.
        scaling: from the user's units to the fit's.
        log_noise: log density of the noise in the units of the fit; None without noise.
    """
    if isinstance(parameters, MultivariateParameters):
        entries = [jax.tree.map(lambda leaf, at=at: leaf[at], parameters) for at in range(len(parameters[0]))]
        return np.array([evaluate(entry, data, sample_weights, scaling, log_noise).log_likelihood for entry in entries])
    with np.errstate(all="ignore"):  # the likelihood of an entry that is not finite is NaN
        weights, locs, scales = (leaf[..., None] for leaf in natural_of(parameters, noise=log_noise is not None))
        of_noise = None if log_noise is None else np.log(weight_of_noise(parameters.log_component_weights)) + log_noise
        heights, rates = portable.log_height(np.log(weights), np.log(scales)), np.sqrt(0.5) / scales
        found = np.zeros(len(locs))
        for first in range(0, len(data), portable.CHUNK):
            here = slice(first, first + portable.CHUNK)
            counts = np.asarray(sample_weights[here], np.float64)
            at_once = max(1, ELEMENTS_AT_ONCE // (locs.shape[1] * len(counts)))
            for entry in range(0, len(locs), at_once):
                entries = slice(entry, entry + at_once)
                # `portable.log_joint` in place: making arrays takes longer than computing them.
                joint = np.asarray(data[here], np.float64) - locs[entries]
                joint *= rates[entries]
                joint *= joint
                np.subtract(heights[entries], joint, out=joint)
                density = np.exp(joint).sum(axis=1)
                of_all = np.log(density)
                lost = ~(density > UNDERFLOWING)
                if lost.any():
                    of_all[lost] = np.logaddexp.reduce(np.moveaxis(joint, 1, -1)[lost], axis=-1)
                if of_noise is not None:
                    of_all = np.logaddexp(of_all, of_noise[entries, None])
                found[entries] += of_all @ counts
    finite = np.all([np.isfinite(leaf).all(axis=-1) for leaf in parameters], axis=0)
    return np.where(finite, found - np.sum(sample_weights) * scaling.log_volume, np.nan)


@partial(jax.jit, static_argnames="log_prior")
def _log_priors(
    parameters: AnyParameters,
    active: AnyArray,
    learned: dict[str, AnyArray],
    floats: dict[str, AnyArray],
    setting: Setting | None,
    *,
    log_prior: Plugin,
) -> Array:
    def of_one(parameters: AnyParameters, learned: dict[str, AnyArray]) -> Array:
        return prior_density(log_prior.given({**floats, **learned}), parameters, active, setting)

    return jax.vmap(of_one)(parameters, learned)


def log_priors(
    parameters: AnyParameters,
    log_prior: Plugin,
    floats: Mapping[str, float],
    learned: Mapping[str, AnyArray],
    setting: Setting | None = None,
) -> Float[np.ndarray, " H"]:
    """Log prior density at each entry of a history, in nats and float64.

    One program serves any number of entries, and most numbers of components.

    Args:
        parameters: [H, K], in the units of the fit.
        log_prior: without those of its floats that differ between runs.
        floats: those floats.
        learned: [H] each, hyperparameters that the prior learns.
        setting: of a fit of several columns; None for one.
    """
    n_entries, n_components = parameters.log_component_weights.shape
    if log_prior.function is priors.flat:  # compiles nothing for a run without a prior
        return np.zeros(n_entries)
    width = width_for(log_prior, n_components)
    missing = -n_entries % ENTRIES_AT_ONCE

    def filled(leaf: Any) -> np.ndarray:
        exact = np.asarray(leaf, np.float64)
        return np.concatenate([exact, np.repeat(exact[-1:], missing, axis=0)])

    wide = jax.tree.map(lambda leaf: with_components(filled(leaf), width, 1), parameters)
    varied = {name: filled(values) for name, values in learned.items()}
    exact = {name: np.float64(value) for name, value in floats.items()}
    if setting is not None:
        setting = setting._replace(mean=np.float64(setting.mean), covariance=np.float64(setting.covariance))
    active, found = np.arange(width) < n_components, []
    with jax.enable_x64(True):
        for first in range(0, n_entries, ENTRIES_AT_ONCE):
            entries, of_entries = jax.tree.map(lambda leaf, at=first: leaf[at : at + ENTRIES_AT_ONCE], (wide, varied))
            found.append(np.asarray(_log_priors(entries, active, of_entries, exact, setting, log_prior=log_prior)))
    return np.concatenate([np.zeros(0), *found])[:n_entries]


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
