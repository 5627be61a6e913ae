"""Seconds of a first answer, as multiples of what importing JAX and optax takes in the same minute.

Nothing is cached anywhere, then everything but the outputs folder, and one datum more: how long it takes until a fit
of a small file has chosen its number of components, how many programs are compiled for it, and how soon the other
commands answer that people type first. All kinds take turns, each a process of its own, so that a busy machine slows
them alike: trust the ratios, and processor seconds (of all threads and children) more than those of the clock.

    python -m benchmarks.first_answer

Seen on 2026-11-28 on 2 quiet cores, medians of 3 in seconds of the clock and multiples of the 0.70 s of importing:
choosing among 9 numbers of components for the galaxies, nothing cached, 4.0 (5.7), with 2 programs, and of one datum
more, warm, 2.1 (3.0); of 6,000 data, warm, 2.3; a default fit 1.57 (2.2), with tracking and pictures 2.87; `fit --help`
0.32, a wrong key 0.31. Of a warm default fit, Python, Hydra and importing take 0.85.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np

from benchmarks import ROOT, keep, parser, print_table, ratios_option, some_of

GALAXIES = ROOT / "tests" / "data" / "galaxies.csv"
QUIET = ["tracking=none", "figures=none", "animation=none"]
KINDS = ("import", "cold", "warm", "large", "default", "tracked", "help", "mistake")
IMPORT, COLD = KINDS[:2]
LONG = 0.1
"""Seconds of compiling from which on a program is no small one."""
COUNTING = """
import atexit, json, sys
from jax import monitoring
found = []
def heed(event, duration_secs, **about):
    if event == "/jax/core/compile/backend_compile_duration":
        found.append([str(about.get("fun_name")), duration_secs])
monitoring.register_event_duration_secs_listener(heed)
place = sys.argv.pop(1)
atexit.register(lambda: open(place, "w").write(json.dumps(found)))
from gmm_pipeline.__main__ import main
main()
"""
"""The program itself, with a list of what it compiles, or loads, left in a file."""


class Kind(NamedTuple):
    """What is timed."""

    what: str
    words: list[str]
    limit: str
    code: int = 0
    """The exit code to expect."""
    cold: bool = False
    """Whether it starts with no compiled program at all."""


class Run(NamedTuple):
    """One process."""

    seconds: float
    processor: float


def timed(words: list[str], folder: Path, cache: Path, code: int = 0) -> Run:
    """Time a process in a folder of its own; its caches are the user's, but for compiled programs."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    environment |= {"JAX_COMPILATION_CACHE_DIR": str(cache), "PYTHONPATH": str(ROOT)}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    ended = subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if ended.returncode != code:
        sys.exit(f"{' '.join(words)} ended with exit code {ended.returncode}:\n{ended.stderr}")
    return Run(seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def kinds(data: Path, overrides: list[str]) -> dict[str, Kind]:
    """What is timed, by name."""

    def galaxies(n_data: int) -> list[str]:
        choose = ["data=file", f"data.path={data / f'{n_data}.csv'}", "n_components=auto", "prior=flat"]
        return ["-m", "gmm_pipeline", "fit", *choose, *QUIET, *overrides]

    fit = ["-m", "gmm_pipeline", "fit"]
    every = (
        Kind("importing JAX and optax", ["-c", "import jax, optax"], ""),
        Kind("auto, galaxies, nothing cached", galaxies(82), "5", cold=True),
        Kind("auto, galaxies and one more, warm", galaxies(83), "2"),
        Kind("auto, 6,000 data, warm", [*fit, "n_components=auto", "prior=flat", *QUIET, *overrides], "2 s"),
        Kind("default fit, warm", [*fit, *QUIET, *overrides], "1.5"),
        Kind("the same with tracking and pictures", [*fit, "animation=none", *overrides], "3 s"),
        Kind("fit --help", [*fit, "--help"], "0.3 s"),
        Kind("a wrong key", [*fit, "stepz=3"], "0.3 s", code=2),
    )
    return dict(zip(KINDS, every, strict=True))


def compiled(words: list[str], folder: Path, cache: Path) -> list[tuple[str, float]]:
    """What a command compiles with an empty cache: names and seconds."""
    place = folder / "compiled.json"
    timed(["-c", COUNTING, str(place), *words[2:]], folder, cache)
    return json.loads(place.read_text(encoding="utf-8"))


def main() -> None:
    """Print medians and ratios, and what the first answer compiles."""
    options = ratios_option(parser(__doc__))
    options.add_argument("--runs", type=int, default=5, help="runs of each kind")
    options.add_argument(
        "--kinds", type=some_of(KINDS), default=list(KINDS), help=f"some of {','.join(KINDS)}; import is always timed"
    )
    arguments = options.parse_intermixed_args()

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        values = np.loadtxt(GALAXIES, skiprows=1)
        for some in (values, np.append(values, np.median(values))):
            np.savetxt(folder / f"{len(some)}.csv", some, header="velocity", comments="")
        asked = kinds(folder, arguments.overrides)
        asked = {name: kind for name, kind in asked.items() if name in (IMPORT, *arguments.kinds)}
        cache, outputs = folder / "programs", folder / "outputs"
        for place in (cache, outputs):
            place.mkdir()
        programs = compiled(asked[COLD].words, outputs, cache) if COLD in asked else []
        for kind in asked.values():  # fills what is not filled yet: caches, and the tracking store
            timed(kind.words, outputs, cache, kind.code)
        runs: dict[str, list[Run]] = {name: [] for name in asked}
        for _ in range(arguments.runs):
            for name, kind in asked.items():
                # The store of the tracked fits stays; others begin in an empty folder.
                here = outputs if name == "tracked" else Path(tempfile.mkdtemp(dir=folder))
                own = Path(tempfile.mkdtemp(dir=folder)) if kind.cold else cache
                runs[name].append(timed(kind.words, here, own, kind.code))

    def middle(name: str, of: str) -> float:
        return median(getattr(run, of) for run in runs[name])

    print(f"medians of {arguments.runs}; load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    header = ("what", "wall / s", "× import", "processor / s", "× import", "to reach")
    print_table(
        header,
        (
            (
                kind.what,
                f"{middle(name, 'seconds'):.2f}",
                f"{middle(name, 'seconds') / middle(IMPORT, 'seconds'):.2f}",
                f"{middle(name, 'processor'):.2f}",
                f"{middle(name, 'processor') / middle(IMPORT, 'processor'):.2f}",
                kind.limit,
            )
            for name, kind in asked.items()
        ),
    )
    keep(
        arguments.json,
        {
            f"{kind.what}, beside importing JAX": middle(name, "processor") / middle(IMPORT, "processor")
            for name, kind in asked.items()
            if name != IMPORT
        },
    )
    if COLD not in asked:
        return
    long = [f"{name} {seconds:.2f} s" for name, seconds in programs if seconds >= LONG]
    print(f"compiled for the first answer: {len(long)} programs ({', '.join(long)})")
    print(f"and {len(programs) - len(long)} below {LONG} s, {sum(seconds for _, seconds in programs):.2f} s in all")


if __name__ == "__main__":
    main()
