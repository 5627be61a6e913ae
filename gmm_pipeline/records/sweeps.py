"""A sweep on disk: its manifest and the records of its runs.

The manifest `sweep.json` is written before any run, so that an interrupted sweep knows what is missing; everything else
follows from the records, the only source. Histories and labels are not read, so that thousands of runs are read in
seconds; the price: a picture that needs a history reads it itself.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gmm_pipeline.errors import InputError
from gmm_pipeline.model.natural import AnyMixture
from gmm_pipeline.records import artifacts, contents
from gmm_pipeline.records.consistency import check_columns, check_result
from gmm_pipeline.records.files import write_json
from gmm_pipeline.records.json_files import FORMATS, NewerFormatError, as_part, read_json
from gmm_pipeline.records.overrides import differing_keys, override_values
from gmm_pipeline.records.schema import MANIFEST

FINISHED, DIVERGED, FAILED = "finished", "diverged", "failed"
SUMMED_UP = (artifacts.DATA, artifacts.METRICS, artifacts.PARAMETERS)
"""Files of a record that a sweep reads."""


class ManifestRun(NamedTuple):
    """A run that belongs to the sweep."""

    number: int
    overrides: tuple[str, ...]
    digest: str | None
    """Of config, data and code; None if the config was invalid."""


class Manifest(NamedTuple):
    """The description of a sweep, which exists before its runs."""

    id: str
    name: str
    command: str
    started: str
    """ISO 8601, with offset; empty with `timings=false`."""
    objective: str
    runs: list[ManifestRun]
    tracking: dict[str, Any] | None = None
    """Where the sweep was logged."""


class SweepRun(NamedTuple):
    """The record of a run, without its history."""

    number: int
    overrides: tuple[str, ...]
    status: str
    """`finished`, `diverged` or `failed`."""
    error: str | None
    metrics: dict[str, Any]
    """Empty if the run failed; None for values that are not finite."""
    fitted: AnyMixture | None
    truth: AnyMixture | None
    data_name: str | None
    data_digest: str | None
    unit: str | None
    digest: str | None
    record: str
    """The record's folder, relative to the sweep's."""
    columns: tuple[str, ...] = ()
    """Names of several columns; empty for one column."""


NO_RESULT: dict[str, Any] = {"metrics": {}, "fitted": None, "truth": None}
NO_RESULT |= {"data_name": None, "data_digest": None, "unit": None}
"""Values for what the record of a failed run lacks."""


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `sweep.json`, whole or not at all.

    Args:
        folder: of the sweep.
        manifest: of the sweep.
    """
    content = {"format": FORMATS[MANIFEST], **manifest._asdict(), "runs": [run._asdict() for run in manifest.runs]}
    if manifest.tracking is None:
        del content["tracking"]
    write_json(folder / MANIFEST, content)


def read_manifest(folder: Path) -> Manifest:
    """Read what `write_manifest` wrote.

    Raises:
        InputError: the file is missing or damaged, or has a format that this version does not support.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise InputError(
            str(folder),
            expected="the folder of a sweep",
            came=f"no {MANIFEST} in it",
            remedy="Name a folder that `fit --multirun` made.",
        )
    try:
        content = read_json(path)
        return Manifest(
            **{name: content[name] for name in ("id", "name", "command", "started", "objective")},
            runs=[ManifestRun(run["number"], tuple(run["overrides"]), run["digest"]) for run in content["runs"]],
            tracking=content.get("tracking"),
        )
    except NewerFormatError:
        raise
    except (ValueError, OSError) as error:
        came = error.came if isinstance(error, InputError) else str(error)
    raise InputError(
        str(path),
        expected="the manifest of a sweep",
        came=came,
        remedy="Restore the file from a copy, or run the sweep again under another name.",
    )


def read_runs(folder: Path, manifest: Manifest) -> list[SweepRun]:
    """Read the records of a sweep, in order of number; runs without a record, such as interrupted ones, are left out.

    Args:
        folder: of the sweep.
        manifest: of the sweep.
    """
    described: dict[bytes, tuple[dict[str, Any], AnyMixture | None]] = {}
    runs = sorted(manifest.runs, key=lambda run: run.number)
    found = (_read_run(folder, run, described) for run in runs)
    return [run for run in found if run is not None]


def _read_run(
    folder: Path, asked: ManifestRun, described: dict[bytes, tuple[dict[str, Any], AnyMixture | None]]
) -> SweepRun | None:
    directory = folder / str(asked.number)
    try:
        record = read_json(directory / artifacts.RECORD)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, OSError) as error:
        return _unreadable(asked, f"{artifacts.RECORD}: {error}")
    common = {
        "number": asked.number,
        "overrides": asked.overrides,
        "status": record.get("status", FAILED),
        "error": record.get("error"),
        "digest": record.get("digest", asked.digest),
        "record": str(asked.number),
    }
    if common["status"] == FAILED:
        return SweepRun(**common, **NO_RESULT)
    try:
        wrong = contents.altered(directory, record, SUMMED_UP)
        if wrong is not None:
            return _unreadable(asked, f"{wrong} is not the file that was written")
        # Hundreds of runs share the same data, whose description is read once.
        text = (directory / artifacts.DATA).read_bytes()
        if text not in described:
            data = as_part(text, directory / artifacts.DATA)
            truth = None if data.get("truth") is None else artifacts.mixture_from_json(data["truth"])
            described[text] = data, truth
        data, truth = described[text]
        fitted = artifacts.mixture_from_json(read_json(directory / artifacts.PARAMETERS))
        if common["status"] == FINISHED:
            check_result(fitted)
        check_columns(fitted, data)
        return SweepRun(
            **common,
            metrics=read_json(directory / artifacts.METRICS),
            fitted=fitted,
            truth=truth,
            data_name=data["name"],
            data_digest=data["digest"],
            unit=data.get("unit"),
            columns=tuple(data.get("columns", ())),
        )
    except (ValueError, OSError) as error:
        said = f"{error.where}: {error.came}" if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
        return _unreadable(asked, said)


def _unreadable(asked: ManifestRun, reason: str) -> SweepRun:
    """A run with a damaged record counts as failed; the rest of the sweep is not affected."""
    return SweepRun(
        number=asked.number,
        overrides=asked.overrides,
        status=FAILED,
        error=f"the record cannot be read: {reason}".splitlines()[0],
        **NO_RESULT,
        digest=asked.digest,
        record=str(asked.number),
    )


def differing_overrides(runs: Manifest | Sequence[ManifestRun] | Sequence[SweepRun]) -> list[str]:
    """Keys of the overrides whose values differ between runs, in order of first occurrence."""
    found = runs.runs if isinstance(runs, Manifest) else runs
    return differing_keys([override_values(run.overrides) for run in found])
