"""The record of one run of a sweep, with its result or the reason for its failure: written, or kept in memory."""

import logging
import shlex
import time
import traceback
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gmm_pipeline.analysis.answers import Answer
from gmm_pipeline.analysis.estimates import Job
from gmm_pipeline.errors import REPORTED, RunFailed
from gmm_pipeline.execution.computing import Outcome
from gmm_pipeline.execution.planning import Run
from gmm_pipeline.records import artifacts
from gmm_pipeline.records.code_state import code_state
from gmm_pipeline.records.files import as_yaml, finite, write_json, write_text
from gmm_pipeline.records.provenance import provenance
from gmm_pipeline.records.sweeps import DIVERGED, FAILED, FINISHED, NO_RESULT, SweepRun
from gmm_pipeline.records.timings import Timings
from gmm_pipeline.stages.fit import note_data, objective_of, save
from gmm_pipeline.stages.recording import device, divergence

log = logging.getLogger(__name__)


def save_fitted(
    content: dict[str, Any],
    overrides: Sequence[str],
    job: Job,
    found: Answer,
    directory: Path,
    began: datetime,
    sweep: dict[str, Any],
) -> float:
    """Write the record of a run that was computed; returns the objective.

    Args:
        content: the resolved config of the run.
        overrides: its overrides.
        job: what was fitted.
        found: its answer.
        directory: of the record.
        began: when the run's batch was begun.
        sweep: name and id of the sweep and the number of the run.

    Raises:
        RunFailed: the fit diverged; the record says so.
    """
    note_data(job)
    pictured = "all" in (content["figures"]["sweep"], content["animation"]["sweep"])
    timings = Timings(time.perf_counter())
    saved = save(
        content, overrides, job, found, directory, began, timings, pictured=pictured, of_sweep=True, sweep=sweep
    )
    if saved.failed:
        log.error("%s", saved.failed)
    if found.diverged:
        raise reported(RunFailed(f"the fit diverged: {saved.record['error']}"))
    return objective_of(found, content["objective"])


def save_failed(
    content: Mapping[str, Any] | None,
    error: Exception,
    directory: Path,
    overrides: tuple[str, ...],
    digest: str,
    sweep: dict[str, Any],
) -> RunFailed:
    """Write the record of a run that has no result, with the reason; returns what is to be raised.

    Args:
        content: the resolved config of the run, if it could be composed.
        error: why there is no result.
        directory: of the record.
        overrides: of the run.
        digest: of its config, or of its overrides.
        sweep: name and id of the sweep and the number of the run.
    """
    reason = reason_of(error)
    log.error("%s", reason, exc_info=None if isinstance(error, RunFailed | ValueError) else error)
    directory.mkdir(parents=True, exist_ok=True)
    if content is not None:
        write_text(directory / artifacts.CONFIG, as_yaml(content))
    code = code_state()
    artifacts.write_diff(directory, code.diff, code.diff_digest, of_sweep=True)
    now = datetime.now(UTC).isoformat()
    write_json(
        directory / artifacts.RECORD,
        {
            "format": artifacts.FORMAT,
            "status": "failed",
            "error": reason,
            "name": directory.name,
            "command": shlex.join(["python", "-m", "gmm_pipeline", "fit", *overrides]),
            "overrides": list(overrides),
            "digest": digest,
            "started": now,
            "ended": now,
            "provenance": provenance(device()),
            "sweep": sweep,
        },
    )
    return reported(RunFailed(reason))


def reason_of(error: Exception) -> str:
    """Why a run has no result, in one line."""
    lines = str(error).strip().splitlines() or [""]
    # XLA passes on an exception of a function that it calls as the text of a traceback, which ends with the reason.
    said = lines[-1] if "Traceback (most recent call last)" in lines[0] else lines[0]
    if isinstance(error, RunFailed | ValueError) and said:
        return said
    where = traceback.extract_tb(error.__traceback__)[-1:]
    place = f" ({Path(where[0].filename).name}:{where[0].lineno})" if where else ""
    return f"{type(error).__name__}: {said or 'no message'}{place}"


def reported(error: RunFailed) -> RunFailed:
    """The same error, which the sweep's summary reports."""
    error.add_note(REPORTED)
    return error


def as_read(run: Run, outcome: Outcome | None) -> SweepRun:
    """A run as its record would be read, without writing one.

    Args:
        run: as it was planned.
        outcome: of the run; None if it was not computed.
    """
    digest = run.result or run.digest
    common = {"number": run.number, "overrides": run.overrides, "digest": digest, "record": str(run.number)}
    if outcome is None or outcome.job is None or outcome.answer is None:
        reason = (run.mistake if outcome is None else outcome.error) or RunFailed("it was not computed")
        return SweepRun(**common, status=FAILED, error=reason_of(reason), **NO_RESULT)
    job, found = outcome.job, outcome.answer
    dataset = job.dataset
    return SweepRun(
        **common,
        status=DIVERGED if found.diverged else FINISHED,
        error=divergence(job) if found.diverged else None,
        metrics=finite(found.metrics),
        fitted=found.fitted,
        truth=dataset.truth,
        data_name=dataset.name,
        data_digest=dataset.digest,
        unit=dataset.unit,
        columns=tuple(dataset.columns) if dataset.data.ndim > 1 else (),
    )
