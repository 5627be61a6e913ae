"""Held-out log-likelihood by k-fold cross-validation (Stone 1974; for mixtures Smyth 2000).

A fold is left out by giving its data a sample weight of 0: all fits have arrays of full length, and so share one
compiled program and form a batch. The price is about a k-th more computing than with shorter arrays.

Sample weights are counts, and a datum is in one fold with its whole weight: a datum of weight 5 is never in the
training and the held-out data at once. Folds have equal numbers of data, whatever their weights; data of weight 0 are
in no fold. The data are standardised as a whole: this does not affect maximum likelihood, but priors in units of the
spread use the spread of the held-out data too.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, Int, Num, PRNGKeyArray

from gmm_pipeline.errors import InputError
from gmm_pipeline.inference.diagnostics import log_joint_of_noise
from gmm_pipeline.inference.jobs import FitJob, FitResult
from gmm_pipeline.inference.objective import joint_terms
from gmm_pipeline.inference.scaling import AnyScaling, log_volumes
from gmm_pipeline.model import portable
from gmm_pipeline.model.mixture import AnyArray, Parameters, exact
from gmm_pipeline.model.multivariate import AnyParameters, MultivariateParameters, natural_of

Key = PRNGKeyArray | Num[AnyArray, "2"]


class HeldOut(NamedTuple):
    """Held-out log-likelihood, in nats, for data in the user's units and in float64."""

    log_likelihood: float
    """Σ_i c_i log p(x_i), each datum under the fit that left it out; NaN if one of the fits diverged."""
    standard_error: float
    """Standard error of that sum, over the data."""
    by_fold: Float[np.ndarray, " folds"]
    log_densities: Float[np.ndarray, " n"]
    """log p(x_i) of each datum under the fit that left it out; 0 for data of weight 0, which are in no fold."""
    n_degenerate: int
    """Fits with a degenerate component; their values count, as a user of such a fit would get them."""


def folds_of(sample_weights: Float[AnyArray, " n"], n_folds: int, key: Key) -> Int[np.ndarray, " n"]:
    """The fold of each datum, at random, folds differing by one datum at most; −1 for data of weight 0.

    Args:
        sample_weights: c, how often each datum counts.
        n_folds: from 2 to the number of observations of positive weight.
        key: draws the folds.

    Raises:
        InputError: there are too few folds, or too many.
    """
    counted = np.flatnonzero(np.asarray(sample_weights) > 0)
    if not 2 <= n_folds <= len(counted):
        raise InputError(
            "folds",
            expected=f"from 2 to {len(counted)}, the number of observations",
            came=str(n_folds),
            remedy="Use 10 folds, or as many as there are observations.",
        )
    folds = np.full(len(sample_weights), -1)
    folds[counted[np.asarray(jax.random.permutation(key, len(counted)))]] = np.arange(len(counted)) % n_folds
    return folds


def fold_jobs(job: FitJob, n_folds: int, key: Key) -> list[FitJob]:
    """The fits of a cross-validation: fit k leaves out the data of fold k.

    Jobs of the same sample weights have the same folds with the same key, so that candidates can be compared datum by
    datum. Each fit has its own key.

    Args:
        job: a candidate.
        n_folds: how many.
        key: draws the folds.

    Raises:
        InputError: there are too few folds, or too many, or all data of a training set are the same.
    """
    folds = folds_of(job.sample_weights, n_folds, key)
    training = [
        np.where(folds == fold, 0.0, job.sample_weights).astype(job.sample_weights.dtype) for fold in range(n_folds)
    ]
    if any(np.min(np.ptp(job.data[weights > 0], axis=0)) == 0.0 for weights in training):
        raise InputError(
            "folds",
            expected="at least two different values in each training set",
            came=f"a training set of {n_folds} folds in which all values are equal",
            remedy="Use more data, or more folds.",
        )
    return [
        job._replace(
            sample_weights=weights,
            key=jax.random.fold_in(job.key, fold),
            search=job.search and job.search.short,
            trained=False,
        )
        for fold, weights in enumerate(training)
    ]


@jax.jit
def _in_one_column(parameters: Parameters, data: AnyArray) -> Array:
    return logsumexp(joint_terms(parameters, data), axis=0)


def _log_densities(
    parameters: AnyParameters, data: Float[np.ndarray, "n ..."], log_noise: float | None
) -> Float[np.ndarray, " n"]:
    if isinstance(parameters, MultivariateParameters) or log_noise is not None:
        log_joint = log_joint_of_noise(parameters, log_noise)
        return portable.evaluate(*natural_of(parameters, noise=log_noise is not None), data, log_joint)[0]
    return np.asarray(_in_one_column(exact(parameters), data))


def held_out(
    results: Sequence[FitResult],
    folds: Int[np.ndarray, " n"],
    data: Float[np.ndarray, "n ..."],
    sample_weights: Float[np.ndarray, " n"],
    scaling: AnyScaling,
    log_noise: float | None = None,
) -> HeldOut:
    """Evaluate each datum under the fit that left it out.

    The standard error is that of a sum over independent data, √(N s²) with N = Σ c and s² the variance of log p(x_i)
    over the data, each counted c_i times. It ignores that the fits share data, as is usual.

    Args:
        results: of `fold_jobs`, in their order.
        folds: of `folds_of`, with the same key.
        data: in the units of the fit, float64.
        sample_weights: c, of all data.
        scaling: from the user's units to the fit's; moves the log density by −`log_volume`.
        log_noise: log density of the noise in the units of the fit; None without noise.
    """
    log_densities, volumes = np.zeros(len(data)), log_volumes(scaling, data)
    with jax.enable_x64(True):
        for fold, result in enumerate(results):
            mine = folds == fold
            if result.diverged:
                log_densities[mine] = np.nan
            else:
                log_densities[mine] = (_log_densities(result.parameters, data, log_noise) - volumes)[mine]
    counts = np.asarray(sample_weights, np.float64)
    shares = counts * log_densities
    return HeldOut(
        log_likelihood=float(np.sum(shares)),
        standard_error=_standard_error(log_densities, counts),
        by_fold=np.array([np.sum(shares[folds == fold]) for fold in range(len(results))]),
        log_densities=log_densities,
        n_degenerate=sum(bool(result.degenerate) for result in results),
    )


def standard_error_of_gap(one: HeldOut, other: HeldOut, sample_weights: Float[np.ndarray, " n"]) -> float:
    """Standard error of the difference of two held-out log-likelihoods of the same data and folds.

    Computed from the differences datum by datum; 0 for a candidate and itself.

    Args:
        one: of a candidate.
        other: of another.
        sample_weights: c, how often each datum counts.
    """
    return _standard_error(one.log_densities - other.log_densities, np.asarray(sample_weights, np.float64))


def _standard_error(values: Float[np.ndarray, " n"], counts: Float[np.ndarray, " n"]) -> float:
    total = float(counts.sum())
    mean = float(np.sum(counts * values)) / total
    # Weights need not be whole counts; below a total of two the variance is undefined.
    variance = float(np.sum(counts * (values - mean) ** 2)) / (total - 1.0) if total > 1.0 else np.nan
    return float(np.sqrt(total * variance))
