"""A whole `fit` of large data beside scikit-learn: CPU seconds, memory and log-likelihood.

Draws of four overlapping components in float32, one column in an npy file. Each fit is a process of its own; the first
one of a size fills the cache of compiled programs and is not counted. Ours is `fit` without tracking and pictures: it
reads the file, searches, fits, computes errors and writes labels. `condensed` is its way with so many data; `whole` is
that of fewer, with search.most_data raised, for up to a million. scikit-learn's `GaussianMixture` fits the array in
float64, one start with its defaults, and writes nothing. CPU seconds are of all threads; ours take less on the clock of
an idle machine. Memory is the largest of the process, with the data. Log-likelihoods are of all data, in float64.

    python -m benchmarks.large_data [--sizes 1000000 100000000] [--whole] [--columns] [--without-peer]

Seen on 2026-11-29 on 2 cores of an AMD EPYC, with `--columns --without-peer`, while others kept them busy with a load
of 6 to 13: on the clock of an idle machine it takes less.

| n | way | CPU seconds | ratio | seconds | MB | nats beside condensed |
| --- | --- | --- | --- | --- | --- | --- |
| 1,000,000 | condensed | 3.1 | 1.0 | 8.1 | 467 | +0.000 |
| 10,000,000 | condensed | 4.7 | 1.0 | 13.2 | 473 | +0.000 |
| 1,000,001 × 8 | condensed | 80.5 | 1.0 | 147.3 | 976 | +0.000 |

Before data were memory-mapped, on another machine, ten million took 7.3 CPU seconds and 561 MB; scikit-learn took 31.3
and 2380 MB. On quiet cores the two sizes took 2.6 and 3.6 seconds on the clock, 432 and 440 MB; a fit of a hundred
million, by itself, 27 seconds and 848 MB, of which the file is 400; and eight columns 22 seconds, 31 of the CPU.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks import parser, print_table

WEIGHTS, LOCS, SCALES = (0.35, 0.3, 0.2, 0.15), (-4.0, 0.0, 1.5, 6.0), (1.0, 0.6, 1.4, 2.0)
MOST_WHOLE, MOST_OF_PEER, ROWS = 10**6, 10**7, 10**6 + 1
BASE = ["n_components=4", "tracking=none", "figures=none", "animation=none", "prior=flat"]
PEER = """
import sys, numpy as np
from sklearn.mixture import GaussianMixture
data = np.load(sys.argv[1]).astype(np.float64)[:, None]
print(len(data) * GaussianMixture(4, random_state=0).fit(data).score(data))
"""


class Seen(NamedTuple):
    """One process."""

    cpu_seconds: float
    wall_seconds: float
    megabytes: float
    log_likelihood: float


def draws(n: int, seed: int) -> np.ndarray:
    """Draws of the four components."""
    random = np.random.default_rng(seed)
    component = random.choice(len(WEIGHTS), n, p=WEIGHTS)
    return (np.take(LOCS, component) + np.take(SCALES, component) * random.standard_normal(n)).astype(np.float32)


def rows(n: int) -> np.ndarray:
    """Draws of eight components in eight columns."""
    random = np.random.default_rng(3)
    locs, factors = 3.0 * random.normal(size=(8, 8)), 0.4 * random.normal(size=(8, 8, 8)) + np.eye(8)
    component, found = random.integers(0, 8, n), random.standard_normal((n, 8))
    for k in range(8):
        mine = component == k
        found[mine] = locs[k] + found[mine] @ factors[k].T
    return found.astype(np.float32)


def write_draws(file: Path, n: int) -> None:
    """Draws of the four components, a million at a time."""
    found = np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=(n,))
    for number, first in enumerate(range(0, n, 10**6)):
        found[first : first + 10**6] = draws(min(10**6, n - first), number)
    found.flush()


def measured(command: list[str], folder: Path) -> tuple[float, float, float, str]:
    """CPU seconds, seconds, megabytes and output of a process, started by one that does nothing else."""
    code = (
        "import json, resource, subprocess, sys, time\n"
        "began = time.perf_counter()\n"
        "out = subprocess.run(sys.argv[1:], capture_output=True, text=True, check=True).stdout\n"
        "used = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "elapsed = time.perf_counter() - began\n"
        "print(json.dumps([used.ru_utime + used.ru_stime, elapsed, used.ru_maxrss / 1024, out]))\n"
    )
    finished = subprocess.run(
        [sys.executable, "-c", code, *command], cwd=folder, capture_output=True, text=True, check=True
    )
    cpu_seconds, seconds, megabytes, out = json.loads(finished.stdout)
    return cpu_seconds, seconds, megabytes, out


def ours(file: Path, folder: Path, *overrides: str) -> Seen:
    """The second of two fits."""
    command = [sys.executable, "-m", "gmm_pipeline", "fit", str(file), *BASE, *overrides]
    seen = Seen(0.0, 0.0, 0.0, 0.0)
    for _ in ("first", "second"):
        shutil.rmtree(folder / "record", ignore_errors=True)
        cpu_seconds, seconds, megabytes, _ = measured([*command, "hydra.run.dir=record"], folder)
        metrics = json.loads((folder / "record" / "metrics.json").read_text())
        seen = Seen(cpu_seconds, seconds, megabytes, metrics["log_likelihood"])
    return seen


def peer(file: Path, folder: Path) -> Seen:
    """scikit-learn's defaults."""
    cpu_seconds, seconds, megabytes, out = measured([sys.executable, "-c", PEER, str(file)], folder)
    return Seen(cpu_seconds, seconds, megabytes, float(out))


def main(arguments: argparse.Namespace) -> None:
    """Print the table."""
    table = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for n in [*arguments.sizes, *([ROWS] if arguments.columns else [])]:
            file, of_columns = folder / "data.npy", n == ROWS
            if of_columns:
                np.save(file, rows(n))
            else:
                write_draws(file, n)
            found = {"condensed": ours(file, folder, *["n_components=8"] * of_columns)}
            if n <= MOST_WHOLE and arguments.whole:
                found["whole"] = ours(file, folder, f"search.most_data={n}", f"search.most_rows={n}")
            if not arguments.without_peer and n <= MOST_OF_PEER and not of_columns:
                found["scikit-learn"] = peer(file, folder)
            for way, seen in found.items():
                ratio = seen.cpu_seconds / found["condensed"].cpu_seconds
                lower = seen.log_likelihood - found["condensed"].log_likelihood
                times = f"{seen.cpu_seconds:.1f}", f"{ratio:.1f}", f"{seen.wall_seconds:.1f}"
                size = f"{n:,}" + " × 8" * of_columns
                table.append([size, way, *times, f"{seen.megabytes:.0f}", f"{lower:+.3f}"])
    print_table(["n", "way", "CPU seconds", "ratio", "seconds", "MB", "nats beside condensed"], table)


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("--sizes", type=int, nargs="+", default=[10**6, 10**7, 10**8], help="numbers of observations")
    options.add_argument("--whole", action="store_true", help="also fit a million without condensing")
    options.add_argument("--columns", action="store_true", help="also fit eight columns")
    options.add_argument("--without-peer", action="store_true", help="leave scikit-learn out")
    main(options.parse_args())
