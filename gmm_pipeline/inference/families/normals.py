"""The multivariate normal as a family of components; a datum is a vector of d numbers."""

import functools
from functools import partial
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float

from gmm_pipeline.inference.families import (
    Family,
    compared,
    dense_places,
    factor_steps,
    moves,
    multivariate,
    no_neighbours,
)
from gmm_pipeline.inference.families.factor_objective import factor_log_likelihood_of
from gmm_pipeline.inference.families.fused_objective import (
    fuses,
    lay_out_rows,
    multivariate_log_likelihood_of,
    options_of_columns,
)
from gmm_pipeline.inference.families.maximisation import Shared
from gmm_pipeline.inference.families.observed_objective import lay_out_observed, observed_log_likelihood_of
from gmm_pipeline.inference.narrow import may_be_narrow
from gmm_pipeline.inference.parameterization import over_sticks
from gmm_pipeline.inference.scaling import core_weights, summary_of
from gmm_pipeline.model.covariances import EQUAL, IDENTITY, VARIABLE, Kind, kind_of, needed_beyond, rows_needed
from gmm_pipeline.model.incomplete import distinct_rows, means_of
from gmm_pipeline.model.large_data import are_ones, is_complete
from gmm_pipeline.model.multivariate import (
    MultivariateParameters,
    components_taken,
    constrain_multivariate,
    parameters_of,
)
from gmm_pipeline.model.natural import MultivariateMixture, factor_of, mean_and_covariance
from gmm_pipeline.model.noise import counts_of
from gmm_pipeline.model.splitting import merged_columns

Array = np.ndarray
NEAR_THE_FLOOR = 1.1
"""Up to so many times the floor, an extent of a component counts as at it: axes that turn come only near it."""
UNITS_IN_THE_LAST_PLACE = 64.0
"""Of the data's spread: where there is no floor, a component that is narrower has collapsed to what rounding leaves."""
FEWEST_OF_TWO = 2.5
"""The value of `fewest_data` for which a component needs half a datum more than makes its likelihood bounded."""

OVERHEAD = {Kind.FULL: 200, Kind.ORIENTED: 400}
"""Data a column whose work is that of a step's matrices; measured with seven columns."""


def normals(n_columns: int, kind: Kind, *, incomplete: bool = False, factors: int = 0) -> Family:
    """The family of normals of several columns.

    Args:
        n_columns: d.
        kind: how components are represented.
        incomplete: whether values are missing, as NaN in the data.
        factors: q, with `Kind.FACTOR`.
    """
    return _normals(n_columns, kind, incomplete, factors if kind is Kind.FACTOR else 0)


@functools.cache
def _normals(n_columns: int, kind: Kind, incomplete: bool, factors: int) -> Family:
    if kind is Kind.FACTOR:
        return _with_factors(_normals(n_columns, Kind.DIAGONAL, incomplete, 0), incomplete, factors)
    by_column = kind in (Kind.SPHERICAL, Kind.DIAGONAL)
    n_features = 2 * n_columns if by_column else n_columns * (n_columns + 3) // 2
    if incomplete and not by_column:
        n_features = n_columns**3
    return Family(
        made_by=(_normals, (n_columns, kind, incomplete, factors)),
        name=f"{kind.value} normal" + " of incomplete data" * incomplete,
        n_columns=n_columns,
        cost=max(1, n_features // 2),
        overhead=OVERHEAD.get(kind, 0) * n_columns,
        zeros=partial(_zeros, n_columns=n_columns, kind=kind),
        mixture_of=partial(multivariate.mixture_of, kind=kind),
        unconstrained_of=partial(multivariate.unconstrained_of, kind=kind),
        em_step=partial(multivariate.em_step, kind=kind),
        gradient_norm=partial(multivariate.gradient_norm, kind=kind),
        lay_out=lay_out_observed if incomplete else lay_out_rows,
        log_likelihood_of=observed_log_likelihood_of if incomplete else multivariate_log_likelihood_of,
        fuses=_never if incomplete else partial(fuses, n_columns=n_columns, by_column=by_column),
        compiler_options=options_of_columns,
        spread_of=_spread_of,
        constraints_of=_constraints_of,
        natural=constrain_multivariate,
        degenerate=_degenerate,
        blurred=_blurred,
        condensed=_condensed,
        landscape=moves.landscape,
        fresh=moves.fresh,
        varied=moves.varied,
        neighbours=no_neighbours if incomplete else partial(dense_places.neighbours, kind=kind),
        in_order=compared.in_order,
        distances=compared.distances,
        split=_split,
        halved=_halved,
        merged=_merged,
        fewest_data=fewest_rows,
        merges=partial(_merges, kind=kind, factors=0),
    )


def _with_factors(diagonal: Family, incomplete: bool, factors: int) -> Family:
    """The family of factor analysers, which are normals with diagonal covariances but for their factors."""
    return diagonal._replace(
        made_by=(_normals, (diagonal.n_columns, Kind.FACTOR, incomplete, factors)),
        name=f"normal of {factors} factors",
        cost=diagonal.n_columns * (2 + factors) // 2,
        zeros=partial(_zeros_with_factors, diagonal, factors=factors),
        mixture_of=factor_steps.mixture_of,
        unconstrained_of=factor_steps.unconstrained_of,
        em_step=factor_steps.em_step,
        gradient_norm=factor_steps.gradient_norm,
        log_likelihood_of=factor_log_likelihood_of,
        fuses=_never,
        constraints_of=_constraints_with_factors,
        degenerate=_degenerate_with_factors,
        neighbours=no_neighbours,
        merges=partial(_merges, kind=Kind.FACTOR, factors=factors),
    )


FEW_OUTLIERS = 8
"""Outliers that are all in a part of the rows are at most this fraction of it; more are drawn like other rows."""


def _never(n_components: int) -> bool:
    return False


def _zeros(n_components: int, dtype: Any, *, n_columns: int, kind: Kind) -> MultivariateParameters:
    by_column = np.zeros((n_components, n_columns), dtype)
    axes = None
    if kind in (Kind.FULL, Kind.ORIENTED):
        axes = np.broadcast_to(np.eye(n_columns, dtype=dtype), (n_components, n_columns, n_columns))
    return MultivariateParameters(np.zeros(n_components, dtype), by_column, by_column, axes)


def _zeros_with_factors(diagonal: Family, n_components: int, dtype: Any, *, factors: int) -> MultivariateParameters:
    zeros = diagonal.zeros(n_components, dtype)
    return zeros._replace(loadings=np.zeros((n_components, diagonal.n_columns, factors), dtype))


def _spread_of(job: Any) -> Float[Array, "d d"]:
    """Covariance of the data without gross outliers, in the units of the fit."""
    core = core_weights(job.data, job.sample_weights)
    if job.is_large and is_complete(job.data):
        return summary_of(job.data, core).covariance
    return mean_and_covariance(np.asarray(job.data, np.float64), core.astype(np.float64))[1]


def _means_of(job: Any) -> Float[Array, " d"]:
    core = core_weights(job.data, job.sample_weights)
    if job.is_large and is_complete(job.data):
        return summary_of(job.data, core).mean
    return means_of(np.asarray(job.data), core)


def _constraints_of(
    job: Any, active: Bool[Array, " K"], spread: Float[Array, "d d"]
) -> multivariate.MultivariateConstraints:
    """The floor is a share of the data's spread in the direction where it is least."""
    volume, shape, orientation = job.covariance
    volumes, shapes, axes = (np.array(letter != VARIABLE) for letter in (volume, shape, orientation))
    shared = Shared(volumes, shapes, axes, np.array(shape == IDENTITY))
    least = np.linalg.svd(factor_of(spread), compute_uv=False)[-1]
    with np.errstate(divide="ignore"):
        log_floor = np.log(job.scale_floor * least)
    dtype, mean = job.data.dtype.type, _means_of(job)
    by_columns = kind_of(job.covariance) in (Kind.SPHERICAL, Kind.DIAGONAL)
    covariance = np.diagonal(spread) if by_columns else spread
    return multivariate.MultivariateConstraints(
        active, shared, dtype(log_floor), mean.astype(dtype), covariance.astype(dtype)
    )


def _constraints_with_factors(
    job: Any, active: Bool[Array, " K"], spread: Float[Array, "d d"]
) -> multivariate.MultivariateConstraints:
    """The floor of a uniqueness's root is the square of that of scales, relative to its column.

    A uniqueness may vanish while the covariance does not (a Heywood case; Lawley & Maxwell 1971): so it is no reason to
    take a component for degenerate, and its floor only keeps arithmetic exact.
    """
    dtype, no = job.data.dtype.type, np.array(False)
    with np.errstate(divide="ignore"):
        log_floor = 2.0 * np.log(job.scale_floor) + 0.5 * np.log(np.diagonal(spread))
    mean = _means_of(job)
    return multivariate.MultivariateConstraints(
        active,
        Shared(no, no, no, no),
        log_floor[None].astype(dtype),
        mean.astype(dtype),
        np.diagonal(spread).astype(dtype),
    )


@np.errstate(all="ignore")
def _degenerate_with_factors(
    job: Any, parameters: MultivariateParameters, spread: Float[Array, "d d"]
) -> Bool[Array, "*S K"]:
    """As `_degenerate`, but relative to the columns' variances, which is invariant to what a factor model is.

    A covariance is at least as wide as its uniquenesses in every direction, so most need no decomposition.
    """
    by_column = np.sqrt(np.diagonal(spread))
    least = (np.asarray(parameters.log_component_scales, np.float64) - np.log(by_column)).min(axis=-1)
    finite = np.isfinite(least) & np.isfinite(parameters.loadings).all(axis=(-2, -1))
    narrow = ~finite | (least <= np.log(NEAR_THE_FLOOR * max(job.scale_floor, job.floor_of_few)))
    some = jax.tree.map(lambda leaf: np.asarray(leaf)[narrow], parameters)
    found = ~finite
    whiteners = compared.whiteners_of(some._replace(loadings=np.nan_to_num(some.loadings)))
    found[narrow] |= _is_flat(whiteners, np.diag(by_column), _floors(job, parameters)[narrow])
    return found | has_too_few(job, parameters)


@np.errstate(all="ignore")
def _degenerate(job: Any, parameters: MultivariateParameters, spread: Float[Array, "d d"]) -> Bool[Array, "*S K"]:
    """Components that are flat: in some direction narrower than the floor, relative to all data; or of too few data.

    The least generalised eigenvalue of Σ_k and the covariance of all data does not depend on units.
    """
    flat = _is_flat(compared.whiteners_of(parameters), factor_of(spread), _floors(job, parameters))
    return flat | has_too_few(job, parameters)


def _floors(job: Any, parameters: MultivariateParameters) -> Float[Array, "*S K"]:
    """The least scale of each component in any direction."""
    log_weights = np.asarray(parameters.log_component_weights, np.float64)
    floor = max(job.scale_floor, UNITS_IN_THE_LAST_PLACE * float(np.finfo(job.data.dtype).eps))
    if not job.floor_of_few > floor:
        return np.full(log_weights.shape, floor)
    return np.where(may_be_narrow(job, log_weights), floor, job.floor_of_few)


def _is_flat(
    whiteners: Float[Array, "*S K d d"], factor: Float[Array, "d d"], floors: Float[Array, "*S K"]
) -> Bool[Array, "*S K"]:
    stretched, most = whiteners @ factor, 1.0 / (NEAR_THE_FLOOR * floors)
    flat = np.asarray(~np.isfinite(stretched).all(axis=(-2, -1)))
    # The length of all entries is never below the largest singular value, and computed in no time.
    narrow = ~flat & (np.einsum("...ij,...ij->...", stretched, stretched) >= 0.99 * most**2)
    flat[narrow] = np.linalg.svd(stretched[narrow], compute_uv=False)[..., 0] >= most[narrow]
    return flat


def has_too_few(job: Any, parameters: MultivariateParameters) -> Bool[Array, "*S K"]:
    """Components with too few data; none where the prior lets components vanish.

    Args:
        job: the fit.
        parameters: any leading axes.
    """
    log_weights = np.asarray(parameters.log_component_weights, np.float64)
    if over_sticks(job.plan.log_prior):
        return np.zeros(log_weights.shape, bool)
    counts = counts_of(log_weights, float(np.sum(job.sample_weights)), noise=job.noise is not None)
    too_few = counts < fewest_rows(job)
    each, beyond = needed_beyond(job.covariance, job.data.shape[1])
    if beyond:
        left = np.maximum(counts - each, 0.0).sum(axis=-1, keepdims=True)
        too_few = too_few | (left < beyond + job.fewest_data - FEWEST_OF_TWO)
    return too_few


def fewest_rows(job: Any) -> float:
    """Data that a component needs: as many as bound its likelihood, and half a datum more or less by `fewest_data`."""
    return max(rows_needed(job.covariance, job.data.shape[1], job.factors) + job.fewest_data - FEWEST_OF_TWO, 0.0)


def _blurred(
    job: Any, optimum: MultivariateParameters, blur: float, spread: Float[Array, "d d"]
) -> MultivariateParameters:
    log_weights, mus, log_scales = (np.asarray(leaf, np.float64) for leaf in optimum[:3])
    return optimum._replace(
        log_component_weights=(1.0 - blur) * (log_weights - np.logaddexp.reduce(log_weights)),
        component_mus=mus,
        log_component_scales=log_scales + blur * np.log(2.0),
    )


def _condensed(job: Any, plan: Any) -> tuple[Array, Array]:
    """Distinct rows with their weights; where there are too many, a random part, which keeps the shapes of clusters.

    Gross outliers are in every part, since what holds them has nothing else to be seen by.
    """
    if job.is_large:  # looking for equal rows among many takes long
        return _part(job.data, job.sample_weights, plan.rows, job.data.dtype)
    counted = job.sample_weights > 0
    rows, inverse = distinct_rows(job.data[counted])
    counts = np.bincount(inverse, job.sample_weights[counted]).astype(job.data.dtype)
    return (rows, counts) if len(rows) <= plan.rows else _part(rows, counts, plan.rows, job.data.dtype)


def _part(data: Any, sample_weights: Array, n_rows: int, dtype: Any) -> tuple[Array, Array]:
    """Random rows that weigh as much as all, but for gross outliers, which are all there with their own weights."""
    core = core_weights(data, sample_weights)
    far = np.arange(0) if core is sample_weights else np.flatnonzero((core == 0) & (sample_weights > 0))
    if len(far) > n_rows // FEW_OUTLIERS:
        core, far = sample_weights, np.arange(0)
    there = np.arange(0) if are_ones(core) else np.flatnonzero(core > 0)
    n = len(there) or len(data)
    some = np.sort(np.random.default_rng([0, n]).choice(n, min(n_rows, n), replace=False))
    some = there[some] if len(there) else some
    weights = np.asarray(sample_weights, np.float64)
    scaled = weights[some] * ((weights.sum() - weights[far].sum()) / weights[some].sum())
    both = np.concatenate([some, far])
    order = np.argsort(both, kind="stable")
    return data[both[order]], np.concatenate([scaled, weights[far]])[order].astype(dtype)


def _split(job: Any, parameters: MultivariateParameters, component: int, equal: bool) -> MultivariateParameters:
    """Halves of a component along its longest axis, which keep its mean and covariance; see `splitting.py`."""
    mixture = constrain_multivariate(parameters)
    loc, covariance = mixture.locs[component], mixture.covariances[component]
    variances, directions = np.linalg.eigh(covariance)
    step = job.halves_apart * np.sqrt(variances[-1]) * directions[:, -1]
    if job.covariance[0] != EQUAL:
        covariance = covariance - np.outer(step, step)
    weights = np.append(mixture.weights, 0.5 * mixture.weights[component])
    weights[component] *= 0.5
    locs, covariances = np.vstack([mixture.locs, loc + step]), np.concatenate([mixture.covariances, covariance[None]])
    locs[component], covariances[component] = loc - step, covariance
    return parameters_of(MultivariateMixture(weights, locs, covariances), kind_of(job.covariance), job.factors)


def _halved(parameters: MultivariateParameters, component: int) -> MultivariateParameters:
    again = np.append(np.arange(len(parameters.log_component_weights)), component)
    halved = components_taken(parameters, again)
    log_weights = np.array(halved.log_component_weights, np.float64)
    log_weights[[component, -1]] -= np.log(2.0)
    return halved._replace(log_component_weights=log_weights)


def _merged(job: Any, parameters: MultivariateParameters, one: int, other: int) -> MultivariateParameters:
    mixture = merged_columns(constrain_multivariate(parameters), one, other, job.covariance)
    return parameters_of(mixture, kind_of(job.covariance), job.factors)


def _merges(parameters: MultivariateParameters, *, kind: Kind, factors: int) -> list[MultivariateParameters]:
    """Each component merged with the one that is nearest in its own standard deviations."""
    mixture = constrain_multivariate(parameters)
    n_components = len(mixture.weights)
    away = mixture.locs[:, None] - mixture.locs[None]
    squares = np.einsum("kli,kij,klj->kl", away, np.linalg.inv(mixture.covariances), away)
    np.fill_diagonal(squares, np.inf)
    pairs = {tuple(sorted((one, int(other)))) for one, other in enumerate(squares.argmin(axis=1))}
    merged = [merged_columns(mixture, one, other) for one, other in sorted(pairs) if n_components > 1]
    return [parameters_of(one, kind, factors) for one in merged]
