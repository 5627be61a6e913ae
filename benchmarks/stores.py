"""Is a store of 20,000 runs as fast as an empty one?

Two folders take turns: one whose store has a fit and a sweep, and one that has thousands of runs more, each with a
record. The runs are copies of the first ones, written as sweeps of a thousand by the program's own writer. Measured are
whole commands, warm, each a process of its own, in CPU seconds with those of their children, which other work on the
machine changes least; `ui` in seconds from its start to the line with the address, and then the list of runs that
its first page asks for. A ratio is the median of the pairs.

    python -m benchmarks.stores [--runs 20000] [--rounds 5] [--only "fit,ui"]

Exit code 1 where a ratio is above 1.2.

Seen on 2026-11-29 on 2 cores that other work kept busy, with a load of 5 to 12, three rounds: fit 0.89, a sweep of 50
1.09, the same sweep again 1.02, `log` of a sweep that is there 0.99, run=latest 1.19 before it listed folders without
pathlib, run=ID 0.97, ui 1.14. `log` of 41 fits took 1.65 times as long before there were indexes of ours, and 1.03
since.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

from benchmarks import keep, parser, print_table, ratios_option, some_of
from benchmarks.processes import Command
from gmm_pipeline.records import contents
from gmm_pipeline.tracking.calls import NUMBER, SWEEP_ID, Entry, entry_of
from gmm_pipeline.tracking.loggable import RECORD_ID
from gmm_pipeline.tracking.record_rows import usable_experiment
from gmm_pipeline.tracking.rows import Rows, connected, insert_runs, transaction
from gmm_pipeline.tracking.store import artifact_root
from gmm_pipeline.tracking.sweeps import PARENT

LIMIT = 1.2
OF_A_SWEEP, SINGLE = 1_000, 20
"""Runs of each sweep in the large store; one run of so many is a fit of its own."""
SMALL = ["search=none", "steps=40", "figures=none", "animation=none"]
SWEEP = ["fit", "--multirun", "n_components=2", *SMALL]
ADDRESS = re.compile(rb"All runs of .*?: (http://[^/]+)/#/experiments/(\d+)")


def fill(outputs: Path, runs: int) -> None:
    """Write copies of the newest fit and of the newest run of a sweep into the store, and their records.

    Args:
        outputs: with a fit and a sweep that were logged.
        runs: how many are written.
    """
    file = outputs / "mlflow.db"
    (single,), (child, *_) = outputs.glob("fit/*"), outputs.glob("sweeps/*/0")
    manifest = json.loads((child.parent / "sweep.json").read_text(encoding="utf-8"))
    entries = {record: entry_of(record, contents.read(record), record.name, 100) for record in (single, child)}
    experiment_id = usable_experiment(file, "gmm_pipeline")
    if experiment_id is None:
        sys.exit("this version of MLflow is written to by its own calls alone, which would take an hour")
    with connected(file) as store:
        (name,) = store.execute("SELECT name FROM runs WHERE run_uuid = ?", (manifest["id"],)).fetchone()
        of_parent = dict(store.execute("SELECT key, value FROM tags WHERE run_uuid = ?", (manifest["id"],)))
    rows, left, number = Rows(file, artifact_root(file)), runs - runs // SINGLE, 0
    parent = entries[single]._replace(points=[], params={}, dataset=None)
    while left > 0:
        folder, sweep_id = outputs / "sweeps" / f"1970-{number}", f"{number:032x}"
        members = range(min(OF_A_SWEEP, left))
        rows.parent(
            sweep_id, experiment_id, parent._replace(name=f"{name} {number}", tags={**of_parent, SWEEP_ID: sweep_id})
        )
        written = {}
        for member in members:
            record = _copied(child, folder / str(member))
            tags = {PARENT: sweep_id, NUMBER: str(member), RECORD_ID: f"{number:016x}{member:016x}"}
            written[member] = _with_tags(entries[child], tags), record
        rows.write(sweep_id, experiment_id, written, {})
        left, number = left - OF_A_SWEEP, number + 1
    alone = {}
    for number in range(runs // SINGLE):
        run_id = f"f{number:031x}"
        _copied(single, outputs / "fit" / f"1970-{number}")
        alone[run_id] = _with_tags(entries[single], {RECORD_ID: run_id}), f"{artifact_root(file)}/{run_id}/artifacts"
    with transaction(file) as store:
        insert_runs(store, experiment_id, alone)


def _with_tags(entry: Entry, tags: dict[str, str]) -> Entry:
    """A run of a day long ago."""
    return entry._replace(tags={**entry.tags, **tags}, started=1_000, ended=2_000)


def _copied(record: Path, copy: Path) -> Path:
    """A record that has only its last file, which all of them share."""
    copy.mkdir(parents=True)
    source = record / "record.json"
    old = source.with_name(".old")
    if not old.exists():
        old.write_bytes(source.read_bytes())
        os.utime(old, (0, 0))
    os.link(old, copy / "record.json")
    return copy


class Store:
    """A folder whose commands are measured."""

    def __init__(self, folder: Path, cache: Path):
        self._folder, self._cache, self._count = folder, cache, 0
        self.outputs = folder / "outputs"

    def command(self, *words: str) -> float:
        """CPU seconds of a command."""
        return Command(self._folder, words, cache=self._cache).succeeded().cpu_seconds

    def fit(self) -> float:
        """A tracked fit."""
        return self.command("fit", *SMALL)

    def sweep(self) -> float:
        """A tracked sweep of 50 runs."""
        self._count += 1
        return self.command(*SWEEP, "seed=range(0,50)", f"sweep=measured-{self._count}")

    def resume(self) -> float:
        """The same sweep again, which has nothing left to do."""
        return self.command(*SWEEP, "seed=range(0,50)", "sweep=first")

    def log_new(self) -> float:
        """Log 20 fits that the store does not have: copies of one, made at other times."""
        first = self._folder / "later" / "first"
        if not first.exists():
            self.command("fit", *SMALL, "tracking=none", f"hydra.run.dir={first}")
        self._count += 1
        for number in range(20):
            copy = shutil.copytree(first, first.with_name(str(self._count)) / str(number)) / "record.json"
            about = json.loads(copy.read_text(encoding="utf-8"))
            about["started"] = f"{2000 + self._count}-01-01T00:00:{number:02d}+00:00"
            copy.write_text(json.dumps(about), encoding="utf-8")
        return self.command("log", f"run=later/{self._count}")

    def log_known(self) -> float:
        """Log a sweep that the store has."""
        return self.command("log", "run=outputs/sweeps/first")

    def latest(self) -> float:
        """Labels by a fit, found as the newest record."""
        return self._predict("latest")

    def by_id(self) -> float:
        """Labels by a fit, found by the id of its run in MLflow."""
        record = self.outputs / "sweeps" / "first" / "0" / "record.json"
        return self._predict(json.loads(record.read_text(encoding="utf-8"))["tracking"]["run_id"])

    def _predict(self, run: str) -> float:
        points = self._folder / "points.csv"
        points.write_text("x\n1\n2\n5\n", encoding="utf-8")
        return self.command("predict", f"run={run}", f"data.path={points}", f"output={self._folder / 'labels.csv'}")

    @contextlib.contextmanager
    def served(self) -> Iterator[tuple[float, str, str]]:
        """`ui` while it runs: seconds until it says its address, the address, the experiment."""
        began = time.perf_counter()
        server = Command(self._folder, ["ui", "port=0"], cache=self._cache)
        try:
            while (found := ADDRESS.search((self._folder / "output.txt").read_bytes())) is None:
                time.sleep(0.01)
                if time.perf_counter() - began > 120:
                    sys.exit((self._folder / "output.txt").read_text(encoding="utf-8"))
            yield time.perf_counter() - began, found[1].decode(), found[2].decode()
        finally:
            server.interrupt(signal.SIGTERM)
            server.ended()

    def ui(self) -> float:
        """Start the UI until it answers, and ask for its first page of runs."""
        with self.served() as (seconds, address, experiment_id):
            began = time.perf_counter()
            with urllib.request.urlopen(address) as answer:  # noqa: S310 - our own address
                answer.read()
            question = {
                "experiment_ids": [experiment_id],
                "max_results": 100,
                "order_by": ["attributes.start_time DESC"],
            }
            asked = urllib.request.Request(  # noqa: S310 - our own address
                f"{address}/api/2.0/mlflow/runs/search",
                json.dumps(question).encode(),
                {"Content-Type": "application/json"},
            )
            with urllib.request.urlopen(asked) as answer:  # noqa: S310 - our own address
                answer.read()
            return seconds + time.perf_counter() - began


WORK: dict[str, Callable[[Store], float]] = {
    "fit": Store.fit,
    "sweep of 50": Store.sweep,
    "the same sweep again": Store.resume,
    "log 20 fits": Store.log_new,
    "log a sweep that is there": Store.log_known,
    "run=latest": Store.latest,
    "run=ID": Store.by_id,
    "ui": Store.ui,
}


def ratios(runs: int, rounds: int, only: list[str]) -> dict[str, tuple[float, float, float]]:
    """Medians of a small store, of a large one, and of the ratios of the pairs, by what was done.

    Args:
        runs: of the large store.
        rounds: pairs of each.
        only: what is done, of `WORK`.
    """
    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        cache = Path(scratch) / "cache"
        small, large = (Store(Path(scratch) / name, cache) for name in ("small", "large"))
        for store in (small, large):
            store.fit()
            store.command(*SWEEP, "seed=range(0,50)", "sweep=first")
        began = time.perf_counter()
        fill(large.outputs, runs)
        print(f"filled in {time.perf_counter() - began:.0f} s", file=sys.stderr)
        for name in only:
            pairs = [(WORK[name](small), WORK[name](large)) for _ in range(rounds)]
            few, many = zip(*pairs, strict=True)
            found[name] = median(few), median(many), median(after / before for before, after in pairs)
            print(f"{name}: {found[name]}", file=sys.stderr, flush=True)
    return found


def main() -> int:
    """Print the table."""
    options = ratios_option(parser(__doc__))
    options.add_argument("--runs", type=int, default=20_000, help="of the large store")
    options.add_argument("--rounds", type=int, default=5, help="pairs of each command")
    options.add_argument("--only", type=some_of(WORK), default=list(WORK), help="with commas")
    arguments = options.parse_args()
    found = ratios(arguments.runs, arguments.rounds, arguments.only)
    print_table(
        ("what", "small store", f"{arguments.runs:,} runs", "ratio", f"at most {LIMIT:g}"),
        [
            (name, f"{few:.2f}", f"{many:.2f}", f"{ratio:.2f}", "kept" if ratio <= LIMIT else "MISSED")
            for name, (few, many, ratio) in found.items()
        ],
    )
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    keep(
        arguments.json, {f"{name}, in a large store beside a small one": ratio for name, (_, _, ratio) in found.items()}
    )
    return int(any(ratio > LIMIT for *_, ratio in found.values()))


if __name__ == "__main__":
    sys.exit(main())
