"""`gmm_pipeline.sweep`: the command `fit --multirun`, without its folder unless one is asked for."""

import contextlib
import copy
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from gmm_pipeline import home
from gmm_pipeline.api.bars import bar
from gmm_pipeline.api.composing import composing, depth, leaves_of, listed, written
from gmm_pipeline.api.fitting import settings_of_jax_kept
from gmm_pipeline.api.given import Given, given
from gmm_pipeline.api.keeping_sweeps import Records, place_of_sweep
from gmm_pipeline.api.results import Fit
from gmm_pipeline.api.sweeps import FailedRun, Sweep
from gmm_pipeline.errors import InputError
from gmm_pipeline.execution import computing, planning
from gmm_pipeline.execution.batches import Outcome
from gmm_pipeline.execution.composition import SweepComposer
from gmm_pipeline.execution.launcher import BASIC_SWEEPER
from gmm_pipeline.execution.planning import Plan, Run
from gmm_pipeline.execution.quick_configs import quickened
from gmm_pipeline.execution.sweep_run import as_read
from gmm_pipeline.records.sweeps import SweepRun
from gmm_pipeline.records.timings import Timings
from gmm_pipeline.stages.fit import note_data
from gmm_pipeline.stages.recording import record_of_fit
from gmm_pipeline.stages.running import resolved


def sweep(
    data: Any,
    *,
    sample_weight: Any = None,
    weights_are: str | None = None,
    overrides: Sequence[str] = (),
    config_dir: str | Path | None = None,
    record: str | Path | bool | None = None,
    progress: bool = False,
    **keys: Any,
) -> Sweep:
    """Fit one mixture for each combination of values: `sweep(data, n_components=range(1, 10), seed=range(20))`.

    The runs are those of `python -m gmm_pipeline fit --multirun`: planned, grouped by program and computed in batches
    by the same engine, so that each has the bits that the command and `fit` give it. Nothing is written or tracked
    unless `record` or `tracking` is given. A run that cannot be fitted is a row of the table, and a `FailedRun` in
    place of a `Fit`. All fits are kept in memory, with the responsibilities of every datum.

    Args:
        data: as for `fit`: one data set.
        sample_weight: [n], not negative; None for one each.
        weights_are: what `sample_weight` means: `counts`, how often each datum counts; `shares`, relative frequencies;
            `precision`, how much each is to be trusted. None for what the config says, counts.
        overrides: in the command line's grammar, which sweeps too: `data.seed=range(20)`, `optimizer=adam,em`.
        config_dir: folder with YAML files of your own, as for `--config-dir`.
        record: folder for what the command would leave: the records of the runs, `sweep.csv`, the pictures of the sweep
            and of its best run, and the data that were passed; True for one under `outputs_dir`. What was interrupted
            is resumed by the command in its `sweep.json`.
        progress: show a progress bar, on a terminal or in a notebook.
        **keys: as for `fit`. A list, tuple, range or array is swept: each of its elements is a value. A key that is
            itself a list, such as `selection={"scales": ["free"]}`, takes a list as its value, and a list of lists is
            swept; in general, a value is swept if its lists are nested more deeply than those of the key in the config.
            Several swept keys give every combination; the last one varies fastest. Equal configs are one run.
            With `tracking="mlflow"` the sweep is logged, below the active run of MLflow if there is one, and has a
            record, since the runs in MLflow refer to its files.

    Raises:
        InputError: data or a key cannot be used, or no run can be fitted, for the same reason.
    """
    lines = home.in_arguments(listed(overrides))
    with settings_of_jax_kept(), contextlib.ExitStack() as stack:
        passed = given(data, sample_weight, lines, weights_are, config_dir)
        planned, objective, records = _planned(passed, keys, lines, config_dir, record, progress, stack)
        outcomes = _computed(planned, records, progress)
        jobs = [outcome.job for outcome in outcomes.values() if outcome.job is not None]
        unread = [doubt for run in planned.runs if run.content for doubt in passed.unread(run.content)]
        for doubt in dict.fromkeys([*unread, *(doubt for job in jobs for doubt in note_data(job))]):
            warnings.warn(doubt, stacklevel=2)
        rows = [as_read(run, outcomes.get(run.number)) for run in planned.runs]
        folder = None if records is None else records.folder
        results = [
            _result(run, row, outcomes.get(run.number), folder) for run, row in zip(planned.runs, rows, strict=True)
        ]
        return Sweep(results, rows, objective, planned.gaps, folder)


def _planned(
    passed: Given,
    keys: Mapping[str, Any],
    overrides: list[str],
    config_dir: str | Path | None,
    record: str | Path | bool | None,
    progress: bool,
    stack: contextlib.ExitStack,
) -> tuple[Plan, str, Records | None]:
    """Compose, load and check every run; returns what they are ranked by too, and what writes their records.

    The stack closes the folder of the sweep.
    """
    from hydra import compose
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.override_parser.overrides_parser import OverridesParser

    leaves = list(leaves_of(keys))
    fixed = [f"{key}={written(key, value)}" for key, value in leaves if not depth(value)]
    fixed += [line for line in overrides if not _sweeps(line)]
    with composing([*passed.overrides, *fixed], config_dir) as (primary, lines), quickened():
        master = compose(primary, lines, return_hydra_config=True)
        loader = GlobalHydra.instance().config_loader()
        varied = [*(_line(master, key, value) for key, value in leaves), *overrides]
        place = stack.enter_context(place_of_sweep(record, master, varied))
        chosen, amend = passed.overrides, passed.amend
        if place is not None:  # the data are then in a file, which overrides can name
            chosen, amend = passed.store(resolved(master), place.folder)[1], None
        asked = [*chosen, *varied]
        composer = SweepComposer(loader)
        with _bar("planning", progress) as advance:
            planned = planning.plan(
                _combined(master, OverridesParser.create(loader), asked),
                lambda one: composer.in_place(master, one),
                None,
                [],
                advance,
                amend,
            )
        planning.refuse_if_all_are_wrong(planned)
    return planned, str(master.objective), None if place is None else place.records(asked)


def _sweeps(override: str) -> bool:
    """Whether an override has several values; one that cannot be parsed is reported when all are composed."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        (parsed,) = OverridesParser.create().parse_overrides([override])
    except HydraException:
        return False
    return parsed.is_sweep_override()


def _line(master: DictConfig, key: str, value: Any) -> str:
    """A keyword as an override: one value, or several of which each is a run's."""
    own = OmegaConf.select(master, key, default=None, throw_on_missing=False)
    if depth(value) <= depth(OmegaConf.to_container(own) if OmegaConf.is_config(own) else own):
        return f"{key}={written(key, value)}"
    if not len(value):
        remedy = "A range ends before its second number."
        raise InputError(key, expected="at least one value", came=repr(value), remedy=remedy)
    return f"{key}={','.join(written(key, one) for one in value)}"


def _combined(master: DictConfig, parser: Any, lines: Sequence[str]) -> list[list[str]]:
    """The overrides of each run, as Hydra's own sweeper combines them."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

    sweeper = master.hydra.sweeper
    if sweeper._target_ != BASIC_SWEEPER:
        raise InputError(
            "hydra/sweeper",
            expected="basic",
            came=str(sweeper._target_),
            remedy="A sweeper that chooses values by results runs on the command line.",
        )
    of_config = [f"{key}={value}" for key, value in (sweeper.params or {}).items()]
    parsed = [one for one in parser.parse_overrides([*of_config, *lines]) if not one.is_hydra_override()]
    (jobs,) = BasicSweeper.split_arguments(parsed, None)
    return jobs


def _computed(planned: Plan, records: Records | None, progress: bool) -> dict[int, Outcome]:
    """The outcome of each run that can be fitted, by its number; each is recorded as soon as it is there."""
    outcomes: dict[int, Outcome] = {}
    total, timings = sum(len(group.runs) for group in planned.groups), Timings(time.perf_counter())
    recording = contextlib.nullcontext() if records is None else records.of(planned)
    computed = contextlib.closing(computing.of_plan(planned, timings))
    with _bar("fitting", progress) as advance, recording, computed as each:
        for _, run, outcome, began in each:
            outcomes[run.number] = outcome
            if records is not None:
                records.save(run, outcome, began)
            if advance is not None:
                advance(len(outcomes), total)
    return outcomes


def _bar(what: str, progress: bool) -> AbstractContextManager[Any]:
    return bar(what, "runs") if progress else contextlib.nullcontext()


def _result(run: Run, row: SweepRun, outcome: Outcome | None, folder: Path | None) -> Fit | FailedRun:
    if outcome is None or outcome.job is None or outcome.answer is None:
        return FailedRun(run.number, run.overrides, row.error or "")
    content = copy.deepcopy(run.content)
    record = None if folder is None else folder / str(run.number)
    return Fit(record_of_fit(content, outcome.job, outcome.answer), outcome.answer.assignments, record)
