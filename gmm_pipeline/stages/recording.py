"""What a fit leaves on disk, but for its pictures: result files, and `record.json`, which says what they are.

The results come first and `record.json` last, so that a folder without it is no result. The price: it is written again
once there are pictures and a tracker has answered.
"""

import functools
import shlex
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from gmm_pipeline.analysis.answers import Answer, Interval
from gmm_pipeline.analysis.doubts import BARRING, clause_of
from gmm_pipeline.analysis.estimates import Job
from gmm_pipeline.analysis.selection import problem
from gmm_pipeline.analysis.wording import about_choice, verdict
from gmm_pipeline.inference.batching import width_of
from gmm_pipeline.records import artifacts
from gmm_pipeline.records.code_state import code_state
from gmm_pipeline.records.datasets import describe
from gmm_pipeline.records.files import as_yaml, read_json, write_columns, write_json, write_text
from gmm_pipeline.records.provenance import NO_GIT, provenance
from gmm_pipeline.records.timings import Timings
from gmm_pipeline.stages.loading import digests, run_digest

PASSING = ("name", "started", "ended", "timings", "tracking")
"""What differs between two runs of the same config, besides the state of git."""
NOT_COLUMNS = ("n_components", "equal_scales", "doubts")
"""What the table of a selection says in other words."""


def write_results(content: Mapping[str, Any], job: Job, found: Answer, directory: Path, *, of_sweep: bool) -> None:
    """Write what a fit found, without its pictures and `record.json`.

    Args:
        content: the resolved config.
        job: what was fitted.
        found: what was found.
        directory: of the record.
        of_sweep: whether it lies in the folder of a sweep, whose runs share the diff of the code.
    """
    write_text(directory / artifacts.CONFIG, as_yaml(content))
    write_json(directory / artifacts.DATA, {**describe(job.dataset), **_as_asked(content)})
    write_json(directory / artifacts.PARAMETERS, parameters_as_json(job, found))
    write_json(directory / artifacts.METRICS, found.metrics)
    search = {} if found.searched is None else {"search": found.searched._asdict()}
    write_json(
        directory / artifacts.RESTARTS, {"restarts": [restart._asdict() for restart in found.restarts], **search}
    )
    if found.candidates:
        write_columns(directory / artifacts.SELECTION, selection_columns(found))
    if found.replicates is not None:
        artifacts.write_mixtures(directory / artifacts.REPLICATES, found.replicates)
    artifacts.write_history(directory / artifacts.HISTORY, found.history)
    artifacts.write_loss(directory / artifacts.LOSS, found.history)
    # The runs of a sweep have their labels once: as text they take longer than a short fit.
    artifacts.write_assignments(directory, found.assignments, csv_rows=0 if of_sweep else content["csv_rows"])
    if not content["timings"]:
        return
    code = code_state()
    artifacts.write_diff(directory, code.diff, code.diff_digest, of_sweep=of_sweep)


def _as_asked(content: Mapping[str, Any]) -> dict[str, str]:
    """The path of the data as it was typed, for a record that does not depend on where the checkout lies."""
    path = None if content["timings"] else content["data"].get("path")
    return {} if path is None else {"source": str(path)}


def parameters_as_json(job: Job, found: Answer) -> dict[str, Any]:
    """What `parameters.json` says: estimates, errors and intervals, by the names of the parameters."""

    def interval(one: Interval) -> dict[str, Any]:
        return {name: artifacts.mixture_as_json(values) for name, values in one._asdict().items()}

    return {
        **artifacts.mixture_as_json(found.fitted),
        "scales_are": "equal" if found.equal_scales else "free",
        "degenerate": list(found.degenerate),
        **({"learned": found.learned} if found.learned else {}),
        "level": job.asked.level,
        **interval(found.asymptotic),
        **({} if found.bootstrap is None else {"bootstrap": interval(found.bootstrap)}),
        "unconstrained": found.unconstrained._asdict(),
    }


def selection_columns(found: Answer) -> dict[str, Any]:
    """The candidates as a table, a row each."""
    rows = [
        {
            "n_components": one.n_components,
            "scales": "equal" if one.equal_scales else "free",
            "chosen": index == found.chosen,
            **{
                name: value
                for name, value in one._asdict().items()
                if name not in ("n_components", "equal_scales", "doubts")
            },
            "degenerate": len(one.degenerate),
            "barred": problem(one) or "",
        }
        for index, one in enumerate(found.candidates)
    ]
    columns: dict[str, Any] = {}
    for name in rows[0]:
        values = [row[name] for row in rows]
        if not any(isinstance(value, str) for value in values):
            values = np.array([np.nan if value is None else value for value in values])
        columns[name] = values
    tested = {test.n_components: test for test in found.tests}
    if tested:
        columns["p_value"] = np.array(
            [tested[k].p_value if k in tested else np.nan for k in columns["n_components"].tolist()]
        )
    return columns


def about(
    content: Mapping[str, Any], words: Sequence[str], job: Job, found: Answer, directory: Path, began: datetime
) -> dict[str, Any]:
    """What `record.json` says of a fit whose results are written, but for its timings.

    Args:
        content: the resolved config.
        words: overrides of the run.
        job: what was fitted.
        found: what was found.
        directory: of the record.
        began: when the work began.
    """
    return {
        "format": artifacts.FORMAT,
        "status": "diverged" if found.diverged else "finished",
        **({"error": divergence(job)} if found.diverged else {}),
        "name": directory.name,
        "command": shlex.join(["python", "-m", "gmm_pipeline", "fit", *words]),
        "overrides": list(words),
        "verdict": verdict(job.asked, found),
        **({"doubts": doubts} if (doubts := _doubts(job, found)) else {}),
        "digest": run_digest(content, job),
        "digests": {**digests(content, job), "results": artifacts.digests_of(directory)},
        "files": artifacts.digests_of(directory, artifacts.ASKED),
        "width": width_of(job.fit)._asdict(),
        "started": began.isoformat(),
        "ended": datetime.now(UTC).isoformat(),
        "provenance": provenance(device()),
        **linked(content),
    }


def _doubts(job: Job, found: Answer) -> list[dict[str, Any]]:
    """What speaks against the fit or against the choice, for whoever shows the record."""
    by_fit = [(doubt.reason, doubt.reason in BARRING, clause_of(doubt)) for doubt in found.doubts]
    by_choice = [("choice", False, clause) for clause in about_choice(job.asked, found)]
    return [{"reason": reason, "bars": bars, "words": clause} for reason, bars, clause in by_fit + by_choice]


def linked(content: Mapping[str, Any]) -> dict[str, Any]:
    """Which record a run took its values from, where it took them from one: its folder, its id in MLflow, its digests.

    Args:
        content: the resolved config of the run.
    """
    found = None if content.get("config") is None else _origin(Path(content["config"]))
    return {} if found is None else {"origin": found}


@functools.lru_cache(maxsize=8)  # the runs of a sweep share it
def _origin(config: Path) -> dict[str, Any] | None:
    record = config.parent
    if config.name != artifacts.CONFIG or not (record / artifacts.RECORD).is_file():
        return None
    try:
        about = read_json(record / artifacts.RECORD)
    except (OSError, ValueError):  # no fit is lost over it
        return None
    run_id = about.get("tracking", {}).get("run_id")
    return {"record": str(record.absolute()), "run_id": run_id, "digests": about.get("digests", {})}


def write_record(directory: Path, record: Mapping[str, Any], timings: Timings, *, timed: bool) -> None:
    """Write `record.json`; with `timings=false` without what differs between two runs of the same config and code."""
    content = {**record, "timings": timings.rounded()}
    if not timed:
        content = {name: value for name, value in content.items() if name not in PASSING}
        # A commit of anything else, or a change that has yet to be committed, is no change of the code that ran.
        content["provenance"] = {**content["provenance"], "git": NO_GIT}
    write_json(directory / artifacts.RECORD, content)


def divergence(job: Job) -> str:
    """Why a fit that diverged has no result."""
    return f"after {job.fit.steps} steps its loss or parameters are not finite"


def device() -> str:
    """The kind of device that fits run on, as JAX names it."""
    import jax

    return jax.devices()[0].device_kind
