"""How far the fits of a sweep are from the mixtures that generated their data.

A fit is compared with its truth after matching, by its worst parameter, in units that do not depend on the data set:
the true scale for locs and scales, the true weight for weights. Standard errors would not do: with few data they are so
wide that any estimate lies within a few of them. The price: a mixture with one light component is judged by that
component.
"""

import math
from collections.abc import Sequence

from gmm_pipeline.analysis.matching import largest_errors
from gmm_pipeline.analysis.sweep_answers import barred
from gmm_pipeline.model.natural import M
from gmm_pipeline.records.sweeps import DIVERGED, FINISHED, SweepRun


def worst_error(fitted: M, truth: M) -> float:
    """The largest of all |μ̂ − μ|/σ, |σ̂ − σ|/σ and |ŵ − w|/w; infinite if a component has no partner.

    In several columns, distances and relative errors are those of the worst direction, so that no linear map of the
    columns changes them.

    Args:
        fitted: the estimates, K components.
        truth: what they estimate, L components.
    """
    found = largest_errors(fitted, truth)
    return math.inf if found is None else max(found)


def worst_errors(runs: Sequence[SweepRun]) -> dict[int, float]:
    """Worst error by number of the run, infinite without a sound fit; empty if a truth is not known.

    Args:
        runs: of a sweep; those that failed before their data were loaded are left out.
    """
    ended = [run for run in runs if run.status in (FINISHED, DIVERGED) and run.fitted is not None]
    if any(run.truth is None for run in ended):
        return {}
    return {
        run.number: worst_error(run.fitted, run.truth)
        if run.status == FINISHED and barred(run) is None and run.fitted is not None and run.truth is not None
        else math.inf
        for run in ended
    }
