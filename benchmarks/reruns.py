"""Does `rerun` give every kind of run again, bit for bit, in a process that shares nothing with the first?

Each kind is fitted by the real command line, in a process of its own, then run again in another one, both without a
cache of compiled programs: each optimizer family, each prior, a column of a file, float64, a selection, a bootstrap,
the random numbers of older JAX, and three runs of a sweep of two hundred. `rerun` compares, and so does this script:
the bytes of each result.

    python -m benchmarks.reruns

Ends with exit code 1 where a run is not reproduced; `--keep FOLDER` leaves everything there to look at.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks import ROOT, parser, print_table
from gmm_pipeline.records import artifacts

QUIET = ("figures=none", "animation=none", "tracking=none", "compilation_cache=null")
FAMILIES = {
    "em": "steps=300 prior=flat",
    "squarem": "steps=200 prior=flat",
    "lbfgs": "steps=200",
    "sgd": "",
    "adam": "",
}
SWEEP = "study"


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    seconds: float
    said: str


class Seen(NamedTuple):
    """A run and what came of running it again."""

    kind: str
    first: Ended
    again: Ended
    n_files: int
    differing: list[str]

    @property
    def reproduced(self) -> bool:
        """Whether the command says so and the bytes do."""
        return self.again.code == 0 and not self.differing and self.n_files > 0


def kinds(draws: int) -> dict[str, list[str]]:
    """The words of each run, but for those that all share.

    Args:
        draws: data of each run.
    """
    data = [f"data.n_draws={draws}"]
    priors = sorted(path.stem for path in (ROOT / "conf" / "prior").glob("*.yaml"))
    of_file = ["data=file", "data.path=own/waiting.csv", "data.column=minutes", "prior=flat"]
    return {
        **{f"optimizer={name}": [*data, f"optimizer={name}", *words.split()] for name, words in FAMILIES.items()},
        **{f"prior={name}": [*data, f"prior={name}"] for name in priors},
        "a column of a file": of_file,
        "precision=float64": [*data, "precision=float64"],
        "n_components=auto": [*data, "n_components=auto", "selection.largest=3", "prior=flat"],
        "bootstrap=20": [*data, "bootstrap=20"],
        "threefry_partitionable=false": [*data, "threefry_partitionable=false"],
    }


def ended(folder: Path, words: Sequence[str]) -> Ended:
    """Run the command line in a process of its own."""
    environment = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    paths = [str(ROOT), *filter(None, [environment.get("PYTHONPATH")])]
    began = time.perf_counter()
    finished = subprocess.run(
        [sys.executable, "-m", "gmm_pipeline", *words],
        cwd=folder,
        env={**environment, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )
    return Ended(finished.returncode, time.perf_counter() - began, finished.stdout + finished.stderr)


def run_again(folder: Path, kind: str, first: Ended, record: Path) -> Seen:
    """Run a record again, and compare the bytes of its results."""
    place = Path("outputs") / "rerun" / "-".join(record.parts[-2:])
    words = [f"run={record.relative_to(folder)}", "compilation_cache=null", f"hydra.run.dir={place}"]
    again = ended(folder, ["rerun", *words])
    names = [name for name in artifacts.RESULTS if (record / name).exists()]
    bytes_of = {name: (folder / place / name) for name in names}
    differing = [
        name
        for name, path in bytes_of.items()
        if not path.exists() or path.read_bytes() != (record / name).read_bytes()
    ]
    return Seen(kind, first, again, len(names), differing)


def seen(folder: Path, steps: int, draws: int, sweep_runs: int, overrides: Sequence[str]) -> Iterator[Seen]:
    """Fit and run again, one kind after the other.

    Args:
        folder: where the records are put.
        steps: of each run that does not say so itself.
        draws: data of each run.
        sweep_runs: runs of the sweep.
        overrides: for every fit.
    """
    (folder / "own").mkdir(parents=True)
    data = np.random.default_rng(0).normal([[54.5], [80.0]], [[5.9], [5.9]], size=(2, 136)).ravel()
    (folder / "own" / "waiting.csv").write_text("\n".join(["minutes", *map(repr, data.tolist())]))
    for number, (kind, words) in enumerate(kinds(draws).items()):
        record = folder / "outputs" / "fit" / str(number)
        asked = [*QUIET, f"steps={steps}", *words, *overrides, f"hydra.run.dir={record.relative_to(folder)}"]
        yield run_again(folder, kind, ended(folder, ["fit", *asked]), record)
    swept = folder / "outputs" / "sweeps" / SWEEP
    asked = [
        *QUIET,
        f"steps={steps}",
        f"data.n_draws={draws}",
        "n_components=1,2,3,4",
        f"seed=range(0,{sweep_runs // 4})",
    ]
    first = ended(folder, ["fit", "--multirun", *asked, *overrides, f"sweep={SWEEP}"])
    for number in (0, sweep_runs // 2, sweep_runs - 1):
        yield run_again(folder, f"run {number} of a sweep of {sweep_runs}", first, swept / str(number))


def main() -> None:
    """Print each kind and whether its bits came again."""
    options = parser(__doc__)
    options.add_argument("--steps", type=int, default=300, help="steps of each run")
    options.add_argument("--draws", type=int, default=1000, help="data of each run")
    options.add_argument("--runs", type=int, default=200, help="runs of the sweep, a multiple of 4")
    options.add_argument("--keep", type=Path, help="a new folder for the records, which is kept")
    arguments = options.parse_intermixed_args()
    if arguments.keep is not None and arguments.keep.exists():
        options.error(f"--keep {arguments.keep} exists: name a new folder")
    if arguments.runs < 4 or arguments.runs % 4:
        options.error(f"--runs {arguments.runs} is no multiple of 4")
    rows, broken = [], []
    with tempfile.TemporaryDirectory() as scratch:
        folder = (arguments.keep or Path(scratch) / "reruns").absolute()
        for one in seen(folder, arguments.steps, arguments.draws, arguments.runs, arguments.overrides):
            bits = "the same" if one.reproduced else f"NOT: {', '.join(one.differing) or one.again.said.strip()[-200:]}"
            rows.append((one.kind, one.n_files, f"{one.first.seconds:.1f}", f"{one.again.seconds:.1f}", bits))
            broken += [] if one.reproduced else [one.kind]
            print(f"{one.kind}: {bits}", file=sys.stderr, flush=True)
    print_table(("run", "files", "fit / s", "rerun / s", "bits"), rows)
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
