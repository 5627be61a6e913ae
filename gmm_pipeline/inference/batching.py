"""Which starts may share a program, how wide it is, and which runs are computed at once; `calls.py` computes them.

Starts of one program may differ in the arrays of their `StartInputs`: the data, the start, the floats of optimizer,
prior and init, whether scales are equal, and the number of components, which are padded and masked. The rest is the
`Program`, which can be printed to show why runs were split.

The last bits of a result depend on the width of the arrays in which it was computed, never on its neighbours. So the
width is a function of the run alone: many small fits are computed at once, padded to the next canonical number of
components, since their steps are mostly overhead; a large fit fills the machine by itself. The price is some hundredths
of a second of idle work when a small fit runs alone. A batch that is not full is filled up with copies of its first
start. Batches of one program may run in several threads: a batch is one call, whatever runs beside it.

The number of observations, the number of steps and which of them are kept are arguments too: data are padded to one of
a few lengths with observations of weight 0.
"""

import functools
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from gmm_pipeline.inference import devices, tracing
from gmm_pipeline.inference.jobs import FitJob, FitPlan, split
from gmm_pipeline.inference.padding import padded_components, padded_length
from gmm_pipeline.inference.plugins import Absent, Plugin

MOST_ENTRIES = 128
"""Most entries of the history in one segment."""
MOST_ELEMENTS_PADDED = 5e4
"""Data × components up to which components are padded: less than 50 ms more for a fit of 2,000 steps alone."""
MOST_ELEMENTS_BATCHED = 1.5e4
"""The same, times the runs of a batch; smaller, since many short rows take longer than a few long ones."""
FEW_RUNS, MOST_ELEMENTS_OF_FEW = 4, 1.3e5
"""This many runs are computed at once up to this many elements: together they have the overhead of one."""
EVALUATIONS_OF_A_SEARCH = 16
"""About how often an optimizer with a loop of its own, such as a line search, evaluates the loss in a step at most."""
WIDEST = 256
SPARE_OF_ACCELERATORS = 100
"""How many times more than a CPU an accelerator computes in the time of a step's overhead."""


class Width(NamedTuple):
    """The arrays a run is computed in, which decide its last bits."""

    runs: int
    """Starts that are computed at once."""
    components: int


class Program(NamedTuple):
    """What the fits of a batch share; hashable. The plan, the padded length and the width decide what is compiled."""

    plan: FitPlan
    """Without what may differ between runs: start, number of components, and floats."""
    n_data: int
    """Length to which data are padded."""
    dtype: str
    steps: int
    history_every: int
    restarts: int
    width: Width

    @property
    def runs_at_once(self) -> int:
        """Runs in a batch; one if its restarts fill more than one call."""
        return max(1, self.width.runs // self.restarts)


@functools.cache
def _spare() -> int:
    return SPARE_OF_ACCELERATORS if devices.are_accelerators() else 1


def width_of(job: FitJob) -> Width:
    """The canonical width of a fit, a function of its data and components."""
    components = max(job.plan.n_components, job.padded_to)
    if job.plan.as_written:
        return Width(1, components)
    plan, _ = split(job)
    evaluations = EVALUATIONS_OF_A_SEARCH if tracing.has_loop(plan.optimizer, job.shape._replace(n_components=1)) else 1
    evaluated = padded_length(len(job.data)) * evaluations / _spare()
    if tracing.leaves_out_components(job.plan.log_prior):
        wider = padded_components(components)
        components = wider if evaluated * wider * plan.family.cost <= MOST_ELEMENTS_PADDED else components
    elements = evaluated * components * plan.family.cost
    runs = max(1.0, min(FEW_RUNS, MOST_ELEMENTS_OF_FEW / elements), min(WIDEST, MOST_ELEMENTS_BATCHED / elements))
    return Width(2 ** int(math.log2(runs)), components)


def _shared_start(*_: Any) -> None:
    """Placeholder for the init, which a program does not contain: starts are its input."""


def program_of(job: FitJob) -> Program:
    """The program of a fit: fits with equal programs can share a batch."""
    plan, _ = split(job)
    width = width_of(job)
    shared = plan._replace(init=Plugin(_shared_start, ()), n_components=width.components)
    n_data = len(job.data) if job.plan.as_written else padded_length(len(job.data))
    return Program(shared, n_data, str(job.data.dtype), job.steps, job.history_every, job.restarts, width)


def describe(program: Program) -> dict[str, Any]:
    """Describe a program by keys of the config: the keys in which two differ are why their runs are not one batch."""

    def of(plugin: Plugin) -> dict[str, Any]:
        fixed = {name: value for name, value in plugin.hyperparameters if value is not Absent.LATER}
        public = plugin.function.__module__.split("._")[0]
        return {"_target_": f"{public}.{plugin.function.__qualname__}", **fixed}

    plugins = {"prior": program.plan.log_prior, "optimizer": program.plan.optimizer, "schedule": program.plan.schedule}
    return {
        "data (padded to)": program.n_data,
        "n_components (padded to)": program.width.components,
        "steps": program.steps,
        "history_every": program.history_every,
        "precision": program.dtype,
        "average_loss": program.plan.average_loss,
        "fused": program.plan.fused,
        "restarts": program.restarts,
        "starts at once": program.width.runs,
        **{f"{group}.{name}": value for group, plugin in plugins.items() for name, value in of(plugin).items()},
    }


def differences(programs: Sequence[Program]) -> dict[str, list[Any]]:
    """The keys in which programs differ, with the value of each program."""
    described = [describe(program) for program in programs]
    keys = dict.fromkeys(key for one in described for key in one)
    values = {key: [one.get(key) for one in described] for key in keys}
    return {key: found for key, found in values.items() if any(value != found[0] for value in found)}


def group(programs: Mapping[int, Program]) -> dict[Program, list[int]]:
    """Group runs by program, in the order they came."""
    groups: dict[Program, list[int]] = {}
    for run, program in programs.items():
        groups.setdefault(program, []).append(run)
    return groups


def batches(program: Program, runs: Sequence[int]) -> Iterator[Sequence[int]]:
    """Runs of one program, in slices that are computed at once.

    Args:
        program: shared by the runs; its width decides how many are computed at once.
        runs: their numbers.
    """
    for first in range(0, len(runs), program.runs_at_once):
        yield runs[first : first + program.runs_at_once]


def memory_of(program: Program) -> int:
    """About how many bytes of arrays a batch holds at its peak."""
    starts, components = program.width
    item = np.dtype(program.dtype).itemsize
    # Data and sample weights, as given, in blocks and on the device.
    columns = max(1, program.plan.family.n_columns)
    of_data = 6 * program.n_data * (columns if program.plan.fused else columns + components)
    numbers = sum(leaf.size for leaf in jax.tree.leaves(program.plan.family.zeros(components, program.dtype)))
    of_history = 2 * numbers * (program.steps // program.history_every + MOST_ENTRIES)
    return item * (starts * of_data + max(starts, program.restarts) * of_history)


def default_workers() -> int:
    """A thread for each core on a CPU, for each device elsewhere."""
    if devices.are_accelerators():
        return len(devices.used())
    # The cores that this process may use, where the system reports them.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def workers_of(execution: Mapping[str, Any]) -> int:
    """How many compute at once; from now on, on as many devices as are asked for.

    Args:
        execution: the keys of the group `execution`.

    Raises:
        InputError: there are not so many devices.
    """
    asked = execution["devices"]
    devices.use(asked if isinstance(asked, int) else None)
    return execution["workers"] or default_workers()
