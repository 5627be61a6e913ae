"""`report`: one self-contained page about a run or a sweep, beside its other files and in MLflow.

The page is a function of the files alone, so that it is the same bytes for the same record. The price: it does not say
when it was made.
"""

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from gmm_pipeline import extras
from gmm_pipeline.analysis.sweep_answers import compared, settings_of, with_results
from gmm_pipeline.errors import InputError
from gmm_pipeline.records import artifacts, sweeps
from gmm_pipeline.records.files import write_text
from gmm_pipeline.records.json_files import read_json
from gmm_pipeline.records.sweep_table import PARQUET
from gmm_pipeline.stages import terminal
from gmm_pipeline.stages.finding import LATEST, RUN_ID, best_of_sweep, find_record, record_folder
from gmm_pipeline.stages.running import check_output, quoted_override, shown
from gmm_pipeline.tracking.store import check_tracking


def run(cfg: DictConfig, *, started: float) -> None:
    """Write the page about a run or a sweep, attach it to its MLflow run, and print where it is.

    Args:
        cfg: the composed config.
        started: when the program began, on the performance counter; not used.

    Raises:
        InputError: a setting is out of its range, there is no such run, or a package of the extra is not installed.
    """
    check(cfg)
    with requested(cfg) as folder:
        page = (page_of_sweep if (folder / sweeps.MANIFEST).is_file() else page_of_run)(cfg, folder)
        tracking = tracking_of(cfg, folder)
        output = output_of(cfg, folder)
        best = best_of_sweep(folder)
    write_text(output, page)
    added = tracking is not None and cfg.tracking.uri is not None and track(output, tracking, cfg.tracking.uri)
    if cfg.run == LATEST and best is not None:
        terminal.say(f"the best run: {shown(best.record.absolute())}, {best.description}")
    terminal.say(f"report: {shown(output.absolute())}{' (also attached to its MLflow run)' if added else ''}")


def check(cfg: DictConfig) -> None:
    """Refuse files that cannot be used and a missing extra, before any work.

    Raises:
        InputError: which key, or which package of the extra.
    """
    extras.require("plotly", "plotly", where="report", purpose="the plots of the page")
    extras.require("jinja2", "jinja2", where="report", purpose="the templates of the page")
    check_tracking(cfg.tracking)
    if cfg.film is not None and not Path(cfg.film).is_dir():
        raise InputError(
            "film",
            expected="the folder of an animation",
            came=f"{cfg.film}",
            remedy="`animate output=FOLDER` makes one.",
        )
    if cfg.output is None:
        return
    if Path(cfg.output).suffix != ".html":
        raise InputError(
            "output",
            expected="a file name that ends in .html",
            came=cfg.output,
            remedy=f"For example output={artifacts.REPORT}.",
        )
    if Path(cfg.output).is_dir():
        raise InputError(
            "output", expected="the name of a file", came=f"{cfg.output}, a folder", remedy="Name a file in it."
        )
    check_output(Path(cfg.output), page=artifacts.REPORT)


@contextlib.contextmanager
def requested(cfg: DictConfig) -> Iterator[Path]:
    """The folder of the requested record or sweep, or a temporary copy of a record that only MLflow has.

    Raises:
        InputError: there is none.
    """
    if cfg.run == LATEST:
        newest = find_record(LATEST, cfg.outputs_dir)
        yield newest.parent if (newest.parent / sweeps.MANIFEST).is_file() else newest
    elif (Path(cfg.run) / sweeps.MANIFEST).is_file():
        yield Path(cfg.run)
    else:
        with record_folder(cfg.run, cfg.outputs_dir, cfg.tracking.uri, whole=True) as folder:
            yield folder


def is_copied(cfg: DictConfig, folder: Path) -> bool:
    """Whether a record exists only in MLflow, and the folder is a temporary copy.

    Args:
        cfg: the composed config.
        folder: of the record.
    """
    return RUN_ID.fullmatch(cfg.run) is not None and folder.parent == Path(tempfile.gettempdir())


def tracking_of(cfg: DictConfig, folder: Path) -> Mapping[str, Any] | None:
    """Where a record or a sweep was logged; None for nowhere. Copies from MLflow lack this note.

    Args:
        cfg: the composed config.
        folder: of the record or the sweep.
    """
    if is_copied(cfg, folder):
        return {"run_id": cfg.run, "uri": cfg.tracking.uri}
    is_sweep = (folder / sweeps.MANIFEST).is_file()
    return read_json(folder / (sweeps.MANIFEST if is_sweep else artifacts.RECORD)).get("tracking")


def output_of(cfg: DictConfig, folder: Path) -> Path:
    """Where the page goes.

    Args:
        cfg: the composed config.
        folder: of the record or the sweep.
    """
    if cfg.output is not None:
        return Path(cfg.output)
    return Path(cfg.outputs_dir) / "report" / f"{cfg.run}.html" if is_copied(cfg, folder) else folder / artifacts.REPORT


def page_of_run(cfg: DictConfig, record: Path) -> str:
    """The page about a run.

    Args:
        cfg: the composed config.
        record: its folder.

    Raises:
        InputError: it failed, or its record is damaged.
    """
    from gmm_pipeline.report import run_page

    place = cfg.run if is_copied(cfg, record) else str(shown(record.absolute()))
    again = f"python -m gmm_pipeline rerun {quoted_override('run', place)}"
    animation = None if cfg.film is None else Path(cfg.film)
    return run_page.page(record, animation=animation, place=place, again=again, settings=settings(cfg))


def page_of_sweep(cfg: DictConfig, folder: Path) -> str:
    """The page about a sweep.

    Args:
        cfg: the composed config.
        folder: of the sweep.

    Raises:
        InputError: it has not ended, or its manifest is damaged.
    """
    from gmm_pipeline.report import sweep_page
    from gmm_pipeline.stages import sweep_summary

    manifest = sweeps.read_manifest(folder)
    runs = compared(sweeps.read_runs(folder, manifest))
    if not (folder / PARQUET).is_file() or not runs:
        raise InputError(
            "run",
            expected="a sweep that has ended",
            came=f"{folder}, with {len(runs):,} of {len(manifest.runs):,} records and no {PARQUET}",
            remedy=f"Wait for it, or resume it: {manifest.command}",
        )
    objective = manifest.objective
    judged = [one for one in settings_of(runs, objective) if with_results(one.runs, objective)]
    meaning = sweep_summary.meaning(runs, judged, objective, len(manifest.runs)) if judged else []
    return sweep_page.page(
        folder,
        manifest,
        runs,
        place=str(shown(folder.absolute())),
        counts=sweep_summary.counts(manifest, runs),
        meaning=meaning,
        settings=settings(cfg),
    )


def settings(cfg: DictConfig) -> Any:
    """How the agreement with the data is judged."""
    from gmm_pipeline.report.run_page import Settings

    return Settings(cfg.level, cfg.quantiles, cfg.simulations, cfg.seed)


def track(page: Path, tracking: Mapping[str, Any], uri: str) -> bool:
    """Attach the page to its MLflow run, and return whether that worked; a store that is down costs a warning.

    Args:
        page: the file.
        tracking: where the run or sweep was logged.
        uri: of the tracking store.
    """
    from gmm_pipeline.tracking.reports import log_report
    from gmm_pipeline.tracking.runs import TrackingError

    try:
        log_report(page, tracking=tracking, uri=uri)
    except (TrackingError, InputError) as error:
        terminal.warn(str(error))
        return False
    return True
