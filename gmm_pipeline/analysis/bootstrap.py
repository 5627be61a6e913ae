"""The bootstrap: fits to resampled data sets of the same size, which share one program.

A replicate is the same run with other sample weights: the counts of as many draws with replacement as the sample has
data (Efron & Tibshirani 1993). So all replicates have one shape and form batches. They start at the fit, which keeps
them at its optimum, and their components are then matched to it. NumPy, seeded with the key, draws the counts, one
binomial per datum: ten times faster than sorting uniform draws into the data. The price is one array of counts for each
replicate, and that NumPy may change its draws with a version.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Num, PRNGKeyArray

from gmm_pipeline.inference import em
from gmm_pipeline.inference.jobs import FitJob, FitResult
from gmm_pipeline.inference.plugins import Plugin
from gmm_pipeline.inference.scaling import AnyScaling, to_user_units
from gmm_pipeline.model.mixture import AnyArray
from gmm_pipeline.model.multivariate import natural_of
from gmm_pipeline.model.natural import AnyErrors, AnyMixture, M, is_finite, reported

Key = PRNGKeyArray | Num[AnyArray, "2"]


class BootstrapIntervals(NamedTuple):
    """Bootstrap errors and intervals of a fit; NaN where fewer than two replicates were kept."""

    lower: AnyErrors
    upper: AnyErrors
    standard_errors: AnyErrors
    """Standard deviations of the replicates."""
    kept: int
    dropped: int
    """Replicates that diverged or degenerated."""


def replicates(
    job: FitJob, result: FitResult, numbers: Iterable[int], key: Key, *, of_rows: bool = False
) -> list[FitJob]:
    """The same run on resampled data sets, each started once, at the fit.

    Args:
        job: the run.
        result: its fit.
        numbers: of the replicates.
        key: replicate b draws with `fold_in(key, b)`, and so does not depend on the others.
        of_rows: whether rows are drawn, with their weights, rather than what the weights count.
    """
    draw = resampled_rows if of_rows else resampled
    # A gradient's first steps from the fit may be many times longer than a very narrow component is wide.
    plan = job.plan._replace(optimizer=Plugin(em.squarem, ())) if job.floor_of_few else job.plan
    return [
        job._replace(
            plan=plan,
            sample_weights=draw(jax.random.fold_in(key, number), job.sample_weights),
            begin=result.parameters,
            restarts=1,
        )
        for number in numbers
    ]


def resampled(key: Key, sample_weights: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Sample weights of a data set drawn with replacement: Multinomial(m, c / Σ c) with m = Σ c, of sum m.

    A datum of weight c stands for c data. If Σ c is not a whole number, the nearest whole number (at least one) is
    drawn and the counts are scaled to sum to Σ c.

    Args:
        key: of this data set.
        sample_weights: c.
    """
    weights = np.asarray(sample_weights, np.float64)
    total = weights.sum()
    n_draws = max(round(float(total)), 1)
    drawn = np.zeros_like(weights)
    support = weights > 0.0  # rounding of the shares must not give counts to data of weight 0
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    drawn[support] = generator.multinomial(n_draws, weights[support] / total)
    return (drawn * (total / n_draws)).astype(sample_weights.dtype)


def resampled_rows(key: Key, sample_weights: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Sample weights of as many rows as there are, drawn with replacement, each with its weight, scaled to the sum.

    Where weights say how much a row is to be trusted, the rows are what was sampled, and their weights with them. So
    the replicates vary as the errors of the sandwich do.

    Args:
        key: of this data set.
        sample_weights: c.
    """
    weights = np.asarray(sample_weights, np.float64)
    drawn = weights * resampled(key, (weights > 0.0).astype(np.float64))
    return (drawn * (weights.sum() / drawn.sum())).astype(sample_weights.dtype)


def sound(replicate: FitResult, result: FitResult) -> bool:
    """Whether a replicate is usable: finite, and with no degenerate component that is not degenerate in the fit.

    Args:
        replicate: fit of a resampled data set.
        result: the fit it began at.
    """
    return not replicate.diverged and set(replicate.degenerate) <= set(result.degenerate)


def natural(replicate: FitResult, result: FitResult, scaling: AnyScaling, *, noise: bool = False) -> AnyMixture:
    """The mixture of a replicate, in the user's units; NaN throughout where it is not sound.

    Args:
        replicate: fit of a resampled data set.
        result: the fit where it started.
        scaling: from the user's units to the fit's.
        noise: whether there is a noise component.
    """
    found = natural_of(to_user_units(replicate.parameters, scaling), noise=noise)
    return found if sound(replicate, result) else type(found)(*(np.full_like(leaf, np.nan) for leaf in found))


def percentile_intervals(
    fitted: M,
    replicates: Sequence[M],
    level: float,
    degenerate: Sequence[int] = (),
    undetermined: Bool[np.ndarray, "K d"] | None = None,
) -> BootstrapIntervals:
    """Percentile intervals: the quantiles (1 ∓ level) / 2 of the replicates, a number at a time.

    They stay in range and are the same on any scale of a parameter, log or logit; the ends need about 1,000 replicates
    at 0.95 (Efron & Tibshirani 1993, ch. 13).

    Args:
        fitted: the fit, K components.
        replicates: in the same units and the order of the fit's components; those that are not finite are left out.
        level: such as 0.95.
        degenerate: components of the fit whose loc and scale have no errors: at the floor they are the same in each
            replicate, which says nothing about them.
        undetermined: columns in which a component has no data (`unseen.py`), which have no errors either.
    """
    finite = [reported(replicate) for replicate in replicates if is_finite(replicate)]
    kept, dropped = len(finite), len(replicates) - len(finite)
    numbers = reported(fitted)
    kind = type(numbers)
    if kept < 2:
        nothing = kind(*(np.full_like(leaf, np.nan) for leaf in numbers))
        return BootstrapIntervals(nothing, nothing, nothing, kept, dropped)
    stacked = [np.stack(leaves) for leaves in zip(*finite, strict=True)]
    ends = [(1.0 - level) / 2.0, (1.0 + level) / 2.0]
    lower, upper = (kind(*(np.quantile(leaf, end, axis=0) for leaf in stacked)) for end in ends)
    found = lower, upper, kind(*(np.std(leaf, axis=0, ddof=1) for leaf in stacked))
    for leaf in (leaf for one in found for leaf in one[1:]):  # all but the weights
        leaf[list(degenerate)] = np.nan
        if undetermined is not None:
            leaf[undetermined] = np.nan
            if leaf.ndim == 3:
                np.swapaxes(leaf, 1, 2)[undetermined] = np.nan
    return BootstrapIntervals(*found, kept, dropped)
