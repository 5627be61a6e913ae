"""Speed of loss and gradient, against the speed of the machine.

An element is a run, a datum and a component in one evaluation of loss and gradient. The floor is a C program that does
the same with hand-written AVX-512 on two threads; it is compiled here and takes turns with ours, round by round, since
other work on the machine slows both: trust the ratios more than the nanoseconds. Both ways of using the cores are
shown: one call with 64 runs in it, and whole fits in the batches and threads that a sweep has. Of the fits, elements
are counted as computed (with components that only fill up) and as asked for.

    python -m benchmarks.kernel [--floor FILE]

The loss is the one that fits use, prior and masks included, several evaluations to a call so that the call itself does
not count. The last row guards the compiler's options: without them the same program is several times slower, unless
fast-math was lost. Temporaries are what the compiler says that it allocates for the program with a million data.
"""

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import ROOT, loaded, parser, print_table
from benchmarks.floor import build_floor, run_floor
from gmm_pipeline.inference import batching
from gmm_pipeline.inference.batching import default_workers
from gmm_pipeline.inference.calls import keys_of
from gmm_pipeline.inference.fits import fit, fit_all
from gmm_pipeline.inference.fitting import StartInputs, parts_of, start
from gmm_pipeline.inference.jobs import FitJob
from gmm_pipeline.inference.objective import compiler_options, lay_out
from gmm_pipeline.inference.parameterization import Constraints, Unconstrained

SMALL, LARGE = 6_000, 1_000_000
RUNS = 64
COMPONENTS = (2, 4, 8)
"""Those that the floor knows."""
GUARDED = 4
"""Components of the program that is compiled without options too."""
EVALUATIONS = {SMALL: 50, LARGE: 3}
"""In one call."""
FIT_STEPS = 1_000
ALONE = (
    (SMALL, 2, FIT_STEPS),
    (SMALL, 1, 2_000),
    (SMALL, 1, 660),
    (SMALL, 11, 500),
    (100, 1, 310),
    (100, 6, 150),
)
"""Data, components and steps of single fits: the usual one, then those for which width and padding cost most."""
AT_MOST, AT_LEAST = "at most", "at least"


class Limit(NamedTuple):
    """What a figure is held to."""

    bound: float
    of: str
    """Its unit, or `ratio` where its ratio is held to it."""
    side: str = AT_MOST


class Row(NamedTuple):
    """A figure of each round."""

    name: str
    unit: str
    seen: list[float]
    reference: list[float]
    """What its ratio is to, in the same rounds; empty where there is nothing."""
    limit: Limit | None = None


class Evaluation(NamedTuple):
    """A compiled loop of loss and gradient."""

    call: Callable[[], Any]
    elements: int
    temporaries: int | None
    """Bytes; None where the backend does not say."""

    def nanoseconds(self) -> float:
        """Of an element, in one call."""
        return _seconds(self.call) / self.elements * 1e9


def _seconds(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - began


def job_of(n_data: int, n_components: int, steps: int, overrides: Sequence[str]) -> FitJob:
    """A fit of the two-mode example."""
    # One start that takes all of its steps: what is measured is the price of a step.
    words = [
        f"data.n_draws={n_data}",
        f"n_components={n_components}",
        f"steps={steps}",
        "restarts=1",
        "search=none",
        "tolerance=0",
    ]
    job = loaded(*words, *overrides).fit
    jax.config.update("jax_compilation_cache_dir", None)
    return job


def evaluation(job: FitJob, runs: int, *, fast: bool = True) -> Evaluation:
    """Loss and gradient of many runs, each with its own parameters and its own copy of the data.

    Args:
        job: whose data, components and prior.
        runs: in one call.
        fast: whether the compiler gets the options that the objective asks for.
    """
    plan, n_data = job.plan, len(job.data)
    n_evaluations = EVALUATIONS[n_data]

    def descend(parameters: Any, inputs: StartInputs) -> Any:
        laid_out = lay_out(inputs.data, inputs.sample_weights, fused=plan.fused)
        loss_func = parts_of(inputs, laid_out, plan).loss_func

        def move(_: Any, state: Any) -> Any:
            free, total = state
            value, gradient = jax.value_and_grad(loss_func)(free)
            # So that no evaluation is like another, and none can be left out.
            return jax.tree.map(lambda leaf, slope: leaf - 1e-6 * slope, free, gradient), total + value

        return jax.lax.fori_loop(0, n_evaluations, move, (Unconstrained(parameters, {}), jnp.zeros((), job.data.dtype)))

    each = [start(job, key) for key in keys_of(job._replace(restarts=runs))]
    starts = jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)
    zeros = jnp.zeros(runs, job.data.dtype)
    inputs = StartInputs(
        data=jnp.tile(job.data, (runs, 1)),
        sample_weights=jnp.tile(job.sample_weights, (runs, 1)),
        constraints=Constraints(jnp.ones((runs, plan.n_components), bool), jnp.zeros(runs, bool), zeros - jnp.inf),
        tolerance=zeros,
        gradient_tolerance=zeros,
        floats={"prior": {}, "optimizer": {}, "schedule": {}},
    )
    arguments = starts, inputs
    options = compiler_options(plan.fused) if fast else None
    compiled = jax.jit(jax.vmap(descend), compiler_options=options).lower(*arguments).compile()
    memory = compiled.memory_analysis()
    return Evaluation(
        lambda: compiled(*arguments),
        runs * n_data * plan.n_components * n_evaluations,
        None if memory is None else memory.temp_size_in_bytes,
    )


def fits(job: FitJob, runs: int) -> Callable[[], Any]:
    """Many whole fits, in the batches and threads of a sweep."""
    jobs = [job._replace(key=key) for key in np.asarray(jax.random.split(jnp.asarray(job.key), runs))]
    batches = list(batching.batches(batching.program_of(job), range(runs)))

    def compute() -> Any:
        with ThreadPoolExecutor(default_workers()) as executor:
            return list(executor.map(lambda members: fit_all([jobs[run] for run in members]), batches))

    return compute


class Bench:
    """All programs, compiled, and what each round of them showed."""

    def __init__(self, floor: Path | None, overrides: Sequence[str]):
        """Compile everything.

        Args:
            floor: the compiled floor, if there is one.
            overrides: for every fit.
        """
        self._floor = floor
        self._floors: list[dict[tuple[int, int], float]] = []
        self._seen: dict[str, list[float]] = {}
        self._jobs = {k: job_of(SMALL, k, FIT_STEPS, overrides) for k in COMPONENTS}
        self.fused = all(job.plan.fused for job in self._jobs.values())
        self._small = {k: evaluation(job, RUNS) for k, job in self._jobs.items()}
        self._slow = evaluation(self._jobs[GUARDED], RUNS, fast=False)
        self._large = evaluation(job_of(LARGE, COMPONENTS[-1], FIT_STEPS, overrides), 1)
        self._fits = {k: fits(job, RUNS) for k, job in self._jobs.items()}
        self._alone = {shape: job_of(*shape, overrides) for shape in ALONE}
        self.measure()  # compiles, and is not counted
        self._seen = {}

    def _note(self, name: str, value: float) -> None:
        self._seen.setdefault(name, []).append(value)

    def round(self) -> None:
        """Measure everything once, the floor before it."""
        if self._floor is not None:
            self._floors.append(run_floor(self._floor))
        self.measure()

    def measure(self) -> None:
        """Measure all programs of ours."""
        for k in COMPONENTS:
            # A call takes a millisecond or two: the median of some, as the floor's own figure is.
            self._note(f"call {k}", median(self._small[k].nanoseconds() for _ in range(15)))
        self._note("slow", median(self._slow.nanoseconds() for _ in range(3)))
        self._note("large", median(self._large.nanoseconds() for _ in range(5)))
        for k in COMPONENTS:
            self._note(f"fits {k}", _seconds(self._fits[k]) / (RUNS * SMALL * FIT_STEPS) * 1e9)
        for shape, job in self._alone.items():
            narrow = job._replace(plan=job.plan._replace(as_written=True))
            times = {"narrow": [], "wide": []}
            for _ in range(5):
                times["narrow"].append(_seconds(lambda narrow=narrow: fit(narrow).parameters))
                times["wide"].append(_seconds(lambda job=job: fit(job).parameters))
            for kind, values in times.items():
                self._note(f"{kind} {shape}", median(values) * 1e3)

    def _floor_at(self, n_data: int, n_components: int) -> list[float]:
        known = max(k for k in COMPONENTS if k <= n_components)
        return [found[n_data, known] for found in self._floors]

    def rows(self) -> list[Row]:
        """A row for each figure."""
        rows = []
        for k in COMPONENTS:
            what = f"{RUNS} runs, K={k}, n={SMALL:,}"
            width = batching.width_of(self._jobs[k])
            computed = [each / width.components for each in self._seen[f"fits {k}"]]
            batched = f"fits {width.runs} at a time in {default_workers()} threads"
            rows += [
                Row(
                    f"{what}: one call",
                    "ns",
                    self._seen[f"call {k}"],
                    self._floor_at(SMALL, k),
                    Limit(2.0, "ratio"),
                ),
                Row(
                    f"{what}: {batched}, computed as K={width.components}",
                    "ns",
                    computed,
                    self._floor_at(SMALL, width.components),
                    Limit(2.0, "ratio"),
                ),
                Row(
                    f"{what}: the same, as asked for",
                    "ns",
                    [each / k for each in self._seen[f"fits {k}"]],
                    self._floor_at(SMALL, k),
                ),
            ]
        k = COMPONENTS[-1]
        rows.append(
            Row(f"1 run, K={k}, n={LARGE:,}", "ns", self._seen["large"], self._floor_at(LARGE, k), Limit(2.2, "ratio"))
        )
        if self._large.temporaries is not None:
            temporaries = [self._large.temporaries / 1e6]
            rows.append(Row("the same: temporaries", "MB", temporaries, [], Limit(32.0, "MB")))
        for shape in ALONE:
            rows += self._rows_alone(shape)
        rows.append(
            Row(
                f"{RUNS} runs, K={GUARDED}, n={SMALL:,}: without options, ratio to with",
                "ns",
                self._seen["slow"],
                self._seen[f"call {GUARDED}"],
                Limit(3.0, "ratio", AT_LEAST) if self.fused else None,
            )
        )
        return rows

    def _rows_alone(self, shape: tuple[int, int, int]) -> list[Row]:
        n_data, k, steps = shape
        width = batching.width_of(self._alone[shape])
        what = f"1 fit, K={k}, n={n_data:,}, {steps:,} steps"
        wide, narrow = self._seen[f"wide {shape}"], self._seen[f"narrow {shape}"]
        extra = [one - other for one, other in zip(wide, narrow, strict=True)]
        computed = f"computed as {width.runs} of K={width.components}"
        rows = [Row(f"{what}: {computed}, more than alone", "ms", extra, [], Limit(50.0, "ms"))]
        if shape == ALONE[0]:
            rows.insert(0, Row(f"{what}: {computed}", "ms", wide, narrow, Limit(20.0, "ms")))
            rows.insert(1, Row(f"{what}: alone", "ms", narrow, []))
        return rows


def ratio_of(row: Row) -> float | None:
    """The median over the rounds of its ratio, since a round is of the same minute."""
    if not row.reference:
        return None
    return median(one / other for one, other in zip(row.seen, row.reference, strict=True))


def verdict(row: Row) -> str:
    """The limit, and whether it was kept."""
    if row.limit is None:
        return ""
    figure = ratio_of(row) if row.limit.of == "ratio" else median(row.seen)
    bound = f"{row.limit.of} {row.limit.side} {row.limit.bound:g}"
    if figure is None:
        return bound
    kept = figure <= row.limit.bound if row.limit.side == AT_MOST else figure >= row.limit.bound
    return f"{bound}: {'kept' if kept else 'MISSED'}"


def main() -> None:
    """Print medians, ratios and limits."""
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, default=5, help="how often everything is measured")
    options.add_argument("--floor", type=Path, default=ROOT.parent / "shared" / "floor" / "floor.c", help="its source")
    arguments = options.parse_intermixed_args()

    with tempfile.TemporaryDirectory() as scratch:
        built = build_floor(arguments.floor, Path(scratch))
        bench = Bench(None if isinstance(built, str) else built, arguments.overrides)
        for _ in range(arguments.rounds):
            bench.round()

    load = f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    print(f"nanoseconds of an element, medians of {arguments.rounds} rounds; {load}")
    if isinstance(built, str):
        print(f"no ratios to the floor: {built}")
    if not bench.fused:
        print("the plain form of the objective: the fused one is for CPUs")
    rows = bench.rows()
    print_table(
        ("what", "median", "from - to", "unit", "floor or reference", "ratio", "ratio of the fastest", "limit"),
        [_cells(row) for row in rows],
    )
    guard = rows[-1]
    if guard.limit is not None and (ratio_of(guard) or 0.0) < guard.limit.bound:
        print("fast-math is off, or no longer vectorises the reduction: see compiler_options in inference/objective.py")


def _cells(row: Row) -> tuple[str, ...]:
    ratio = ratio_of(row)
    return (
        row.name,
        f"{median(row.seen):.3g}",
        f"{min(row.seen):.3g} - {max(row.seen):.3g}",
        row.unit,
        f"{median(row.reference):.3g}" if row.reference else "",
        f"{ratio:.2f}" if ratio is not None else "",
        # What is left when nothing else runs, where something does now and then.
        f"{min(row.seen) / min(row.reference):.2f}" if row.reference else "",
        verdict(row),
    )


if __name__ == "__main__":
    main()
