"""The requested record: a folder, the newest one, or a run in MLflow.

A run in MLflow stands for the record that it was logged from or, if that is gone or on another machine, for the copies
that MLflow has. The price: those are in a folder that lasts as long as the caller keeps it.
"""

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from gmm_pipeline import program
from gmm_pipeline.analysis.sweep_answers import best_of, compared, same_data, with_results
from gmm_pipeline.errors import InputError, nearest
from gmm_pipeline.model.vocabulary import NAMES
from gmm_pipeline.records import artifacts
from gmm_pipeline.records.files import whole_file, write_json
from gmm_pipeline.records.finding import read_part
from gmm_pipeline.records.sweeps import MANIFEST, read_manifest, read_runs
from gmm_pipeline.tracking.finding import COPIED, record_of_tracked

RUN_ID = re.compile(r"[0-9a-f]{32}")
LATEST = "latest"
ORIGINS = "origins"
ALL = "all"


def find_record(run: str, outputs_dir: str) -> Path:
    """The folder of a finished record.

    Args:
        run: a folder, or `latest` for the newest fit under `outputs_dir`; of a sweep that is its best run.
        outputs_dir: folder of the records.

    Raises:
        InputError: there is no such record.
    """
    finished = [Path(folder) for _, folder in sorted(_written(outputs_dir))]
    if run == LATEST:
        if not finished:
            raise InputError(
                "run",
                expected=f"a record under {outputs_dir}",
                came="none",
                remedy=f"Make one: {program.name()} fit.",
            )
        best = best_of_sweep(finished[-1].parent)
        return finished[-1] if best is None else best.record
    folder = Path(run)
    if not (folder / artifacts.RECORD).is_file():
        close = nearest(run, [str(path) for path in finished])
        if (folder / MANIFEST).is_file():
            remedy = f"That is a sweep; name one of its runs, such as {folder / '0'}."
        else:
            remedy = f"Did you mean {close[0]}?" if close else "The newest fit is run=latest."
        raise InputError("run", expected=f"the folder of a record, with a {artifacts.RECORD}", came=run, remedy=remedy)
    return folder


def _written(outputs_dir: str) -> Iterator[tuple[int, str]]:
    """When each record was written, and its folder, without a Path for each: there may be tens of thousands."""
    outputs = Path(outputs_dir)
    for place in (outputs / "fit", *outputs.glob("sweeps/*")):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(place) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                    yield os.stat(f"{entry.path}/{artifacts.RECORD}").st_mtime_ns, entry.path  # noqa: PTH116


class BestRun(NamedTuple):
    """Which run of a sweep `latest` is."""

    record: Path
    description: str
    """What it is the best of."""


def best_of_sweep(folder: Path) -> BestRun | None:
    """The run of a sweep with the best objective among those that are not barred; None if there is none.

    Args:
        folder: of a sweep, or any other.
    """
    if not (folder / MANIFEST).is_file():
        return None
    manifest = read_manifest(folder)
    runs = compared(read_runs(folder, manifest))
    sound = with_results(runs, manifest.objective)
    if not sound:
        return None
    _, best = best_of(sound, manifest.objective)
    so_far = "" if len(runs) == len(manifest.runs) else f" so far, of {len(manifest.runs):,},"
    differ = "" if same_data(sound) else ", whose data differ"
    name = NAMES.get(manifest.objective, manifest.objective)
    return BestRun(
        folder / str(best.number),
        f"the best of {len(runs):,} run{'s' * (len(runs) != 1)}{so_far} of the sweep {manifest.name} by {name}{differ}",
    )


@contextlib.contextmanager
def record_folder(run: str, outputs_dir: str, tracking_uri: str | None, *, whole: bool = False) -> Iterator[Path]:
    """A folder with `record.json`, `parameters.json` and, if any, `data.json` of a run: its record or a temporary copy.

    Args:
        run: a folder, `latest`, or the id of a run in MLflow.
        outputs_dir: folder of the records.
        tracking_uri: of the store to look the run up in; None for no store.
        whole: all files of the record are needed, and the folder of a sweep is accepted too.

    Raises:
        InputError: there is no such run, or it has no record.
        TrackingError: the store or the server failed.
    """
    if RUN_ID.fullmatch(run) and not Path(run).exists():
        with tempfile.TemporaryDirectory(prefix="gmm_pipeline-") as folder:
            yield record_of_tracked(run, tracking_uri, Path(folder), (*COPIED, artifacts.DATA), whole=whole)
    else:
        yield find_record(run, outputs_dir)


def lasting_record(run: str, outputs_dir: str, tracking_uri: str | None) -> Path:
    """The folder of a finished record or, if it is gone, a permanent copy of what MLflow has of it.

    Args:
        run: a folder, `latest`, or the id of a run in MLflow.
        outputs_dir: folder of the records; copies are put under `origins` there.
        tracking_uri: of the store to look the run up in; None for no store.

    Raises:
        InputError: there is no such run, or it has no record.
        TrackingError: the store or the server failed.
    """
    if not RUN_ID.fullmatch(run) or Path(run).exists():
        return find_record(run, outputs_dir)
    with tempfile.TemporaryDirectory(prefix="gmm_pipeline-") as folder:
        source = record_of_tracked(run, tracking_uri, Path(folder), wanted=artifacts.FILES)
        if source != Path(folder):
            return source
        kept = Path(outputs_dir) / ORIGINS / run
        for name in artifacts.FILES:
            if (source / name).is_file():
                with whole_file(kept / name) as stream:
                    stream.write((source / name).read_bytes())
    # The logged file was written before the run had an id.
    about = read_part(kept / artifacts.RECORD)
    write_json(kept / artifacts.RECORD, about | {"tracking": {"uri": tracking_uri, "run_id": run}})
    return kept
