"""Do thousands of small runs in one process keep memory, open files and the time of a run as they were?

Runs of three kinds, none of which compiles anything after the first ones: `sweep` fits combinations of seeds by
`gmm_pipeline.sweep`, hundreds a call; `fit` fits by `gmm_pipeline.fit` and leaves a record, which is read again and
removed; `tracked` also logs the record to a real local store of MLflow.

    python -m benchmarks.soak --runs 20000

Prints a row for each twentieth: memory that is resident after a garbage collection, open files, and CPU milliseconds of
a run. Exit code 1 where, after the first twentieth, memory grows by more than 5 % or files do not stay as they were, or
where the second half of the runs takes a tenth more CPU time than the first.

On two busy cores: of 20,000 runs of `sweep` memory is 299.2 MB after 1,000 runs, at most that afterwards and 298.5 at
the end, with 6 open files and 11.3 to 14.1 ms a run. (It rose from 342 MB after 1,000 to 368 after 4,000 where each
sweep had threads of its own: malloc gave them one arena after the other.) Of 200 of `tracked` it is 515 MB after 40
and 518 at the end, with 8 open files and 328 to 400 ms a run, in no order.
"""

import gc
import itertools
import os
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

import gmm_pipeline as gmm
from benchmarks import parser, print_table

SMALL = ("search=none", "steps=40", "restarts=2", "prior=flat", "figures=none", "animation=none")
AT_ONCE = 250
GROWTH, SLOWER = 1.05, 1.10


class Seen(NamedTuple):
    """What a process holds."""

    runs: int
    bytes: int
    files: int
    seconds: float
    """Of CPU, since its start."""


def seen(runs: int) -> Seen:
    """Look at this process.

    Args:
        runs: how many there were.
    """
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return Seen(
        runs, pages * os.sysconf("SC_PAGE_SIZE"), len(list(Path("/proc/self/fd").iterdir())), time.process_time()
    )


def data() -> np.ndarray:
    """Two clusters."""
    numbers = np.random.default_rng(0)
    return np.concatenate([numbers.normal(0.0, 1.0, 100), numbers.normal(5.0, 2.0, 200)])


def swept() -> Iterator[int]:
    """Sweeps, call by call; yields how many runs each had."""
    for first in itertools.count(0, AT_ONCE):
        gmm.sweep(data(), seed=range(first, first + AT_ONCE), n_components=2, overrides=SMALL)
        yield AT_ONCE


def fitted(tracking: str | None) -> Iterator[int]:
    """Fits with a record, which is read and removed.

    Args:
        tracking: `mlflow`, or None.
    """
    with tempfile.TemporaryDirectory() as scratch:
        if tracking is not None:
            import mlflow

            mlflow.set_tracking_uri(f"sqlite:///{scratch}/mlflow.db")
            mlflow.create_experiment("soak", f"file://{scratch}/mlruns")
            mlflow.set_experiment("soak")
        for seed in itertools.count():
            record = Path(scratch) / "record"
            gmm.fit(data(), n_components=2, seed=seed, overrides=SMALL, record=record, tracking=tracking)
            gmm.load(record)
            shutil.rmtree(record)
            shutil.rmtree(Path(scratch) / "mlruns", ignore_errors=True)
            yield 1


KINDS: dict[str, Callable[[], Iterator[int]]] = {
    "sweep": swept,
    "fit": lambda: fitted(None),
    "tracked": lambda: fitted("mlflow"),
}


def soak(kind: str, runs: int) -> list[Seen]:
    """Run, and look at twenty places.

    Args:
        kind: of runs.
        runs: how many.
    """
    done, places = 0, [runs * part // 20 for part in range(1, 21)]
    looks = []
    for more in KINDS[kind]():
        done += more
        if done >= places[0]:
            looks.append(seen(done))
            print(f"{done} runs, {looks[-1].bytes / 1e6:.1f} MB", file=sys.stderr, flush=True)
            places = [place for place in places if place > done]
        if not places:
            return looks
    return looks


def wrong(looks: list[Seen], settled: int) -> list[str]:
    """What did not stay as it was.

    Args:
        looks: at the process, in order.
        settled: runs after which it should.
    """
    later = [look for look in looks if look.runs >= settled]
    base, half, last = later[0], later[len(later) // 2], later[-1]
    found = []
    if last.bytes > GROWTH * base.bytes:
        found.append(f"memory grew from {base.bytes / 1e6:.1f} to {last.bytes / 1e6:.1f} MB")
    if last.files > base.files:
        found.append(f"open files grew from {base.files} to {last.files}")
    first, second = (
        (end.seconds - begin.seconds) / (end.runs - begin.runs) for begin, end in ((base, half), (half, last))
    )
    if second > SLOWER * first:
        found.append(f"a run took {first * 1e3:.1f} ms of CPU in the first half and {second * 1e3:.1f} in the second")
    return found


def main() -> None:
    """Print what each kind of runs takes, in a process of its own."""
    options = parser(__doc__)
    options.add_argument("--runs", type=int, default=20_000)
    options.add_argument("--kind", choices=KINDS, default="sweep")
    asked = options.parse_args()
    warnings.simplefilter("ignore")
    looks = soak(asked.kind, asked.runs)
    rows, before = [], None
    for look in looks:
        spent = "" if before is None else f"{(look.seconds - before.seconds) / (look.runs - before.runs) * 1e3:.2f}"
        rows.append((f"{look.runs:,}", f"{look.bytes / 1e6:.1f}", look.files, spent))
        before = look
    print_table((f"runs ({asked.kind})", "MB", "open files", "CPU ms a run"), rows)
    found = wrong(looks, asked.runs // 20)
    print("\n".join(found))
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
