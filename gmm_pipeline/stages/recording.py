"""What a fit writes to disk, except pictures: result files, and `record.json`, which describes them.

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
from gmm_pipeline.analysis.estimates import Job, Progress
from gmm_pipeline.analysis.selection import problem
from gmm_pipeline.analysis.wording import about_choice, verdict
from gmm_pipeline.inference.batching import width_of
from gmm_pipeline.model.natural import MultivariateMixture
from gmm_pipeline.model.vocabulary import LABELLING
from gmm_pipeline.records import artifacts
from gmm_pipeline.records.assignments import write_assignments
from gmm_pipeline.records.code_state import code_state
from gmm_pipeline.records.datasets import describe
from gmm_pipeline.records.files import as_yaml, write_columns, write_json, write_text
from gmm_pipeline.records.json_files import read_json
from gmm_pipeline.records.provenance import NO_GIT, provenance
from gmm_pipeline.records.reading import Record, record_of
from gmm_pipeline.records.sweeps import DIVERGED, FINISHED
from gmm_pipeline.records.timings import Timings
from gmm_pipeline.stages.loading import digests, run_digest

PASSING = ("name", "started", "ended", "timings", "tracking")
"""What differs between two runs of the same config, besides the state of git."""
NOT_COLUMNS = ("n_components", "equal_scales", "covariance", "doubts")
"""Fields of a candidate that the table of a selection has under other names."""


def write_results(
    content: Mapping[str, Any],
    job: Job,
    result: Answer,
    directory: Path,
    *,
    of_sweep: bool,
    progress: Progress | None = None,
) -> None:
    """Write the results of a fit, except its pictures and `record.json`.

    Args:
        content: the resolved config.
        job: what was fitted.
        result: of the fit.
        directory: of the record.
        of_sweep: whether the record is in the folder of a sweep, whose runs share the code diff.
        progress: called with (rows written, rows in all, what); None for no progress.
    """
    write_text(directory / artifacts.CONFIG, as_yaml(content))
    write_json(directory / artifacts.DATA, {**describe(job.dataset), **_as_asked(content)})
    write_json(directory / artifacts.PARAMETERS, parameters_as_json(job, result))
    write_json(directory / artifacts.METRICS, result.metrics)
    write_json(directory / artifacts.RESTARTS, _starts(result))
    if result.candidates:
        write_columns(directory / artifacts.SELECTION, selection_columns(result))
    if result.replicates is not None:
        artifacts.write_mixtures(directory / artifacts.REPLICATES, result.replicates)
    artifacts.write_history(directory / artifacts.HISTORY, result.history)
    artifacts.write_loss(directory / artifacts.LOSS, result.history)
    # Runs of a sweep have no labels as text: writing these takes longer than a short fit.
    n, csv_rows = len(job.dataset.data), 0 if of_sweep else content["csv_rows"]
    written = None if progress is None else lambda rows: progress(rows, n, LABELLING)
    write_assignments(directory, result.assignments, csv_rows=csv_rows, written=written)
    if not content["timings"]:
        return
    code = code_state()
    artifacts.write_diff(directory, code.diff, code.diff_digest, of_sweep=of_sweep)


def record_of_fit(content: dict[str, Any], job: Job, result: Answer) -> Record:
    """The record of a fit, without its folder.

    Args:
        content: the resolved config.
        job: what was fitted.
        result: of the fit.
    """
    columns = selection_columns(result) if result.candidates else None
    return record_of(
        about={
            **_status(job, result),
            "name": job.dataset.name,
            "verdict": verdict(job.asked, result),
            "doubts": _doubts(job, result),
        },
        config=content,
        data_info={**describe(job.dataset), **_as_asked(content)},
        parameters=parameters_as_json(job, result),
        metrics=result.metrics,
        replicates=result.replicates,
        starts=_starts(result),
        selection=None if columns is None else {name: _plain(values) for name, values in columns.items()},
        history=result.history,
        data=job.dataset.data,
        sample_weights=job.dataset.sample_weights,
    )


def _starts(result: Answer) -> dict[str, Any]:
    """The content of `restarts.json`. What a search left out is told of among the doubts."""
    searched = {} if result.searched is None else result.searched._asdict()
    searched.pop("narrow", None)
    return {"restarts": [restart._asdict() for restart in result.restarts]} | ({"search": searched} if searched else {})


def _plain(values: Any) -> list[Any]:
    """A column as it is read from a file: None for a missing number or text."""
    return [
        None if one == "" or (isinstance(one, float) and np.isnan(one)) else one for one in np.asarray(values).tolist()
    ]


def _as_asked(content: Mapping[str, Any]) -> dict[str, str]:
    """The path of the data as it was typed, for a record that does not depend on where the checkout is."""
    path = None if content["timings"] else content["data"].get("path")
    return {} if path is None else {"source": str(path)}


def parameters_as_json(job: Job, result: Answer) -> dict[str, Any]:
    """The content of `parameters.json`: estimates, errors and intervals, by the names of the parameters.

    Args:
        job: what was fitted.
        result: of the fit.
    """

    def interval(one: Interval) -> dict[str, Any]:
        return {name: artifacts.mixture_as_json(values) for name, values in one._asdict().items()}

    return {
        **artifacts.mixture_as_json(result.fitted),
        **_of_model(job, result),
        **({} if result.noise is None else {"noise": {"kind": job.asked.noise, **result.noise._asdict()}}),
        "degenerate": list(result.degenerate),
        **({"learned": result.learned} if result.learned else {}),
        "level": job.asked.level,
        **interval(result.asymptotic),
        **({} if result.bootstrap is None else {"bootstrap": interval(result.bootstrap)}),
        "unconstrained": {name: leaf for name, leaf in result.unconstrained._asdict().items() if leaf is not None},
    }


def _of_model(job: Job, result: Answer) -> dict[str, Any]:
    """What components share, and, of several columns, what follows from the covariances."""
    if not isinstance(result.fitted, MultivariateMixture):
        return {"scales_are": "equal" if result.equal_scales else "free"}
    return {
        "scales": result.fitted.scales.tolist(),
        "correlations": result.fitted.correlations.tolist(),
        "columns": list(job.dataset.columns),
        "covariance_model": result.covariance,
        **_factors(result),
    }


def _factors(result: Answer) -> dict[str, Any]:
    """Loadings and uniquenesses in the user's units, L and Ψ of Σ = L Lᵀ + Ψ; nothing of other models."""
    parameters = result.unconstrained
    if parameters.loadings is None:
        return {}
    scales = np.exp(parameters.log_component_scales)
    return {"loadings": (scales[..., None] * parameters.loadings).tolist(), "uniquenesses": (scales**2).tolist()}


def selection_columns(result: Answer) -> dict[str, Any]:
    """The candidates as columns of a table, one row each."""
    rows = [
        {
            "n_components": one.n_components,
            **({"covariance": one.covariance} if one.covariance else {}),
            **({} if one.covariance else {"scales": "equal" if one.equal_scales else "free"}),
            "chosen": index == result.chosen,
            **{name: value for name, value in one._asdict().items() if name not in NOT_COLUMNS},
            "degenerate": len(one.degenerate),
            "barred": problem(one) or "",
        }
        for index, one in enumerate(result.candidates)
    ]
    columns: dict[str, Any] = {}
    for name in rows[0]:
        values = [row[name] for row in rows]
        if not any(isinstance(value, str) for value in values):
            values = np.array([np.nan if value is None else value for value in values])
        columns[name] = values
    tested = {test.n_components: test for test in result.tests}
    if tested:
        columns["p_value"] = np.array(
            [tested[k].p_value if k in tested else np.nan for k in columns["n_components"].tolist()]
        )
    return columns


def about(
    content: Mapping[str, Any], overrides: Sequence[str], job: Job, result: Answer, directory: Path, began: datetime
) -> dict[str, Any]:
    """The content of `record.json`, without its timings, for a fit whose results are written.

    Args:
        content: the resolved config.
        overrides: of the run.
        job: what was fitted.
        result: of the fit.
        directory: of the record.
        began: when the work began.
    """
    return {
        "format": artifacts.FORMAT,
        **_status(job, result),
        "name": directory.name,
        "command": shlex.join(["python", "-m", "gmm_pipeline", "fit", *overrides]),
        "overrides": list(overrides),
        "verdict": verdict(job.asked, result),
        **({"doubts": doubts} if (doubts := _doubts(job, result)) else {}),
        "digest": run_digest(content, job),
        "digests": {**digests(content, job), "results": artifacts.digests_of(directory)},
        "files": artifacts.digests_of(directory, artifacts.ASKED),
        "width": width_of(job.fit)._asdict(),
        "started": began.isoformat(),
        "ended": max(began, datetime.now(UTC)).isoformat(),  # a clock may be set back
        "provenance": provenance(device()),
        **linked(content),
    }


def _status(job: Job, result: Answer) -> dict[str, str]:
    return {"status": DIVERGED, "error": divergence(job)} if result.diverged else {"status": FINISHED}


def _doubts(job: Job, result: Answer) -> list[dict[str, Any]]:
    """What speaks against the fit or the choice, for whatever shows the record."""
    of_columns = bool(result.covariance)
    by_fit = [
        (doubt.reason, doubt.reason in BARRING, clause_of(doubt, of_columns=of_columns)) for doubt in result.doubts
    ]
    by_choice = [("choice", False, clause) for clause in about_choice(job.asked, result)]
    return [{"reason": reason, "bars": bars, "words": clause} for reason, bars, clause in by_fit + by_choice]


def linked(content: Mapping[str, Any]) -> dict[str, Any]:
    """The record that a run took its values from, if any: its folder, its id in MLflow, its digests.

    Args:
        content: the resolved config of the run.
    """
    origin = None if content.get("config") is None else _origin(Path(content["config"]))
    return {} if origin is None else {"origin": origin}


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
    """Write `record.json`; with `timings=false`, without what differs between two runs of one config and code.

    Args:
        directory: of the record.
        record: the content, without its timings.
        timings: of the run.
        timed: the key `timings` of the config.
    """
    content = {**record, "timings": timings.rounded()}
    if not timed:
        content = {name: value for name, value in content.items() if name not in PASSING}
        # Neither a commit of something else nor an uncommitted change need be a change of the code that ran.
        content["provenance"] = {**content["provenance"], "git": NO_GIT}
    write_json(directory / artifacts.RECORD, content)


def divergence(job: Job) -> str:
    """Why a fit that diverged has no result."""
    of_columns = ", or a covariance is not positive definite to rounding" if job.fit.covariance else ""
    return f"after {job.fit.steps} steps its loss or parameters are not finite{of_columns}"


def device() -> str:
    """The kind of device that fits run on, as JAX names it."""
    import jax

    return jax.local_devices()[0].device_kind
