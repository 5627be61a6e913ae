"""Plan a sweep before anything is computed: its runs, which of them are done, which share a program.

Each job is composed, loaded and checked here; a mistake in one is noted with that job and does not stop the others. A
run is identified by the digest of its config and keeps the number that the sweep gave it, in whatever order or
selection runs are requested. It is done if its record has the digest of the same config, data and code, and its files
are unchanged: checking them takes a hundredth of the time of recomputing them. The price: if the runs have many data
sets, these are loaded when a run is planned and again when it is computed, since together they may not fit into memory.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.global_hydra import GlobalHydra
from omegaconf import MISSING, DictConfig

from gmm_pipeline.analysis.estimates import Job
from gmm_pipeline.configuration.checks import check_complete, check_values
from gmm_pipeline.configuration.command_errors import as_mistake
from gmm_pipeline.configuration.schemas import FitConfig
from gmm_pipeline.errors import InputError, heeding_interrupts
from gmm_pipeline.execution.job_files import Asked, Reader
from gmm_pipeline.inference.batching import Program, program_of
from gmm_pipeline.inference.batching import group as group_by_program
from gmm_pipeline.records import artifacts, contents
from gmm_pipeline.records.datasets import Dataset, left_out, taken_columns
from gmm_pipeline.records.json_files import NewerFormatError, read_json
from gmm_pipeline.records.sweeps import ManifestRun
from gmm_pipeline.stages.loading import config_digest, load_resolved, run_digest
from gmm_pipeline.stages.running import shown

DATASETS_KEPT = 8

Compose = Callable[[Sequence[str]], AbstractContextManager[DictConfig]]
Progress = Callable[[int, int], None]
Amend = Callable[[dict[str, Any]], dict[str, Any]]
"""Gives a resolved config what no override can express, such as data in memory."""


class Run(NamedTuple):
    """One job of a sweep, checked."""

    number: int
    overrides: tuple[str, ...]
    digest: str
    """Of its config, or of its overrides if it has none; the same in every sweep."""
    program: Program | None
    """None where the run cannot be fitted."""
    settings: dict[str, Any]
    """Settings of JAX that all runs computed at the same time must share."""
    result: str
    """Digest of everything that decides its result: config, data and code."""
    job: Job | None
    """The loaded job, if many runs share its data; None if it must be loaded again."""
    asked: Asked | None
    """None where the run cannot be fitted."""
    mistake: Exception | None
    done: bool
    """Whether its record exists, with the same config, data and code."""

    @property
    def content(self) -> dict[str, Any]:
        """Its resolved config, which must not be changed; empty where the run cannot be fitted."""
        return {} if self.asked is None else self.asked.content


class Group(NamedTuple):
    """Runs that share a program."""

    program: Program
    settings: dict[str, Any]
    runs: list[Run]


class Plan(NamedTuple):
    """The work of a sweep."""

    jobs: list[Run]
    """The run of each requested job, in order; jobs with equal configs share a run."""
    groups: list[Group]
    """The groups that are left to compute."""
    gaps: list[str]
    """One sentence for each data set that lacks rows of its file, or that changed since runs were fitted to it."""
    execution: dict[str, Any]
    """What computes them: the keys of the group `execution`, which all runs share."""

    @property
    def runs(self) -> list[Run]:
        """Each run once, in order of number."""
        return sorted({run.number: run for run in self.jobs}.values(), key=lambda run: run.number)

    @property
    def mistaken(self) -> list[Run]:
        """Runs that cannot be fitted."""
        return [run for run in self.runs if run.mistake is not None]


def plan(
    job_overrides: Sequence[Sequence[str]],
    compose: Compose,
    folder: Path | None,
    earlier: Sequence[ManifestRun],
    progress: Progress | None = None,
    amend: Amend | None = None,
) -> Plan:
    """Compose, load and check every job.

    Args:
        job_overrides: of each job.
        compose: gives the composed config of a job, for inspection.
        folder: of the sweep; None for a sweep that is kept in memory.
        earlier: the runs that the sweep has had before.
        progress: called with (jobs seen, jobs in all).
        amend: applied to the config of each job; None for no change.
    """
    numbers = {run.digest: run.number for run in earlier}
    found: dict[str, Run] = {}
    jobs, datasets, gaps, reader = [], set(), {}, Reader()
    execution: dict[str, Any] = {}
    changed: Counter[str] = Counter()
    for seen, overrides in enumerate(job_overrides, 1):
        run = _look_at(tuple(overrides), compose, reader, amend)
        execution = execution or run.content.get("execution", {})
        if run.content and run.content["execution"] != execution:
            run = run._replace(job=None, asked=None, mistake=_elsewhere(execution, run.content["execution"]))
        if run.job is not None:
            datasets.add(id(run.job.dataset))
            gaps |= dict.fromkeys([*taken_columns(run.job.dataset), *_gaps_of(run.job.dataset)])
            run = run if len(datasets) <= DATASETS_KEPT else run._replace(job=None)
        if run.digest not in found:
            number = numbers.setdefault(run.digest, max(numbers.values(), default=-1) + 1)
            done = folder is not None and run.mistake is None and _is_done(folder / str(number), run.result)
            found[run.digest] = run._replace(number=number, done=done)
            if folder is not None and run.job is not None and not done:
                changed.update(_changed_since(folder / str(number), run.job))
        jobs.append(found[run.digest])
        if progress is not None:
            progress(seen, len(job_overrides))
    again = [
        f"{name} changed since {n:,} of the runs were fitted: they are fitted again" for name, n in changed.items()
    ]
    return Plan(jobs, _groups(list(found.values())), [*gaps, *again], execution)


def _elsewhere(execution: Mapping[str, Any], own: Mapping[str, Any]) -> InputError:
    """The mistake of a run that asks for another executor than the runs before it."""
    return InputError(
        "execution",
        expected=f"one for all runs of a sweep, {execution} as in the first",
        came=str(own),
        remedy="Start another sweep; what computes a run does not change its result.",
    )


def refuse_if_all_are_wrong(planned: Plan) -> None:
    """Refuse a sweep if all runs fail for the same reason: one message is enough.

    Args:
        planned: its runs.

    Raises:
        Exception: the mistake of each of them.
    """
    messages = {str(run.mistake) for run in planned.jobs}
    mistake = planned.jobs[0].mistake if planned.jobs else None
    if mistake is not None and len(messages) == 1:
        raise mistake


def _gaps_of(dataset: Dataset) -> list[str]:
    """How many rows of its file a data set lacks, as a sentence; empty if it has all."""
    missing = left_out(len(dataset.data), dataset.n_missing, dataset.n_incomplete)
    of_column = "" if dataset.column is None else f", column {dataset.column!r}"
    place = f"{shown(Path(dataset.source))}{of_column}"
    return [f"{place}: {len(dataset.data):,} observations{missing}"] if missing else []


def _look_at(overrides: tuple[str, ...], compose: Compose, reader: Reader, amend: Amend | None) -> Run:
    digest = hashlib.sha256(json.dumps(overrides).encode()).hexdigest()
    try:
        with heeding_interrupts(), compose(overrides) as cfg:
            asked = reader.read(cfg)
            content = asked.content
            if MISSING in json.dumps(content):
                check_complete(cfg)
            check_values(FitConfig, content)
        if amend is not None:
            content = amend(content)
            asked = asked._replace(content=content)
        digest = config_digest(content)
        job = load_resolved(content)
        settings = {key: content[key] for key in ("threefry_partitionable", "precision", "compilation_cache")}
        result = run_digest(content, job)
        program = program_of(job.fit)
        return Run(-1, overrides, digest, program, settings, result, job, asked, mistake=None, done=False)
    except Exception as error:
        with _no_hydra():
            mistake = as_mistake(error, "fit") or error  # any error concerns this run only
        return Run(-1, overrides, digest, None, {}, "", None, None, mistake, done=False)


@contextmanager
def _no_hydra() -> Iterator[None]:
    """Set the running Hydra aside: finding similar keys for a message composes a config."""
    running = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        yield
    finally:
        GlobalHydra.instance().hydra = running


def _is_done(record: Path, digest: str) -> bool:
    try:
        about = read_json(record / artifacts.RECORD)
        asked = about["digest"] == digest and about["status"] in ("finished", "diverged")
        return asked and contents.altered(record, about) is None
    except NewerFormatError:  # which is not replaced
        raise
    except contents.DAMAGE:
        return False


def _changed_since(record: Path, job: Job) -> list[str]:
    """The data of a run that has a record of other data; empty otherwise."""
    try:
        digests = read_json(record / artifacts.RECORD)["digests"]
    except (*contents.DAMAGE, NewerFormatError):
        return []
    if digests.get("data") in (None, job.dataset.digest):
        return []
    return [str(shown(Path(job.dataset.source))) if job.dataset.source_type == "file" else job.dataset.name]


def _groups(runs: list[Run]) -> list[Group]:
    left = {index: run for index, run in enumerate(runs) if run.program is not None and not run.done}
    programs = {index: run.program for index, run in left.items() if run.program is not None}
    found = []
    for program, members in group_by_program(programs).items():
        by_settings: dict[str, list[Run]] = {}
        for index in members:
            by_settings.setdefault(repr(left[index].settings), []).append(left[index])
        found += [Group(program, same[0].settings, same) for same in by_settings.values()]
    return found


def manifest_runs(planned: Plan, earlier: Sequence[ManifestRun]) -> list[ManifestRun]:
    """The runs that a sweep has had and has now, in order of number.

    Args:
        planned: the current work of the sweep.
        earlier: the runs that it has had before.
    """
    asked = {run.number: ManifestRun(run.number, _without_name(run.overrides), run.digest) for run in planned.runs}
    return sorted(({run.number: run for run in earlier} | asked).values(), key=lambda run: run.number)


def _without_name(overrides: Sequence[str]) -> tuple[str, ...]:
    """The overrides that describe a run: all except the name of the sweep."""
    return tuple(override for override in overrides if not re.match(r"\+*sweep=", override))
