"""How a stage runs under Hydra: errors, clean-up and exit codes, the same for every command."""

import contextlib
import logging
import shlex
import sys
import traceback
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from gmm_pipeline import program
from gmm_pipeline.configuration.checks import check_complete, check_values
from gmm_pipeline.configuration.command_errors import as_mistake
from gmm_pipeline.configuration.schemas import FitConfig
from gmm_pipeline.errors import REPORTED, InputError, RunFailed, heed_interrupts, heeding_interrupts
from gmm_pipeline.records import artifacts
from gmm_pipeline.records.overrides import hydra_override
from gmm_pipeline.records.sweeps import MANIFEST
from gmm_pipeline.stages.finding import best_of_sweep

log = logging.getLogger(__name__)

HYDRAS = ("config.yaml", "hydra.yaml", "overrides.yaml")
"""Files that Hydra writes into its folder of a run."""


def run_stage(run: Callable[..., Any], cfg: DictConfig, *, started: float) -> Any:
    """Run a stage; in a single run a mistake of the user's ends the program with one message and exit code 2.

    Args:
        run: the stage's own `run(cfg, *, started)`.
        cfg: the composed config.
        started: when the program began, on the performance counter.
    """
    from hydra.core.hydra_config import HydraConfig
    from omegaconf.errors import OmegaConfBaseException

    hydra = HydraConfig.get()
    directory = Path(hydra.runtime.output_dir)
    remove = _remove_begun
    try:
        heed_interrupts()
        check(cfg)
        if hydra.output_subdir is not None or OmegaConf.get_type(cfg) is FitConfig:
            _refuse_to_replace(directory)
        remove = _remove_unfinished
        with heeding_interrupts():
            return run(cfg, started=started)
    except KeyboardInterrupt:
        remove(directory, hydra.output_subdir, hydra.job.name)
        raise
    except (InputError, RunFailed, OmegaConfBaseException, OSError) as error:
        message = error if isinstance(error, RunFailed) else as_mistake(error, hydra.job.name)
        if message is None:
            raise
        if not is_alone():
            # Hydra itself reports only the first failure of a sweep.
            log.error("%s", message)
            sys.stderr.write(f"error: {' '.join(overrides())}: {message}\n")
            error.add_note(REPORTED)
            raise
        if not isinstance(error, RunFailed) or OmegaConf.get_type(cfg) is FitConfig:  # a record stays
            remove(directory, hydra.output_subdir, hydra.job.name)
        # Leaving here rather than through Hydra, which would print the overrides and a message of its own.
        sys.stderr.write(f"error: {message}\n")
        raise SystemExit(1 if isinstance(error, RunFailed) else 2) from None


def remove_begun() -> None:
    """Remove what Hydra wrote of a run that could not begin: it opens the log in the run's folder first."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            file = Path(handler.baseFilename)
            _remove_begun(file.parent, artifacts.HYDRA, file.stem)


def check(cfg: DictConfig) -> None:
    """Refuse a config that lacks a value or has one that its schema does not allow.

    Args:
        cfg: the composed config, which knows its schema.

    Raises:
        InputError: which key.
    """
    check_complete(cfg)
    schema = OmegaConf.get_type(cfg)
    if schema is None:
        raise TypeError("a config without a schema")
    check_values(schema, resolved(cfg))


def resolved(cfg: DictConfig) -> dict[str, Any]:
    """The config with every interpolation replaced by its value, as plain containers; without Hydra's own part."""
    return {str(key): plain(value) for key, value in cfg.items() if key != "hydra"}


def plain(value: Any) -> Any:
    """A value of a config, resolved, as plain containers."""
    from omegaconf import SCMode

    if isinstance(value, Enum):
        return value.name
    if not OmegaConf.is_config(value):
        return value
    return OmegaConf.to_container(value, resolve=True, enum_to_str=True, structured_config_mode=SCMode.DICT)


@contextlib.contextmanager
def drawing(kept: str) -> Iterator[None]:
    """Say what exists although a requested picture failed, below the traceback, which nothing else would keep.

    Args:
        kept: what exists all the same, as a sentence.

    Raises:
        RunFailed: it could not be drawn.
    """
    try:
        with heeding_interrupts():
            yield
    except (InputError, OSError):
        raise
    except Exception as error:
        traceback.print_exception(error)
        raise RunFailed(f"A picture failed: {type(error).__name__}: {error}. {kept}") from error


def is_alone() -> bool:
    """Whether this is a single run rather than a job of a multirun."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    return HydraConfig.get().mode is RunMode.RUN


def output_directory() -> Path:
    """The folder that Hydra made for this run."""
    from hydra.core.hydra_config import HydraConfig

    return Path(HydraConfig.get().runtime.output_dir)


def overrides() -> list[str]:
    """The overrides of this run, as they were typed."""
    from hydra.core.hydra_config import HydraConfig

    return [str(override) for override in HydraConfig.get().overrides.task]


def command_line(command: str) -> str:
    """The command that repeats this run."""
    arguments = sys.argv[1:] if is_alone() else overrides()
    return shlex.join(["python", "-m", "gmm_pipeline", command, *arguments])


def quoted_override(key: str, value: str) -> str:
    """An override quoted for Hydra and the shell, whatever characters its value has.

    Args:
        key: the key, dotted.
        value: its value, unquoted.
    """
    return shlex.quote(hydra_override(key, value))


def log_command(folder: Path, uri: str) -> str:
    """The command that uploads a record or a sweep to a tracking store.

    Args:
        folder: of the record or the sweep.
        uri: of the tracking store.
    """
    arguments = [quoted_override("run", str(shown(folder.absolute()))), quoted_override("tracking.uri", uri)]
    return " ".join([program.name(), "log", *arguments])


def shown(path: Path) -> Path:
    """A path as people type it: relative to the current folder if it is inside."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def latest(record: Path) -> str:
    """Which record `latest` is, for messages: after a sweep, its best run."""
    best = best_of_sweep(record.parent)
    place = str(shown(record.absolute()))
    return place if best is None or best.record != record else f"{place}, {best.description}"


def check_output(output: Path, read: Path | None = None, *, page: str | None = None) -> None:
    """Refuse to write over what is read, or into a record.

    Args:
        output: file that is to be written.
        read: file or folder that the command reads, if any.
        page: the name of a file that may be written into a record.

    Raises:
        InputError: why the output is refused.
    """
    place = output.absolute().resolve()
    if read is not None and (place == read.resolve() or read.resolve() in place.parents or _same(output, read)):
        remedy = "Choose another name: what is there would be lost."
        raise InputError("output", expected="a place other than that of the data", came=str(output), remedy=remedy)
    for folder in (place.parent, place.parent.parent):
        is_record = (folder / artifacts.RECORD).is_file() or (folder / MANIFEST).is_file()
        inner = place.relative_to(folder).parts
        beside = len(inner) == 1 or inner[0] in (artifacts.FIGURES, artifacts.ANIMATION, ".hydra")
        if is_record and beside and inner != (page,):
            remedy = "A record stays as it was written: choose a place outside of it."
            came = f"{output}, in the record {shown(folder)}"
            raise InputError("output", expected="a place outside records", came=came, remedy=remedy)


def _same(output: Path, read: Path) -> bool:
    """Whether two paths are one file, by another name."""
    return output.exists() and read.exists() and output.samefile(read)


def _refuse_to_replace(directory: Path) -> None:
    there = [name for name in artifacts.FILES if (directory / name).exists()]
    if there:
        raise InputError(
            "hydra.run.dir",
            expected="a folder without files of a record",
            came=f"{directory}, which has {', '.join(there)}",
            remedy="Name another folder, or remove these first.",
        )


def _remove_begun(directory: Path, hydra_folder: str | None, job_name: str) -> None:
    """Remove what Hydra wrote, and nothing else: the folder may have been there before."""
    if not _is_ours(directory, hydra_folder):
        return
    logging.shutdown()
    hydra_folder = hydra_folder or artifacts.HYDRA
    log_file = directory / f"{job_name}.log"
    if log_file.is_file() and log_file.stat().st_size == 0:
        log_file.unlink()
    for name in HYDRAS:
        (directory / hydra_folder / name).unlink(missing_ok=True)
    _remove_if_empty(directory / hydra_folder, directory)


def _remove_unfinished(directory: Path, hydra_folder: str | None, job_name: str) -> None:
    if not _is_ours(directory, hydra_folder):
        return
    logging.shutdown()
    remove_record(directory, hydra_folder or artifacts.HYDRA, job_name)


def _is_ours(directory: Path, hydra_folder: str | None) -> bool:
    """Whether a folder was begun for this run: Hydra or the log writes into it, and there is no record."""
    if (directory / artifacts.RECORD).exists():
        return False
    files = [Path(one.baseFilename) for one in logging.getLogger().handlers if isinstance(one, logging.FileHandler)]
    return hydra_folder is not None or any(file.parent == directory.absolute() for file in files)


def remove_record(directory: Path, hydra_folder: str, job_name: str) -> None:
    """Remove what Hydra and the stage wrote for a record, and nothing else.

    Args:
        directory: of the record.
        hydra_folder: name of Hydra's folder in it.
        job_name: Hydra's name of the job, which its log file has too.
    """
    if not directory.is_dir():
        return
    for pictures in (artifacts.FIGURES, artifacts.ANIMATION):
        for file in (directory / pictures).glob("*"):
            file.unlink()
    hydras = [f"{hydra_folder}/{name}" for name in HYDRAS]
    half_written = [file.name for name in artifacts.FILES for file in directory.glob(f".{name}.*")]
    for name in (*artifacts.FILES, *half_written, *hydras, f"{job_name}.log"):
        (directory / name).unlink(missing_ok=True)
    _remove_if_empty(*(directory / name for name in (artifacts.FIGURES, artifacts.ANIMATION, hydra_folder)), directory)


def _remove_if_empty(*folders: Path) -> None:
    for folder in folders:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
