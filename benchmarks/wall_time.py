"""Seconds of a whole `fit`, from the shell's prompt back to it.

The first run of a store makes the store and fills the cache of compiled programs; what is timed are the runs after it,
each a new process, default settings (two_modes, 2,000 steps of adam) in a temporary folder. The kinds of run take
turns, so that a busy machine slows all of them alike: trust the ratios more than the seconds.

    python -m benchmarks.wall_time

The limits are for a machine with 2 cores and nothing else to do. Seen on 2026-11-23 on 2 cores of an Intel Xeon shared
with other work, medians of 7 runs: tracking and pictures 5.24 s (5.14 to 5.64), neither 1.85 s (0.35 of that), with
film 7.03 s (1.79 s more). Of the 5.24 s start-up takes 1.05, pictures 1.74, tracking 1.59, the fit 0.33.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks import parser, print_table

KINDS = {
    "tracking and pictures": ["animation=none"],
    "neither": ["tracking=none", "figures=none", "animation=none"],
    "tracking, pictures and film": [],
}
PICTURES, NEITHER, FILM = KINDS
LIMITS = {PICTURES: "6", NEITHER: "2.5", FILM: f"4 more than {PICTURES}"}
SECTIONS = ["start_up", "load", "fit", "evaluate", "record", "figures", "animation", "tracking"]


class Run(NamedTuple):
    """One process."""

    seconds: float
    sections: dict[str, float]
    """From `timings` in its record; `exit` is what the record cannot see."""


def run(folder: Path, overrides: list[str]) -> Run:
    """Time one `fit` in `folder`.

    Its environment is the user's own, less what would move the caches away from the temporary folder.
    """
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("JAX_COMPILATION_CACHE", "MLFLOW_"))
    }
    before = set(folder.glob("outputs/fit/*"))
    began = time.perf_counter()
    finished = subprocess.run(
        [sys.executable, "-m", "gmm_pipeline", "fit", *overrides],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - began
    if finished.returncode != 0:
        sys.exit(f"fit {' '.join(overrides)} ended with exit code {finished.returncode}:\n{finished.stderr}")
    (record,) = set(folder.glob("outputs/fit/*")) - before
    sections = json.loads((record / "record.json").read_text(encoding="utf-8"))["timings"]
    total = sections.pop("total")
    other = total - sum(sections.values())
    return Run(seconds, {**sections, "other": other, "interpreter and exit": seconds - total})


def main() -> None:
    """Print medians, ranges, ratios and the break-down."""
    options = parser(__doc__)
    options.add_argument("--runs", type=int, default=5, help="runs of each kind")
    arguments = options.parse_intermixed_args()

    runs: dict[str, list[Run]] = {kind: [] for kind in KINDS}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        first = run(folder, [*KINDS[FILM], *arguments.overrides])
        for _ in range(arguments.runs):
            for kind, overrides in KINDS.items():
                runs[kind].append(run(folder, [*overrides, *arguments.overrides]))

    seconds = {kind: [one.seconds for one in runs[kind]] for kind in KINDS}
    medians = {kind: median(values) for kind, values in seconds.items()}
    sections = list(dict.fromkeys([*SECTIONS, *first.sections]))

    def parts(kind: str) -> list[str]:
        return [f"{median(one.sections.get(name, 0.0) for one in runs[kind]):.2f}" for name in sections]

    print(f"seconds, medians of {arguments.runs} runs; load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    header = ("fit with", "wall", "from - to", "limit", f"ratio to {PICTURES}", *sections)
    rows = [
        (
            kind,
            f"{medians[kind]:.2f}",
            f"{min(seconds[kind]):.2f} - {max(seconds[kind]):.2f}",
            LIMITS[kind],
            f"{medians[kind] / medians[PICTURES]:.2f}",
            *parts(kind),
        )
        for kind in KINDS
    ]
    # Transposed, since the sections are many and the kinds three.
    print_table(*_transposed(header, rows))
    print(f"first run, of {FILM}, on no store: {first.seconds:.2f} s")
    print(f"film: {medians[FILM] - medians[PICTURES]:+.2f} s")


def _transposed(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    first, *others = zip(header, *rows, strict=True)
    return tuple(first), [tuple(other) for other in others]


if __name__ == "__main__":
    main()
