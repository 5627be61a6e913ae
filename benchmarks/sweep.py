"""A whole sweep, from outside: seconds, memory, break-down, and runs per second beside Hydra's own launcher.

The sweep is that of 1 to 5 components with each of many seeds, 1,000 steps each, with everything that is on by default:
records, MLflow's store, pictures. Each sweep is a process in a folder of its own. The first has no cache of compiled
programs, those after it have that of the first. Hydra's launcher gets a part of the same runs, once as they are and
once without pictures (it draws none of a sweep, but imports and checks), and takes turns with ours on that part, since
all of them would take it too long. Its rate is compared with ours on the same part and with ours on all: on few runs
ours is mostly start, pictures and tracking of the sweep, whose cost does not grow with the runs.

    python -m benchmarks.sweep [--seeds 200] [--basic-seeds 8] [--large]

`--large` adds a sweep of five times as many seeds, for what memory grows by. `start-up` is what the sweep's own log
cannot see: imports before it, the interpreter's end after it.
"""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks import keep, parser, print_table, ratios_option
from benchmarks.processes import Command, break_down, programs

COMPONENTS = 5
STEPS = 1_000
LARGE = 5
"""How many times as many seeds the large sweep has."""
BASIC = "hydra/launcher=basic"
NO_PICTURES = ["figures=none", "animation=none"]
SECTIONS = ["start-up", "compose", "load", "fit", "records", "table", "pictures", "tracking"]

MOST_SECONDS = 40.0
MOST_BYTES = 2e9
LEAST_RATIO = 10.0
MOST_GROWTH = 1.3


class Swept(NamedTuple):
    """One sweep that has ended."""

    name: str
    runs: int
    seconds: float
    peak: int
    sections: dict[str, float]
    """Empty for Hydra's own launcher."""
    programs: int | None
    """None for Hydra's own launcher."""

    @property
    def rate(self) -> float:
        """Runs per second."""
        return self.runs / self.seconds


class Sweeps:
    """Where sweeps are run, each in a folder of its own, with one cache of compiled programs."""

    def __init__(self, scratch: Path, overrides: Sequence[str]):
        """Nothing is run yet.

        Args:
            scratch: a folder for all of it.
            overrides: for every sweep.
        """
        self._scratch, self._overrides, self._count = scratch, overrides, 0

    def run(self, name: str, seeds: int, *overrides: str) -> Swept:
        """Run a sweep to its end."""
        self._count += 1
        folder = self._scratch / str(self._count)
        components = ",".join(str(k) for k in range(1, COMPONENTS + 1))
        words = [f"n_components={components}", f"seed=range(0,{seeds})", f"steps={STEPS}"]
        words = ["fit", "--multirun", *words, "sweep=measured", *overrides, *self._overrides]
        ended = Command(folder, words, cache=self._scratch / "cache").succeeded()
        swept = folder / "outputs" / "sweeps" / "measured"
        runs = len(list(swept.glob("*/record.json")))
        if BASIC in overrides:
            return Swept(name, runs, ended.seconds, ended.peak, {}, None)
        sections = break_down(swept)
        total = sections.pop("total")
        sections.pop("start_up")
        sections = {"start-up": ended.seconds - total, **sections, "other": total - sum(sections.values())}
        return Swept(name, runs, ended.seconds, ended.peak, sections, programs(swept))


def judged(said: str, *, kept: bool) -> str:
    """A limit, and whether it was kept."""
    return f"{said}: {'kept' if kept else 'MISSED'}"


def of_limits(full: Swept, pairs: Sequence[tuple[Swept, Swept]], large: Swept | None) -> list[tuple[str, str, str]]:
    """What is promised: what, what was seen, and the limit.

    Args:
        full: the sweep of all seeds.
        pairs: of the same runs, by our launcher and by Hydra's.
        large: the sweep of more seeds.
    """
    # The promises are of 1,000 runs; a smaller sweep is held to the same, which says little.
    rows = [
        (
            "seconds in all",
            f"{full.seconds:.1f}",
            judged(f"at most {MOST_SECONDS:g}", kept=full.seconds <= MOST_SECONDS),
        ),
        ("peak memory, MB", f"{full.peak / 1e6:,.0f}", judged("below 2,000", kept=full.peak < MOST_BYTES)),
        ("programs", str(full.programs), judged("1", kept=full.programs == 1)),
    ]
    for ours, basic in pairs:
        for what, one in (("the same runs", ours), ("all runs", full)):
            ratio = one.rate / basic.rate
            said = judged(f"at least {LEAST_RATIO:g}", kept=ratio >= LEAST_RATIO)
            rows.append((f"runs per second, {what} to {basic.name}", f"{ratio:.1f}", said))
    if large is not None:
        growth = large.peak / full.peak
        said = judged(f"at most {MOST_GROWTH:g}", kept=growth <= MOST_GROWTH)
        rows.append((f"peak memory of {large.runs:,} runs to that of {full.runs:,}", f"{growth:.2f}", said))
    return rows


def main() -> None:
    """Print the sweeps, a column each, and what they are held to."""
    options = ratios_option(parser(__doc__))
    options.add_argument("--seeds", type=int, default=200, help="seeds of each number of components")
    options.add_argument("--basic-seeds", type=int, default=8, help="those of them that Hydra's launcher gets")
    options.add_argument("--large", action="store_true", help="sweep five times as many seeds too")
    arguments = options.parse_intermixed_args()

    with tempfile.TemporaryDirectory() as scratch:
        sweeps = Sweeps(Path(scratch), arguments.overrides)
        cold = sweeps.run("no cache", arguments.seeds)
        warm = sweeps.run("cache", arguments.seeds)
        few, pairs = arguments.basic_seeds, []
        for name, overrides in (("pictures", []), ("no pictures", NO_PICTURES)):
            ours = sweeps.run(f"part, {name}", few, *overrides)
            pairs.append((ours, sweeps.run(f"basic, {name}", few, BASIC, *overrides)))
        large = sweeps.run("large", LARGE * arguments.seeds) if arguments.large else None

    columns = [cold, warm, *(one for pair in pairs for one in pair), *([large] if large else [])]
    sections = list(dict.fromkeys([*SECTIONS, *(name for one in columns for name in one.sections)]))
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print_table(
        ("", *(one.name for one in columns)),
        [
            ("runs", *(f"{one.runs:,}" for one in columns)),
            ("seconds in all", *(f"{one.seconds:.1f}" for one in columns)),
            ("runs per second", *(f"{one.rate:.2f}" for one in columns)),
            ("peak memory, MB", *(f"{one.peak / 1e6:,.0f}" for one in columns)),
            ("programs", *("" if one.programs is None else one.programs for one in columns)),
            *(
                (name, *(f"{one.sections.get(name, 0.0):.1f}" if one.sections else "" for one in columns))
                for name in sections
            ),
        ],
    )
    print()
    print_table(("what", "seen", "limit"), of_limits(cold, pairs, large))
    keep(arguments.json, {f"seconds of a run beside {basic.name}": basic.rate / warm.rate for _, basic in pairs})


if __name__ == "__main__":
    main()
