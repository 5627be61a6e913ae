"""What speaks against a fit, and whether it may win a selection all the same.

A fit can have converged and still be no answer: at a saddle, with two components that are one, with a component that is
an artefact of rounded data, or below a mixture that it contains. Each reason is shown rather than guessed: by a mixture
with fewer components and the same likelihood, or by a point nearby, or one that the model contains, with a higher
posterior. So none is raised against a fit that is the best of its model. The price: what no such point shows is not
seen, such as a better optimum far away.

Everything is float64 NumPy on the host: judging another number of components compiles nothing. One pass over the data
for the curvature, one more where two components are near each other, some where a direction is flat.
"""

import math
from collections.abc import Sequence
from enum import StrEnum
from itertools import combinations
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from gmm_pipeline.inference.diagnostics import evaluate
from gmm_pipeline.inference.fitting import FitJob, FitResult, split
from gmm_pipeline.inference.parameterization import over_sticks
from gmm_pipeline.inference.resolution import rounding_step, share_tied, share_unresolved
from gmm_pipeline.inference.restarts import SAME_OPTIMUM, fewest_data, log_prior, spread_of
from gmm_pipeline.inference.scaling import IDENTITY
from gmm_pipeline.inference.uncertainty import curvature
from gmm_pipeline.model import portable
from gmm_pipeline.model.mixture import HALF_LOG_TWO_PI, Mixture, Parameters, constrain

NEAR = 1.0
"""Scales between two locs, and log of the ratio of their scales, at most, for components that may be one."""
FLAT = 1e-6
"""Share of the complete information up to which a direction may lead upward; float64 sums are exact to less."""
FIRST_STEP, DOUBLINGS = 0.25, 12
"""Of a walk in such a direction: standard errors of the complete information, up to about √n of a million data."""
STEPS_ON_THE_LEVEL = 4
"""Doublings after which a direction that has gained nothing is level for good."""
MOST_DIRECTIONS = 3
"""In which a walk is tried, from the steepest: a bound on the passes over the data."""
LAST = 0.25
"""Share of the steps, at the end, over which a component that collapses is seen to narrow."""
NARROWED = 0.05
"""Log of the ratio of a scale before and after these, at least."""
REACH = 3.0
"""Scales from its loc within which a component's data are looked at."""
MOSTLY = 0.5
"""Share of a component's data that are one value, above which the others do not hold it."""
NARROWER = 10.0
"""How many times as narrow a component is made that is to be shown to collapse; less where the floor is."""
ROUNDING = 1e-11
"""Of a log posterior, as a share of the number of data and of itself."""


class Reason(StrEnum):
    """What speaks against a fit; the values are those of records and tables."""

    DIVERGED = "diverged"
    DEGENERATE = "degenerate"
    COLLAPSING = "collapsing"
    """It has not converged, and a component narrows onto one value of the data, where its likelihood has no bound."""
    COINCIDENT = "coincident"
    """Components that are one: as one they have the same likelihood."""
    SADDLE = "saddle"
    """It converged, and its log posterior rises in some direction."""
    MISSED = "missed"
    """Its log posterior is below that of a mixture with fewer parameters, which its model contains."""
    REDUNDANT = "redundant"
    """Its likelihood is that of a mixture with fewer parameters."""
    ROUNDED = "rounded"
    """A component narrower than the rounding of the data."""
    OUTDONE = "outdone"
    """A larger fit, whose components coincide, is a better fit of this model."""
    TIED = "tied"
    """Many data are one value, at which a component collapses; rounded data are not meant."""
    UNRESOLVED = "unresolved"
    """Data that differ are the same to the precision of the fit."""


BARRING = frozenset(Reason) - {Reason.OUTDONE, Reason.TIED, Reason.UNRESOLVED}
"""What no criterion may choose; an outdone fit is better than it seems, and data and precision are those of all."""


BY_COMPARISON = frozenset({Reason.MISSED, Reason.REDUNDANT, Reason.OUTDONE})
"""What only other candidates show."""


class Doubt(NamedTuple):
    """One reason, and what it is about."""

    reason: Reason
    components: tuple[int, ...] = ()
    nats: float = math.nan
    """How far below a known mixture it is."""
    other: str = ""
    """The fit that shows it, in words; or the number that does."""


def barred(degenerate: Sequence[int], doubts: Sequence[Doubt], *, diverged: bool) -> Reason | None:
    """Why no criterion may choose a fit; None if one may."""
    known = {doubt.reason for doubt in doubts} | ({Reason.DEGENERATE} if degenerate else set())
    known |= {Reason.DIVERGED} if diverged else set()
    return next((reason for reason in Reason if reason in known & BARRING), None)


@np.errstate(all="ignore")
def doubts_of(job: FitJob, result: FitResult, data: Float[np.ndarray, " n"]) -> tuple[Doubt, ...]:
    """What speaks against a fit by itself; nothing of one that diverged, which is no fit.

    Args:
        job: what was fitted.
        result: its answer.
        data: in the units of the fit, as they were before they were rounded to its precision.
    """
    mixture = constrain(exact(result.parameters))
    if result.diverged or not np.isfinite(mixture).all():
        return ()
    # A prior over sticks leaves components empty or alike by intent.
    by_intent = over_sticks(job.plan.log_prior)
    groups = [] if by_intent else coincident(job, mixture, data)
    escape = climb(job, result, data) if result.converged and not by_intent else 0.0
    explained = {*result.degenerate, *(component for group in groups for component in group)}
    narrow = tuple(sorted({*narrower_than_rounding(mixture, rounding_step(data))} - explained))
    collapse = tuple(sorted({*collapsing(job, result, data)} - explained - {*narrow}))
    hidden, tied = share_unresolved(data, job.data), share_tied(data, np.asarray(job.sample_weights, np.float64))
    return (
        *((Doubt(Reason.COLLAPSING, collapse),) if collapse else ()),
        *(Doubt(Reason.COINCIDENT, group) for group in groups),
        *((Doubt(Reason.SADDLE, nats=escape),) if escape > SAME_OPTIMUM else ()),
        *((Doubt(Reason.ROUNDED, narrow),) if narrow else ()),
        *((Doubt(Reason.TIED, other=f"{tied:.0%}"),) if tied > 0.0 else ()),
        *((Doubt(Reason.UNRESOLVED, other=f"{hidden:.0%}"),) if hidden > 0.0 else ()),
    )


def coincident(job: FitJob, mixture: Mixture, data: Float[np.ndarray, " n"]) -> list[tuple[int, ...]]:
    """Groups of components any two of which, merged into one, leave the log-likelihood as it is.

    Components of too few data are left to the rule for these.

    Args:
        job: what was fitted.
        mixture: where it ended.
        data: in the units of the fit.
    """
    counts = np.asarray(job.sample_weights, np.float64)
    with_data = counts.sum() * mixture.weights >= fewest_data(job)
    groups: list[set[int]] = []
    for pair in combinations(range(len(mixture.locs)), 2):
        if with_data[list(pair)].all() and _are_near(mixture, *pair):
            one = merged(mixture, *pair, equal_scales=job.equal_scales)
            if _gain_of_merging(mixture, pair, one, data, counts) >= -SAME_OPTIMUM:
                joined = [group for group in groups if group & {*pair}]
                groups = [group for group in groups if group not in joined] + [set().union(pair, *joined)]
    return sorted(tuple(sorted(group)) for group in groups)


def _are_near(mixture: Mixture, one: int, other: int) -> bool:
    scales = mixture.scales[[one, other]]
    apart = abs(mixture.locs[one] - mixture.locs[other])
    return bool(apart <= NEAR * scales.max() and abs(np.diff(np.log(scales))[0]) <= NEAR)


def merged(mixture: Mixture, one: int, other: int, *, equal_scales: bool) -> Mixture:
    """The mixture with two components as one of their weight, mean and variance; of their scale where scales are equal.

    Args:
        mixture: of K components.
        one: of the two; the merged one is in its place.
        other: of the two, which is gone.
        equal_scales: whether all components share one scale.
    """
    weights, locs, scales = (np.array(leaf, np.float64) for leaf in mixture)
    pair = [one, other]
    shares = weights[pair] / weights[pair].sum()
    loc = float(shares @ locs[pair])
    variance = float(shares @ (scales[pair] ** 2 + (locs[pair] - loc) ** 2))
    weights[one], locs[one] = weights[pair].sum(), loc
    scales[one] = scales[one] if equal_scales else math.sqrt(variance)
    return Mixture(*(np.delete(leaf, other) for leaf in (weights, locs, scales)))


def _gain_of_merging(
    mixture: Mixture, pair: tuple[int, int], one: Mixture, data: Float[np.ndarray, " n"], counts: np.ndarray
) -> float:
    """Log-likelihood of the mixture with a pair merged, less that with both: Σ c log(1 − r_j − r_k + w f / p)."""
    weight, loc, scale = (leaf[pair[0]] for leaf in one)
    total = 0.0
    for here, log_densities, responsibilities in portable.chunks(*mixture, np.asarray(data, np.float64)):
        z = (data[here] - loc) / scale
        share = np.exp(np.log(weight) - np.log(scale) - HALF_LOG_TWO_PI - 0.5 * z * z - log_densities)
        rest = np.maximum(1.0 - responsibilities[list(pair)].sum(axis=0), 0.0)
        total += float(counts[here] @ np.log(rest + share))
    return total


def climb(job: FitJob, result: FitResult, data: Float[np.ndarray, " n"]) -> float:
    """Nats that the log posterior rises by on a walk from the fit that never descends; 0 from a maximum.

    In the directions in which the fit's curvature holds nothing. A walk up to twice as far each time ends at the first
    point that is lower than the last, so that no dip is crossed: what is found is a slope, not another optimum.

    Args:
        job: what was fitted.
        result: its answer.
        data: in the units of the fit.
    """
    plan, floats = split(job)
    found = curvature(
        result.parameters,
        data,
        job.sample_weights,
        log_prior=plan.log_prior,
        floats={**floats["prior"], **result.learned},
        equal_scales=job.equal_scales,
        degenerate=result.degenerate,
    )
    if found is None or not found.shares[0] < FLAT:
        return 0.0
    begin, floor = np.stack(exact(result.parameters)), job.scale_floor * spread_of(job)
    inside = np.minimum(begin[2], np.log(floor))

    def height(step: Float[np.ndarray, " P"]) -> float:
        point = begin + step.reshape(begin.shape)
        if (point[2] < inside).any():
            return -math.inf
        return _log_posterior(job, result, Parameters(*point), data)

    start = height(np.zeros(begin.size))
    noise = ROUNDING * (len(data) + abs(start))
    for direction in found.directions[:, found.shares < FLAT].T[:MOST_DIRECTIONS]:
        for sign in (FIRST_STEP, -FIRST_STEP):
            last = start
            for doubling in range(DOUBLINGS):
                reached = height(sign * 2.0**doubling * direction)
                level = doubling > STEPS_ON_THE_LEVEL and reached - start <= noise
                if level or not reached >= last - noise:
                    break
                last = reached
            if last - start > SAME_OPTIMUM:
                return last - start
    return 0.0


def collapsing(job: FitJob, result: FitResult, data: Float[np.ndarray, " n"]) -> tuple[int, ...]:
    """The components of a fit that used all its steps which were on their way to a collapse.

    The log posterior was rising and the scale falling when the steps ran out, most of the component's data are one
    value, and, narrower still at that value, it has a higher posterior. Data of many values are never taken for that.

    Args:
        job: what was fitted.
        result: its answer.
        data: in the units of the fit.
    """
    if result.converged or job.equal_scales or len(result.steps) < 2:
        return ()
    parameters, history = exact(result.parameters), result.history
    before = int(np.searchsorted(result.steps, (1.0 - LAST) * result.steps[-1], side="right")) - 1
    narrowed = np.asarray(history.parameters.log_component_scales[before], np.float64) - parameters.log_component_scales
    if not history.loss[before] > history.loss[-1]:
        return ()
    counts = np.asarray(job.sample_weights, np.float64)
    known = _log_posterior(job, result, parameters, data)
    found = []
    for component in np.flatnonzero(narrowed > NARROWED):
        value, share = _most_of(parameters, int(component), data, counts)
        if share > MOSTLY:
            narrower = _narrower(job, parameters, int(component), value)
            if _log_posterior(job, result, narrower, data) > known + SAME_OPTIMUM:
                found.append(int(component))
    return tuple(found)


def _most_of(
    parameters: Parameters, component: int, data: Float[np.ndarray, " n"], counts: np.ndarray
) -> tuple[float, float]:
    """The value that most of a component's data have, and their share of them."""
    loc, scale = parameters.component_mus[component], np.exp(parameters.log_component_scales[component])
    near = np.abs(data - loc) <= REACH * scale
    if not near.any():
        return float(loc), 0.0
    values, inverse = np.unique(data[near], return_inverse=True)
    _, responsibilities = portable.evaluate(*constrain(parameters), values)
    own = responsibilities[component] * np.bincount(inverse, counts[near])
    return float(values[np.argmax(own)]), float(own.max() / max(own.sum(), 1e-300))


def _narrower(job: FitJob, parameters: Parameters, component: int, loc: float) -> Parameters:
    log_weights, locs, log_scales = (np.array(leaf) for leaf in parameters)
    with np.errstate(divide="ignore"):
        floor = np.log(job.scale_floor * spread_of(job))
    locs[component], log_scales[component] = loc, max(log_scales[component] - np.log(NARROWER), floor)
    return Parameters(log_weights, locs, log_scales)


def _log_posterior(job: FitJob, result: FitResult, parameters: Parameters, data: Float[np.ndarray, " n"]) -> float:
    log_likelihood = evaluate(parameters, data, job.sample_weights, IDENTITY).log_likelihood
    return log_likelihood + log_prior(job, parameters, result.learned)


def narrower_than_rounding(mixture: Mixture, step: float | None) -> tuple[int, ...]:
    """The components narrower than the rounding alone would make them, a standard deviation of step / √12; no lone one.

    Args:
        mixture: in the units of the step.
        step: to which the data were rounded.
    """
    if step is None or len(mixture.scales) == 1:
        return ()
    return tuple(np.flatnonzero(mixture.scales < step / math.sqrt(12.0)).tolist())


def words(doubt: Doubt) -> str:
    """A doubt as a clause: what was seen, what it means and what to do."""
    which = listed([str(component) for component in doubt.components])
    match doubt.reason:
        case Reason.COLLAPSING:
            plural = len(doubt.components) > 1
            return (
                f"component{'s' * plural} {which} {'were' if plural else 'was'} narrowing onto one value of the data "
                "when the steps ran out, on the way to a collapse, where a likelihood has no bound; use scales=equal, "
                "a prior on scales or fewer components, or more steps to see where it ends"
            )
        case Reason.COINCIDENT:
            return (
                f"components {which} are at the same place as far as the data can tell: as one they have the same "
                "log-likelihood, so that this is the fit of fewer components; use fewer, or more restarts"
            )
        case Reason.SADDLE:
            return (
                f"not a maximum: the log posterior rises by {doubt.nats:.2g} nats or more from here without a dip; use "
                "more restarts, or another seed"
            )
        case Reason.MISSED:
            return (
                f"below a mixture that its model contains: {doubt.other} reach {doubt.nats:.2g} nats more, so that a "
                "better optimum was missed or is degenerate; use more restarts"
            )
        case Reason.REDUNDANT:
            return f"no better than {doubt.other}, whose log-likelihood is the same to {SAME_OPTIMUM} nats"
        case Reason.ROUNDED:
            plural = len(doubt.components) > 1
            return (
                f"component{'s' * plural} {which} {'are' if plural else 'is'} narrower than the rounding of the data: "
                f"an artefact of {'their' if plural else 'its'} ties; use fewer components or a larger scale_floor"
            )
        case Reason.OUTDONE:
            return (
                f"the best optimum was missed: {doubt.other}, two of which coincide, reach {doubt.nats:.2g} nats more; "
                "use more restarts"
            )
        case Reason.TIED:
            return (
                f"{doubt.other} of the data are at the same place, which no density describes: a component on them "
                "collapses; leave them out, or use scales=equal"
            )
        case Reason.UNRESOLVED:
            return f"{doubt.other} of the data differ by less than float32 resolves; use precision=float64"
        case _:
            return str(doubt.reason)


def named(n_components: int, *, equal_scales: bool) -> str:
    """A model in words."""
    if n_components == 1:
        return "1 component"
    return f"{n_components} components with {'equal' if equal_scales else 'free'} scales"


def listed(names: Sequence[str]) -> str:
    """Names in a row, as a sentence has them."""
    return " and ".join(part for part in (", ".join(names[:-1]), names[-1] if names else "") if part)


def exact(parameters: Parameters) -> Parameters:
    """The same in float64."""
    return Parameters(*(np.asarray(leaf, np.float64) for leaf in parameters))
