"""The normal distribution of one column, as a family of components; a datum is a number."""

from functools import partial
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float, Int

from gmm_pipeline.inference import em, parameterization, search_moves
from gmm_pipeline.inference.families import Family, no_neighbours
from gmm_pipeline.inference.narrow import may_be_narrow
from gmm_pipeline.inference.objective import compiler_options, lay_out, log_likelihood_of, use_fused
from gmm_pipeline.inference.parameterization import Constraints, Unconstrained
from gmm_pipeline.inference.scaling import AnyData, core_weights, summary_of
from gmm_pipeline.model import inits
from gmm_pipeline.model.large_data import are_ones, in_order, slices
from gmm_pipeline.model.mixture import Parameters, constrain, exact
from gmm_pipeline.model.natural import mean_and_spread
from gmm_pipeline.model.noise import counts_of
from gmm_pipeline.model.splitting import merged, split_component

AT_THE_FLOOR = 1.01
"""A scale of at most this many times the floor counts as being at the floor."""


def _zeros(n_components: int, dtype: Any) -> Parameters:
    return Parameters(*[np.zeros(n_components, dtype)] * 3)


def _gradient_norm(
    gradient: Unconstrained, stepped: Unconstrained, mixture: Parameters, problem: em.Problem
) -> Float[Array, ""]:
    return parameterization.gradient_norm(gradient, mixture, problem.constraints, problem.total)


def _spread_of(job: Any) -> float:
    """Standard deviation of the data without gross outliers, in the units of the fit."""
    core = core_weights(job.data, job.sample_weights)
    if job.is_large:
        return summary_of(job.data, core).spread
    return mean_and_spread(job.data.astype(np.float64), core.astype(np.float64))[1]


def _constraints_of(job: Any, active: Bool[np.ndarray, " K"], spread: float) -> Constraints:
    with np.errstate(divide="ignore"):
        log_floor = np.log(job.scale_floor * spread)
    return Constraints(active, np.array(job.equal_scales), job.data.dtype.type(log_floor))


def fewest_data(job: Any) -> float:
    """Observations that a component needs: one fewer with equal scales, where it has one parameter fewer."""
    return max(job.fewest_data - 1.0, 0.0) if job.equal_scales else job.fewest_data


def _degenerate(job: Any, parameters: Parameters, spread: float) -> Bool[np.ndarray, "*S K"]:
    log_weights, _, log_scales = exact(parameters)
    counts = counts_of(np.asarray(log_weights), float(np.sum(job.sample_weights)), noise=job.noise is not None)
    with np.errstate(invalid="ignore", over="ignore"):
        found = np.exp(log_scales) <= AT_THE_FLOOR * job.scale_floor * spread
        if job.floor_of_few > job.scale_floor:
            of_few = np.exp(log_scales) <= AT_THE_FLOOR * job.floor_of_few * spread
            found |= of_few & ~may_be_narrow(job, np.asarray(log_weights))
    if not parameterization.over_sticks(job.plan.log_prior):
        found |= counts < fewest_data(job)
    return found


def blurred_copy(optimum: Parameters, blur: float, spread: float, equal_scales: bool) -> Parameters:
    """Blur an optimum: move its weights towards equal ones and its scales towards 2/K of the data's spread.

    Args:
        optimum: log weights, locs, log scales.
        blur: 0 for the optimum, 1 for equal weights and scales.
        spread: standard deviation of the data.
        equal_scales: whether there is one scale.
    """
    log_weights, locs, log_scales = exact(optimum)
    widest = np.maximum(log_scales, np.log(2.0 * spread / len(locs)))
    return Parameters(
        (1.0 - blur) * (log_weights - np.logaddexp.reduce(log_weights)),
        locs,
        log_scales + blur * (widest - log_scales) if not equal_scales else log_scales + blur * np.log(2.0),
    )


def _blurred(job: Any, optimum: Parameters, blur: float, spread: float) -> Parameters:
    return blurred_copy(optimum, blur, spread, job.equal_scales)


def condensed(
    data: Float[np.ndarray, " n"], sample_weights: Float[np.ndarray, " n"], at_most: int
) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"]]:
    """Groups of neighbouring data: their means, and how much each counts.

    Equal values form one group. Where there are more than `at_most` distinct values, groups are limited both in their
    share of the data and in their share of the range.

    Args:
        data: x.
        sample_weights: c, how often each datum counts.
        at_most: m, at most.
    """
    counted = sample_weights > 0
    values, inverse = np.unique(data[counted], return_inverse=True)
    counts = np.bincount(inverse, sample_weights[counted])
    if len(values) <= at_most:
        return values, counts.astype(data.dtype)
    values = values.astype(np.float64)
    shares = (np.cumsum(counts) - 0.5 * counts) / counts.sum()
    along = 0.5 * shares + 0.5 * (values - values[0]) / (values[-1] - values[0])
    group = np.minimum((along * at_most).astype(int), at_most - 1)
    total, sums = np.bincount(group, counts, at_most), np.bincount(group, counts * values, at_most)
    there = total > 0
    return (sums[there] / total[there]).astype(data.dtype), total[there].astype(data.dtype)


BINS, FINER, REACH = 2**17, 2**8, 8.0
"""Of many data: bins of equal width, within so many standard deviations of their mean; parts of a bin with very many;
what is further away is kept as it is."""
FULL = 5e-4
"""Share of the data in a bin above which it is cut into parts; a normal distribution of all data has a tenth of it."""
DATA_OF_A_CALL = 2**19
"""Data that are counted at a time, many more than it takes to clear the bins."""


def condensed_large(
    data: Float[AnyData, " n"], sample_weights: Float[np.ndarray, " n"], at_most: int
) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"]]:
    """`condensed` of many data, by counting them in bins, so that they are neither sorted nor held.

    Values are told apart if they differ by a bin, 1e-4 of the standard deviation, and by a 256th of it where there are
    many data.

    Args:
        data: x.
        sample_weights: c, how often each datum counts.
        at_most: m, at most.
    """
    about, core = summary_of(data, sample_weights), summary_of(data, core_weights(data, sample_weights))
    low = max(float(about.least), float(core.mean) - REACH * core.spread)
    high = min(float(about.greatest), float(core.mean) + REACH * core.spread)
    bins, places = _Bins(low, BINS / (high - low), BINS), slices(len(data), DATA_OF_A_CALL)

    def counted(bins: _Bins, here: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        values = np.asarray(data[here])
        counts = None if are_ones(sample_weights) else np.asarray(sample_weights[here], np.float64)
        return bins.counted(values, counts)

    def of_all(bins: _Bins) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Counts and sums of each bin, then values beyond the bins with their counts."""
        total, sums, beyond, of_beyond = np.zeros(bins.size), np.zeros(bins.size), [], []
        for counts, values, *rest in in_order(partial(counted, bins), places):
            total += counts
            sums += values
            beyond.append(rest[0])
            of_beyond.append(rest[1])
        return total, sums, np.concatenate(beyond), np.concatenate(of_beyond)

    total, sums, far, far_counts = of_all(bins)
    full = np.flatnonzero(total > FULL * about.total)
    finer_total, finer_sums = np.zeros(0), np.zeros(0)
    if len(full):
        finer_total, finer_sums, *_ = of_all(bins.finer(full))
        total[full] = 0.0
    total, sums = np.concatenate([total, finer_total]), np.concatenate([sums, finer_sums])
    there = total > 0
    sites = np.concatenate([sums[there] / total[there], far])
    found, counts = condensed(sites, np.concatenate([total[there], far_counts]), at_most)
    return found.astype(data.dtype), counts.astype(data.dtype)


class _Bins(NamedTuple):
    """Bins of equal width, or the parts of some of them."""

    low: float
    rate: float
    """Bins in a unit of the data."""
    size: int
    """How many there are."""
    among: Int[np.ndarray, " N"] | None = None
    """The place of each bin among those that are cut into parts; −1 for the others. None where none is."""

    def finer(self, full: Int[np.ndarray, " f"]) -> "_Bins":
        """The parts of some of the bins."""
        among = np.full(self.size, -1)
        among[full] = np.arange(len(full))
        return self._replace(size=len(full) * FINER, among=among)

    def counted(
        self, values: Float[np.ndarray, " b"], counts: Float[np.ndarray, " b"] | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Counts and sums of the bins, then the values that are in none, with their counts."""
        along = (values - self.low) * self.rate
        beyond = np.zeros(0), np.zeros(0)
        if not (along.min() >= 0.0 and along.max() < BINS):
            inside = (along >= 0.0) & (along < BINS)
            of_ones = np.ones(np.count_nonzero(~inside)) if counts is None else counts[~inside]
            beyond = values[~inside], of_ones
            values, along = values[inside], along[inside]
            counts = None if counts is None else counts[inside]
        place = along.astype(np.intp)
        if self.among is not None:
            there = self.among[place] >= 0
            values, along, place = values[there], along[there], place[there]
            counts = None if counts is None else counts[there]
            place = self.among[place] * FINER + ((along - place) * FINER).astype(np.intp)
        weighed = values if counts is None else counts * values
        return np.bincount(place, counts, self.size), np.bincount(place, weighed, self.size), beyond[0], beyond[1]


def _condensed(job: Any, plan: Any) -> tuple[np.ndarray, np.ndarray]:
    if job.is_large:
        return condensed_large(job.data, job.sample_weights, plan.points)
    return condensed(job.data, job.sample_weights, plan.points)


def _landscape(
    data: np.ndarray, sample_weights: np.ndarray, job: Any, plan: Any, spread: float
) -> search_moves.Landscape:
    least = max(plan.narrowest, job.scale_floor) * spread
    return search_moves.Landscape(
        inits.Sorted.of(data, sample_weights),
        job.equal_scales,
        float(np.log(least)),
        plan.places,
        plan.starts._asdict(),
    )


def _split(job: Any, parameters: Parameters, component: int, equal: bool) -> Parameters:
    return split_component(parameters, component, apart=job.halves_apart, keep_scale=equal)


def _merged(job: Any, parameters: Parameters, one: int, other: int) -> Parameters:
    return merged(parameters, one, other, keep_scale=job.equal_scales)


def _merges(parameters: Parameters) -> list[Parameters]:
    """Neighbours are merged."""
    ordered = search_moves.in_order(exact(parameters))
    return [merged(ordered, left, left + 1) for left in range(ordered.component_mus.shape[-1] - 1)]


def _normal() -> Family:
    return NORMAL


NORMAL = Family(
    made_by=(_normal, ()),
    name="normal",
    n_columns=0,
    cost=1,
    overhead=0,
    zeros=_zeros,
    mixture_of=parameterization.mixture_of,
    unconstrained_of=parameterization.unconstrained_of,
    em_step=em.em_step,
    gradient_norm=_gradient_norm,
    lay_out=lay_out,
    log_likelihood_of=log_likelihood_of,
    fuses=use_fused,
    compiler_options=compiler_options,
    spread_of=_spread_of,
    constraints_of=_constraints_of,
    natural=constrain,
    degenerate=_degenerate,
    blurred=_blurred,
    condensed=_condensed,
    landscape=_landscape,
    fresh=search_moves.fresh,
    varied=search_moves.varied,
    neighbours=no_neighbours,
    in_order=search_moves.in_order,
    distances=search_moves.distances,
    split=_split,
    halved=split_component,
    merged=_merged,
    fewest_data=fewest_data,
    merges=_merges,
)
