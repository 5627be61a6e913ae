"""Which starts may be one program, how wide it is, and which runs are computed at once; `calls.py` computes them.

What may share a program is everything but the arrays of a `StartInputs`: the data, the start, the floats of optimizer,
prior and init, whether scales are equal, and the number of components, which are padded and masked. The rest is the
`Program`, which is printable and says why runs were split.

The last bits of a result depend on the width of the arrays it was computed in, never on its neighbours. So the width
is a function of the run alone: small fits are computed many at once and in the next canonical number of components,
since a step of theirs is mostly overhead; a large one fills the machine by itself. The price is what a small fit
computes besides when it is alone, some hundredths of a second. A batch that is not full is filled up with copies of its
first start. Batches of one program may run in several threads: a batch is one call, whatever runs beside it.

How many data there are, how many steps are taken and which of them are kept are arguments too: data are filled up to
one of a few lengths with data that count nothing.
"""

import functools
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from gmm_pipeline.inference import tracing
from gmm_pipeline.inference.jobs import FitJob, FitPlan, split
from gmm_pipeline.inference.padding import padded_components, padded_length
from gmm_pipeline.inference.plugins import Absent, Plugin

MOST_ENTRIES = 128
"""Entries of a history that a segment has room for."""
MOST_ELEMENTS_PADDED = 5e4
"""Data × components up to which components are padded: less than 50 ms more for a fit of 2,000 steps alone."""
MOST_ELEMENTS_BATCHED = 1.5e4
"""The same times the runs of a batch; less, since many short rows take longer than few long ones."""
FEW_RUNS, MOST_ELEMENTS_OF_FEW = 4, 1.3e5
"""So few runs are computed at once up to so many elements: a step of all has the overhead of one."""
EVALUATIONS_OF_A_SEARCH = 16
"""How often an optimizer with a loop of its own, such as a line search, evaluates the loss in a step, at most about."""
WIDEST = 256
SPARE_OF_ACCELERATORS = 100
"""How many times more than a CPU another device computes in the time of a step's overhead."""


class Width(NamedTuple):
    """The arrays a run is computed in, which decide its last bits."""

    runs: int
    """Starts that are computed at once."""
    components: int


class Program(NamedTuple):
    """What the fits of a batch share; hashable. The plan, the number of data and the width are what is compiled."""

    plan: FitPlan
    """Without what is a run's own: its start, its number of components, and floats."""
    n_data: int
    """To which data are filled up."""
    dtype: str
    steps: int
    history_every: int
    restarts: int
    width: Width

    @property
    def runs_at_once(self) -> int:
        """Runs in a batch; one, where its restarts fill more than a call."""
        return max(1, self.width.runs // self.restarts)


@functools.cache
def _spare() -> int:
    return 1 if jax.default_backend() == "cpu" else SPARE_OF_ACCELERATORS


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
        components = wider if evaluated * wider <= MOST_ELEMENTS_PADDED else components
    elements = evaluated * components
    runs = max(1.0, min(FEW_RUNS, MOST_ELEMENTS_OF_FEW / elements), min(WIDEST, MOST_ELEMENTS_BATCHED / elements))
    return Width(2 ** int(math.log2(runs)), components)


def _shared_start(*_: Any) -> None:
    """Stands for the init in a program, which begins where the start ends."""


def program_of(job: FitJob) -> Program:
    """What a fit is compiled to: fits with equal programs can be one batch."""
    plan, _ = split(job)
    width = width_of(job)
    shared = plan._replace(init=Plugin(_shared_start, ()), n_components=width.components)
    n_data = len(job.data) if job.plan.as_written else padded_length(len(job.data))
    return Program(shared, n_data, str(job.data.dtype), job.steps, job.history_every, job.restarts, width)


def describe(program: Program) -> dict[str, Any]:
    """A program in words, by the keys of the config: where two differ is why their runs are not one batch."""

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
    """Which runs share a program, in the order they came."""
    groups: dict[Program, list[int]] = {}
    for run, program in programs.items():
        groups.setdefault(program, []).append(run)
    return groups


def batches(program: Program, runs: Sequence[int]) -> Iterator[Sequence[int]]:
    """Runs of one program, in slices that are computed at once.

    Args:
        program: that the runs share; its width decides how many are computed at once.
        runs: their numbers.
    """
    for first in range(0, len(runs), program.runs_at_once):
        yield runs[first : first + program.runs_at_once]


def memory_of(program: Program) -> int:
    """Bytes of arrays that a batch holds at its height, about."""
    starts, components = program.width
    item = np.dtype(program.dtype).itemsize
    # Data and sample weights, as given, in blocks and on the device.
    of_data = 6 * program.n_data * (1 if program.plan.fused else 1 + components)
    of_history = 2 * 3 * components * (program.steps // program.history_every + MOST_ENTRIES)
    return item * (starts * of_data + max(starts, program.restarts) * of_history)


def default_workers() -> int:
    """A thread for each core on a CPU, for each device elsewhere."""
    if jax.default_backend() != "cpu":
        return jax.local_device_count()
    # Where the system can tell, the cores that this process may use.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
