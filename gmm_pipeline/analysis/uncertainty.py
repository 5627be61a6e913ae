"""Standard errors and intervals of a fit, from the curvature of its log posterior, in float64.

The covariance of the estimates is the inverse of the observed information, minus the Hessian of log-likelihood plus log
prior (Efron & Hinkley 1978). The likelihood's part is in closed form (Louis 1982): the information that the data would
have if each came with its component, less the variance of the score that not knowing it adds. Both are sums over the
data of products of r_j, r_j z_j and r_j z_j², which one pass in blocks collects. Compared with autodiff, nothing is
compiled, which saves 0.7 s per shape, and a million observations take a few megabytes instead of hundreds. The price:
the formula is written out, and tests hold it to autodiff. The prior's part, for any plug-in, is autodiff of K numbers.

Counts are frequencies: a datum that counts twice is worth two data, and errors shrink accordingly. Where sample weights
say how much a datum is to be trusted, the variance of the weighted gradient is not the information, and the covariance
is the sandwich I⁻¹ (Σ c² s sᵀ) I⁻¹ with the gradients s of the data (Huber 1967; White 1982; for weights Binder 1983).
"""

import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial, reduce
from statistics import NormalDist
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float

from gmm_pipeline.inference.batching import default_workers
from gmm_pipeline.inference.calls import in_threads
from gmm_pipeline.inference.jobs import FitJob, FitResult, split
from gmm_pipeline.inference.plugins import Plugin
from gmm_pipeline.inference.scaling import AnyData, Scaling
from gmm_pipeline.inference.tracing import prior_density, width_for
from gmm_pipeline.model import portable
from gmm_pipeline.model.mixture import AnyArray, Mixture, Parameters, constrain, exact
from gmm_pipeline.model.noise import share_of_components, weight_of_noise
from gmm_pipeline.model.prior_traits import traits

DATA_AT_ONCE = 8192
"""A block whose terms stay in a core's cache: some hundred bytes a datum and component."""
DATA_OF_A_THREAD = 2**18
"""Data that one thread sums, a multiple of the block."""
LEAST_TERM = -750.0
"""Logarithm of less than the least number."""
LEAST_SHARE = 1e-11
"""Share of the complete-data information below which information is only rounding of sums over the data."""


class Peak(NamedTuple):
    """The point at which the curvature of a log posterior is taken."""

    parameters: Parameters
    """A fit, in the units of the data."""
    data: Float[AnyArray, " n"] | AnyData
    sample_weights: Float[AnyArray, " n"]
    """c, how often each datum counts."""
    log_prior: Plugin
    """Without the floats that differ between runs; invariant to a constant added to all log weights."""
    floats: Mapping[str, float]
    """Those floats, with the hyperparameters that the prior learned; held fixed."""
    equal_scales: bool
    """Whether the components share one scale."""
    degenerate: Iterable[int]
    """Components at the scale floor or with too few data, whose loc and scale are held fixed."""
    noise: float | None = None
    """Log density of the noise; None without noise."""
    robust: bool = False
    """Whether errors are those of the sandwich."""
    sums: "LikelihoodSums | None" = None
    """Over the data, if they are known."""


def peak_of(job: FitJob, result: FitResult, data: Float[AnyData, " n"]) -> Peak:
    """Where a fit ended.

    Args:
        job: what was fitted.
        result: its answer.
        data: in the units of the fit, float64.
    """
    plan, floats = split(job)
    floats = {**floats["prior"], **result.learned}
    return Peak(
        result.parameters,
        data,
        job.sample_weights,
        plan.log_prior,
        floats,
        job.equal_scales,
        result.degenerate,
        job.noise,
    )


class Uncertainty(NamedTuple):
    """The uncertainty of a fit."""

    standard_errors: Mixture
    """Of weights, locs and scales; NaN where they are undefined."""
    positive_definite: bool
    """Whether the curvature is that of a strict local maximum of the log posterior."""
    of_noise: float = np.nan
    """Standard error of the weight of the noise."""


class Curvature(NamedTuple):
    """Minus the Hessian of the log posterior, by its principal directions."""

    shares: Float[np.ndarray, " free"]
    """Its eigenvalues, ascending, as shares of the complete-data information."""
    directions: Float[np.ndarray, "P free"]
    """One direction per column, in the order of `Parameters`, of the length of a standard error with that
    information."""


@np.errstate(all="ignore")
def uncertainty(peak: Peak) -> Uncertainty:
    """Standard errors of weights, locs and scales: √diag(J C Jᵀ), by the delta method, with C = I⁻¹ or the sandwich.

    I is the observed information of the free parameters, J the Jacobian of weights, locs and scales. At a stationary
    point the result does not depend on the parameterisation. Nothing is raised for a failed fit: for a diverged one, a
    saddle or a mixture with two equal components the errors are NaN.

    A degenerate component is on the boundary, where curvature gives no errors of its loc and scale: they are held fixed
    and have no errors, and the other components' errors are computed with them held fixed. Its weight is estimated like
    any other, since its number of data is as uncertain as that of the others.
    """
    parameters = exact(peak.parameters)
    sound = np.setdiff1d(np.arange(len(parameters.component_mus)), list(peak.degenerate))
    undefined = Uncertainty(Mixture(*[np.full(len(parameters.component_mus), np.nan)] * 3), False)
    if len(sound) == 0:
        return undefined
    found = curvature(peak)
    if found is None or not found.shares.min() > LEAST_SHARE:
        return undefined
    fitted = _weighed(parameters, peak.noise)
    # Along the free directions Σ_j w_j δ_j = 0, where the derivative of softmax is w itself.
    jacobian = np.concatenate([fitted.weights, np.ones_like(fitted.locs), fitted.scales])
    moved = jacobian[:, None] * found.directions
    variances = np.sum(moved**2 / found.shares, axis=1)
    if peak.robust:
        counts = np.asarray(peak.sample_weights, np.float64)
        squares = squared_gradients(parameters, peak.data, counts, peak.noise)
        variances = sandwich(moved / found.shares, found.directions.T @ squares @ found.directions)
    weights, locs, scales = np.sqrt(variances).reshape(3, -1)
    counted = _with_weight(fitted.weights, peak.sample_weights, sound)
    # If no weight can vary, no data determine them: their errors are unknown rather than 0.
    counted = np.array([], int) if len(counted) == 1 < len(fitted.weights) else counted
    errors = zip((weights, locs, scales), (counted, sound, sound), strict=True)
    everything, own = np.arange(len(fitted.locs)), slice(0, len(parameters.component_mus))
    of_numbers = Mixture(*(np.where(np.isin(everything, defined), of, np.nan)[own] for of, defined in errors))
    has_error = peak.noise is not None and everything[-1] in counted
    return Uncertainty(of_numbers, True, float(weights[-1]) if has_error else np.nan)


@np.errstate(all="ignore")
def curvature(peak: Peak) -> Curvature | None:
    """Curvature of the log posterior at a fit, in every direction in which it may move; None if not finite."""
    parameters, sample_weights = exact(peak.parameters), np.asarray(peak.sample_weights)
    if not np.isfinite(parameters).all():
        return None
    sound = np.setdiff1d(np.arange(len(parameters.component_mus)), list(peak.degenerate))
    sums = peak.sums or likelihood_sums(parameters, peak.data, sample_weights, peak.noise)
    complete, missing = information_of(sums, parameters, sample_weights, peak.noise)
    of_prior = prior_information(parameters, peak.log_prior, peak.floats)
    if peak.noise is not None:
        by_number = of_prior.reshape((3, len(parameters.component_mus)) * 2)
        of_prior = np.pad(by_number, ((0, 0), (0, 1)) * 2).reshape(complete.shape)
    weights = _weighed(parameters, peak.noise).weights
    counted = _with_weight(weights, peak.sample_weights, sound)
    free = free_directions(weights, sound, counted, equal_scales=peak.equal_scales, noise=peak.noise is not None)
    if not all(np.isfinite(part).all() for part in (complete, missing, of_prior)):
        return None
    # Relative to the complete information, units do not matter and rounding errors have one size.
    most = np.diag(free.T @ complete @ free) + np.abs(np.diag(free.T @ of_prior @ free))
    if not most.size or not most.min() > 0:
        return None
    free = free / np.sqrt(most)
    shares, eigenvectors = np.linalg.eigh(free.T @ (complete - missing + of_prior) @ free)
    return Curvature(shares, free @ eigenvectors)


def _weighed(parameters: Parameters, noise: float | None) -> Mixture:
    """The mixture, with the noise as a last component, of loc 0 and scale 1, neither of which counts."""
    found = constrain(parameters)
    if noise is None:
        return found
    share = share_of_components(parameters.log_component_weights)
    found = found._replace(weights=found.weights * share)
    last = (weight_of_noise(parameters.log_component_weights), 0.0, 1.0)
    return Mixture(*(np.append(leaf, one) for leaf, one in zip(found, last, strict=True)))


def stepped(step: Float[np.ndarray, " P"], n_components: int) -> Float[np.ndarray, "3 K"]:
    """A direction of a curvature as a change of log weights, or of log odds against the noise, of locs and log scales.

    Args:
        step: with the noise as a last component, if there is noise.
        n_components: K.
    """
    moved = step.reshape(3, -1).copy()
    moved[0] -= moved[0, -1] if moved.shape[1] > n_components else 0.0
    return moved[:, :n_components]


def _with_weight(
    weights: Float[np.ndarray, " K"], sample_weights: Float[AnyArray, " n"], sound: np.ndarray
) -> np.ndarray:
    """The components whose weight is estimated: the sound ones, and others with the weight of at least one datum."""
    counts = float(np.sum(sample_weights, dtype=np.float64)) * weights
    return np.union1d(sound, np.flatnonzero(counts >= 1.0)).astype(int)


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
    in_parts = partial(_sums, parameters, data, sample_weights, noise, len(_weighed(parameters, noise).weights))
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
    weights = _weighed(parameters, noise).weights
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


def sandwich(moved: Float[np.ndarray, "numbers free"], squares: Float[np.ndarray, "free free"]) -> np.ndarray:
    """Variances diag(A B Aᵀ) of numbers with the robust covariance, in the principal directions of a curvature.

    Args:
        moved: A, how the numbers move along each direction, over its eigenvalue.
        squares: B, the squared gradients Σ c² s sᵀ in these directions.
    """
    return np.maximum(np.einsum("pi,ij,pj->p", moved, squares, moved), 0.0)


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


def prior_information(
    parameters: Parameters, log_prior: Plugin, floats: Mapping[str, float]
) -> Float[np.ndarray, "P P"]:
    """Minus the Hessian of a log prior density, in the order of `Parameters`.

    Args:
        parameters: K components, float64.
        log_prior: without those of its floats that differ between runs.
        floats: these.
    """
    n_components = len(parameters.component_mus)
    pseudo_count = traits(log_prior.function).pseudo_count
    if pseudo_count is not None:  # a Σ_j log w_j has the Hessian −a K (diag w − w wᵀ), so nothing is compiled
        added = float(pseudo_count(**dict(log_prior.given(floats).hyperparameters)))
        weights, found = constrain(parameters).weights, np.zeros((3 * n_components,) * 2)
        found[:n_components, :n_components] = added * n_components * (np.diag(weights) - np.outer(weights, weights))
        return found
    width = width_for(log_prior, n_components)
    active = np.arange(width) < n_components
    padded = np.zeros((3, width))
    padded[:, active] = np.stack(parameters)
    with jax.enable_x64(True):
        given = {name: np.float64(value) for name, value in floats.items()}
        hessian = np.asarray(_prior_hessian(padded, active, given, log_prior=log_prior), np.float64)
    return -hessian[:, active][:, :, :, active].reshape(3 * n_components, 3 * n_components)


@partial(jax.jit, static_argnames="log_prior")
def _prior_hessian(values: Array, active: Array, floats: dict[str, AnyArray], *, log_prior: Plugin) -> Array:
    return jax.hessian(lambda values: prior_density(log_prior.given(floats), Parameters(*values), active, None))(values)


def free_directions(
    weights: Float[np.ndarray, " K"], sound: np.ndarray, counted: np.ndarray, *, equal_scales: bool, noise: bool = False
) -> Float[np.ndarray, "P free"]:
    """A basis of the directions in which a fit may move, as columns in the order of `Parameters`.

    Those of the log weights keep Σ_j w_j δ_j = 0, and so leave the weights of all other components as they are.

    Args:
        weights: of K components, one of which may be the noise; of sum one.
        sound: the components whose locs and scales move.
        counted: the components whose weights move.
        equal_scales: whether log scales move together.
        noise: whether the last component is the noise, which has none.
    """
    every = np.eye(len(weights))
    heaviest = int(np.argmax(weights[counted]))
    against = every[:, counted[[heaviest]]] * (weights[counted] / weights[counted][heaviest])
    of_weights = np.delete(every[:, counted] - against, heaviest, axis=1)
    of_scales = np.ones((len(weights), 1)) if equal_scales else every[:, sound]
    of_scales[len(weights) - noise :] = 0.0
    parts = [of_weights, every[:, sound], of_scales]
    columns = np.cumsum([0, *(part.shape[1] for part in parts)])
    free = np.zeros((3 * len(weights), columns[-1]))
    for number, part in enumerate(parts):
        free[number * len(weights) : (number + 1) * len(weights), columns[number] : columns[number + 1]] = part
    return free


def in_user_units(standard_errors: Mixture, scaling: Scaling) -> Mixture:
    """Standard errors for data in the user's units: those of locs and scales times the spread, weights' as they are.

    Args:
        standard_errors: [K] each, in the units of the fit.
        scaling: with which the data were standardised.
    """
    weights, locs, scales = standard_errors
    return Mixture(weights, scaling.spread * locs, scaling.spread * scales)


def intervals(fitted: Mixture, standard_errors: Mixture, level: float) -> tuple[Mixture, Mixture]:
    """Lower and upper ends of intervals that contain each parameter with probability `level`, one at a time.

    Symmetric about a loc. About a weight on the logit scale and a scale on the log scale, with errors by the delta
    method: so the ends stay between 0 and 1, or above 0, and the normal approximation is better, since the likelihood
    of a scale or of a small weight is skewed upward. A parameter without error, such as the weight of a single
    component, is its own interval.

    Args:
        fitted: the estimates.
        standard_errors: theirs, in the same units; NaN gives NaN.
        level: such as 0.95.
    """
    quantile = NormalDist().inv_cdf(0.5 + 0.5 * level)
    ends = [_ends(fitted, Mixture(*(sign * quantile * errors for errors in standard_errors))) for sign in (-1, 1)]
    return ends[0], ends[1]


def _ends(fitted: Mixture, distance: Mixture) -> Mixture:
    with np.errstate(all="ignore"):  # a weight of 1 has no logit
        odds = fitted.weights / (1.0 - fitted.weights)
        odds = odds * np.exp(distance.weights / (fitted.weights * (1.0 - fitted.weights)))
        weights = np.where(distance.weights == 0.0, fitted.weights, odds / (1.0 + odds))
        scales = fitted.scales * np.exp(distance.scales / fitted.scales)
    return Mixture(weights, fitted.locs + distance.locs, scales)
