"""What is logged to MLflow of a sweep as a whole: from its records alone, so that it is the same when logged later.

The price is that a sweep which was interrupted and one which lacks runs for another reason look the same.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gmm_pipeline.analysis.sweep_answers import best_of, excess_of_same_data, with_results
from gmm_pipeline.records.sweeps import FINISHED, Manifest, SweepRun
from gmm_pipeline.stages import sweep_summary
from gmm_pipeline.tracking.description import in_fence, in_markdown

if TYPE_CHECKING:
    from gmm_pipeline.tracking.runs import TrackedRun
    from gmm_pipeline.tracking.sweeps import SweepTracker

DIGITS = 2
"""After the point, of differences of BIC."""


def sound_best(runs: Sequence[SweepRun], objective: str) -> SweepRun | None:
    """The best run that has a result and is not barred; None if there is none.

    Args:
        runs: of the sweep.
        objective: the metric that they are ranked by.
    """
    if not runs:
        return None
    cost, best = best_of(runs, objective)
    return best if math.isfinite(cost) else None


def unsuccessful(runs: Sequence[SweepRun]) -> list[SweepRun]:
    """The runs that have no result."""
    return [run for run in runs if run.status != FINISHED]


def end_parent(
    tracker: "SweepTracker",
    manifest: Manifest,
    runs: Sequence[SweepRun],
    *,
    interrupted: bool,
    ended: str | None = None,
) -> "TrackedRun":
    """Log the answer of a sweep to its parent run.

    Args:
        tracker: of the sweep.
        manifest: of the sweep.
        runs: those that have a record.
        interrupted: the sweep ended before all of its runs.
        ended: when the sweep ended, as ISO 8601; None for now.

    Raises:
        TrackingError: the store or the server failed.
    """
    statuses = [run.status for run in runs]
    metrics = {f"n_{kind}": float(statuses.count(kind)) for kind in dict.fromkeys(statuses)}
    note = sweep_summary.counts(manifest, runs)
    best = sound_best(runs, manifest.objective)
    if best is not None and best.metrics[manifest.objective] is not None:
        best_value = float(best.metrics[manifest.objective])
        metrics[f"best_{manifest.objective}"] = best_value
        setting = " ".join(best.overrides)
        note += f"\n\nBest {manifest.objective}: {best_value:.8g}, run {best.number} ({setting})"
    return tracker.finish(
        "KILLED" if interrupted else "FAILED" if unsuccessful(runs) else "FINISHED",
        metrics,
        {"command": manifest.command, "objective": manifest.objective},
        {},
        f"{in_markdown(note)}\n\n{in_fence(manifest.command)}",
        excess=_excess(runs),
        best=None if best is None else best.record,
        ended=ended,
    )


def _excess(runs: Sequence[SweepRun]) -> dict[int, float]:
    """BIC above the lowest of the runs on the same data, by number, of those that can be compared.

    Rounded, since the UI shows as many digits as fit and none of them has a meaning below `SAME_OPTIMUM`.
    """
    comparable = with_results(runs, "bic")
    found = excess_of_same_data(comparable, "bic")
    return {run.number: round(value, DIGITS) for run, value in zip(comparable, found.tolist(), strict=True)}
