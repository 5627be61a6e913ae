"""A whole `fit` of large data beside scikit-learn: CPU seconds, memory and log-likelihood.

Draws of four overlapping components in float32, one column in an npy file. Each fit is a process of its own; the first
one of a size fills the cache of compiled programs and is not counted. Ours is `fit` without tracking and pictures: it
reads the file, searches, fits, computes errors and writes labels. `condensed` is its way with so many data; `whole` is
that of fewer, with search.most_data raised, for up to a million. scikit-learn's `GaussianMixture` fits the array in
float64, one start with its defaults, and writes nothing. CPU seconds are of all threads; ours take less on the clock of
an idle machine. Memory is the largest of the process, with the data. Log-likelihoods are of all data, in float64.

    python -m benchmarks.large_data [--sizes 1000000 10000000] [--without-peer]

Seen on 2026-11-29 on 2 cores of an Intel Xeon that others kept busy:

| n | way | CPU seconds | ratio | MB | nats beside condensed |
| --- | --- | --- | --- | --- | --- |
| 1,000,000 | condensed | 3.2 | 1.0 | 487 | +0.000 |
| 1,000,000 | whole | 24.5 | 7.6 | 490 | -0.000 |
| 1,000,000 | scikit-learn | 4.5 | 1.4 | 417 | -4048.598 |
| 10,000,000 | condensed | 7.3 | 1.0 | 561 | +0.000 |
| 10,000,000 | scikit-learn | 31.3 | 4.3 | 2380 | -33222.057 |
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks import parser, print_table

WEIGHTS, LOCS, SCALES = (0.35, 0.3, 0.2, 0.15), (-4.0, 0.0, 1.5, 6.0), (1.0, 0.6, 1.4, 2.0)
MOST_WHOLE = 10**6
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
    megabytes: float
    log_likelihood: float


def draws(n: int) -> np.ndarray:
    """Draws of the four components."""
    random = np.random.default_rng(1)
    component = random.choice(len(WEIGHTS), n, p=WEIGHTS)
    return (np.take(LOCS, component) + np.take(SCALES, component) * random.standard_normal(n)).astype(np.float32)


def measured(command: list[str], folder: Path) -> tuple[float, float, str]:
    """CPU seconds, megabytes and output of a process, started by one that does nothing else."""
    code = (
        "import json, resource, subprocess, sys\n"
        "out = subprocess.run(sys.argv[1:], capture_output=True, text=True, check=True).stdout\n"
        "used = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "print(json.dumps([used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, out]))\n"
    )
    finished = subprocess.run(
        [sys.executable, "-c", code, *command], cwd=folder, capture_output=True, text=True, check=True
    )
    seconds, megabytes, out = json.loads(finished.stdout)
    return seconds, megabytes, out


def ours(file: Path, folder: Path, *overrides: str) -> Seen:
    """The second of two fits."""
    command = [sys.executable, "-m", "gmm_pipeline", "fit", str(file), *BASE, *overrides]
    for name in ("first", "second"):
        seconds, megabytes, _ = measured([*command, f"hydra.run.dir={name}{len(overrides)}{file.stem}"], folder)
    metrics = json.loads((folder / f"second{len(overrides)}{file.stem}" / "metrics.json").read_text())
    return Seen(seconds, megabytes, metrics["log_likelihood"])


def peer(file: Path, folder: Path) -> Seen:
    """scikit-learn's defaults."""
    seconds, megabytes, out = measured([sys.executable, "-c", PEER, str(file)], folder)
    return Seen(seconds, megabytes, float(out))


def main(arguments: argparse.Namespace) -> None:
    """Print the table."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for n in arguments.sizes:
            file = folder / f"{n}.npy"
            np.save(file, draws(n))
            found = {"condensed": ours(file, folder)}
            if n <= MOST_WHOLE:
                found["whole"] = ours(file, folder, f"search.most_data={n}")
            if not arguments.without_peer:
                found["scikit-learn"] = peer(file, folder)
            for way, seen in found.items():
                ratio = seen.cpu_seconds / found["condensed"].cpu_seconds
                lower = seen.log_likelihood - found["condensed"].log_likelihood
                rows.append(
                    [f"{n:,}", way, f"{seen.cpu_seconds:.1f}", f"{ratio:.1f}", f"{seen.megabytes:.0f}", f"{lower:+.3f}"]
                )
    print_table(["n", "way", "CPU seconds", "ratio", "MB", "nats beside condensed"], rows)


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("--sizes", type=int, nargs="+", default=[10**6, 10**7], help="numbers of observations")
    options.add_argument("--without-peer", action="store_true", help="leave scikit-learn out")
    main(options.parse_args())
