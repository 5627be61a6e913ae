"""Does a command that is killed or interrupted at any moment leave whole results, and does the same command go on?

A project has records and a sweep that were not tracked, and a real local store of MLflow. A case copies it, starts a
command there and sends it SIGKILL, SIGTERM or Ctrl-C, half of the time at a random moment and half of the time at a
random step that changes files (opening one to write, renaming, removing, a statement of SQL). Then:

- it ended by the signal, or because it was done; there is no traceback, and none of its processes is left;
- each record that is there has all of its files as their digests say, and a store that is whole has the runs that
  records call tracked, with their files; a file that was asked for is there as it ought to be, or not at all;
- after Ctrl-C or SIGTERM nothing unfinished is left;
- the same command, and `log` after a fit, ends well and with the right bits; then no run is RUNNING or incomplete, no
  record is tracked twice, no temporary file is left, and no files of runs that the store does not know.

    python -m benchmarks.faults --number 1000

Prints a row for each command, and each failure with the command that repeats it. Exit code 1 if there is any. Commands
run as children of a process that has imported everything, so that a case takes two or three CPU seconds. An interrupt
that lands in an import is therefore tried by hand alone.

Runs of 400 and 80 cases on two very busy cores had one failure each: Ctrl-C while Hydra opened the log of a rerun left
an empty folder, and a worker that was killed ended the command with code 1 and no word. Since then an interrupt waits
until Hydra has made its folder, and a closed pipe to a worker costs one run at most; 320 cases (--number 160 --seed 31
and 32) and 30 kills of workers alone had no failure.
"""

import argparse
import contextlib
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

from benchmarks import ROOT
from gmm_pipeline.errors import InputError
from gmm_pipeline.records import artifacts, contents, reading, sweeps
from gmm_pipeline.records.finding import COPIES
from gmm_pipeline.records.json_files import read_json

SMALL = ("search=none", "steps=40", "restarts=2", "animation=none")
QUIET = (*SMALL, "figures=none")
DATA = ("data.n_draws=300", "data.seed=5")
SWEEP = ("--multirun", *QUIET, *DATA, "n_components=1,2", "seed=0,1")
SIGNALS = {"SIGKILL": signal.SIGKILL, "SIGTERM": signal.SIGTERM, "SIGINT": signal.SIGINT}
CODES = {"SIGKILL": (-9,), "SIGTERM": (143, -15), "SIGINT": (130,)}
TEMPORARY = re.compile(r"^\..*(\.[0-9a-f]{8}|\.unfinished.*)$")


class Kind(NamedTuple):
    """A command, and what it leaves."""

    words: tuple[str, ...]
    tracked: bool = True
    """Whether the project has a store before."""
    output: str = ""
    """A file that it writes."""
    folder: str = ""
    """Of the records that it makes, whose numbers are to be the undisturbed ones."""
    weight: int = 2
    """How often it comes, relative to the others."""
    moved: bool = False
    """Whether the store is that of a folder with another name."""
    workers: bool = False
    """Whether processes of it compute."""


APART = ("execution=processes", "execution.workers=2")
MOST_STEPS = 100_000
MOVED = "elsewhere"
"""Where the store of the project was before, for `repair`."""


KINDS = {
    "fit": Kind(("fit", *QUIET, *DATA), folder="outputs/fit", weight=4),
    "first fit": Kind(("fit", *QUIET, *DATA), tracked=False, folder="outputs/fit"),
    "pictures": Kind(("fit", *SMALL, *DATA, "figures.formats=[png]", "figures.dpi=20"), folder="outputs/fit", weight=1),
    "sweep": Kind(
        ("fit", *SWEEP, "sweep=study"),
        folder="outputs/sweeps/study",
        weight=4,
    ),
    "log": Kind(("log",), weight=3),
    "report": Kind(("report", "run=outputs/fit/untracked", "output=page.html"), output="page.html"),
    "simulate": Kind(("simulate", "figures=none", *DATA, "output=drawn.csv"), output="drawn.csv"),
    "predict": Kind(
        ("predict", "new.csv", "data.column=datum", "run=outputs/fit/untracked", "output=labels.csv"),
        output="labels.csv",
    ),
    "rerun": Kind(("rerun", "run=outputs/fit/untracked"), folder="outputs/rerun"),
    "animate": Kind(
        ("animate", "run=outputs/fit/untracked", "animation.formats=[gif]", "animation.frames=3", "animation.dpi=20"),
        output="outputs/fit/untracked/animation/training.gif",
    ),
    "repair": Kind(("repair",), moved=True),
    "processes": Kind(("fit", *SWEEP, "sweep=apart", *APART), folder="outputs/sweeps/apart", weight=1, workers=True),
}


class Fault(NamedTuple):
    """What is done to a command."""

    signal: str
    seconds: float | None
    step: int | range | None
    """One, or several at which the folder is only copied, as it is left where the command is killed there."""
    whom: str = "all"
    """Gets it after so many seconds: `all` processes of the command, as from a terminal, `one` that was started, as
    from a scheduler, or a `worker` of it. A step of its own gives it to the `one`."""


class Case(NamedTuple):
    """A command with a fault."""

    kind: str
    fault: Fault

    @property
    def line(self) -> str:
        """The command that repeats it."""
        when = f"--step {self.fault.step}" if self.fault.seconds is None else f"--seconds {self.fault.seconds:.3f}"
        when += f" --whom {self.fault.whom}" * (self.fault.whom != "all")
        return f"python -m benchmarks.faults --only '{self.kind}' --signal {self.fault.signal} {when}"


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    output: str
    errors: str


class Undisturbed(NamedTuple):
    """What a command takes and leaves without a fault."""

    seconds: float
    steps: int
    results: dict[str, bytes]


class Server:
    """A process of `tests/command_server.py`, which runs commands in children."""

    def __init__(self, process: Any):
        self._process = process

    def run(self, folder: Path, words: Sequence[str], fault: Fault | None = None) -> Ended:
        """Run a command in a folder.

        Args:
            folder: where it runs.
            words: after `python -m gmm_pipeline`.
            fault: what is done to it.
        """
        sent = None
        if fault is not None:
            step = list(fault.step) if isinstance(fault.step, range) else fault.step
            sent = [int(SIGNALS.get(fault.signal, 0)), fault.seconds, step, fault.whom]
        self._process.stdin.write(json.dumps([str(folder), words, {}, None, sent]) + "\n")
        self._process.stdin.flush()
        code = int(self._process.stdout.readline())
        read = (Path(f"{folder}.{name}").read_text(encoding="utf-8", errors="replace") for name in ("stdout", "stderr"))
        return Ended(code, *read)


class Bench:
    """A project that cases are tried on copies of, each at the same place: a store has absolute paths."""

    def __init__(self, scratch: Path, server: Server):
        self._server, self.project = server, scratch / "project"
        self._kept = {name: scratch / name for name in ("without a store", "with a store", MOVED)}
        self._undisturbed: dict[str, Undisturbed] = {}
        self._make()

    def _make(self) -> None:
        (self.project / "outputs").mkdir(parents=True)
        self._succeed("simulate", "figures=none", "data.n_draws=200", "output=new.csv")
        # The programs of the others are compiled by these.
        self._succeed("fit", *QUIET, *DATA, "tracking=none", "hydra.run.dir=outputs/fit/untracked")
        self._succeed("fit", *SWEEP, "tracking=none", "sweep=before")
        shutil.copytree(self.project, self._kept["without a store"])
        shutil.copytree(self.project, self._kept[MOVED])
        for folder in (self.project, self._kept[MOVED]):
            self._succeed("fit", *QUIET, *DATA, "seed=3", "hydra.run.dir=outputs/fit/tracked", folder=folder)
        shutil.copytree(self.project, self._kept["with a store"])

    def _succeed(self, *words: str, folder: Path | None = None) -> None:
        ended = self._server.run(folder or self.project, words)
        if ended.code != 0:
            sys.exit(f"{' '.join(words)}\nended with exit code {ended.code}:\n{ended.errors}")

    def begin(self, kind: Kind) -> None:
        """Make the project what it was before."""
        for folder in (self.project, *self.project.parent.glob(f"{self.project.name}.at.*")):
            shutil.rmtree(folder)
        before = MOVED if kind.moved else "with a store" if kind.tracked else "without a store"
        shutil.copytree(self._kept[before], self.project)

    def undisturbed(self, name: str, every: int | None = None) -> Undisturbed:
        """What a command leaves without a fault, found once.

        Args:
            name: of the command.
            every: copy the project at each so many of its steps, too.
        """
        if name not in self._undisturbed or every is not None:
            kind = KINDS[name]
            self.begin(kind)
            began = time.perf_counter()
            steps = 0 if every is None else range(1, MOST_STEPS, every)
            ended = self._server.run(self.project, kind.words, Fault("", None, steps))
            seconds = time.perf_counter() - began
            if ended.code != 0:
                sys.exit(f"{name} ended with exit code {ended.code}:\n{ended.errors}")
            steps = int(Path(f"{self.project}.steps").read_text(encoding="utf-8"))
            self._undisturbed[name] = Undisturbed(seconds, steps, results(self.project, kind))
        return self._undisturbed[name]

    def case(self, name: str, chosen: random.Random) -> Case:
        """A command with a fault at a random place."""
        usual, which = self.undisturbed(name), chosen.choice(list(SIGNALS))
        if KINDS[name].workers and chosen.random() < 1 / 3:
            deadly = "SIGKILL" if which == "SIGINT" else which  # workers leave Ctrl-C to their command
            return Case(name, Fault(deadly, round(chosen.uniform(0.0, usual.seconds), 3), None, "worker"))
        if chosen.random() < 0.5:
            whom = chosen.choice(("all", "one"))
            return Case(name, Fault(which, round(chosen.uniform(0.0, usual.seconds), 3), None, whom))
        return Case(name, Fault(which, None, chosen.randint(1, usual.steps)))

    def copies(self, name: str, every: int) -> Iterator[tuple[Case, Path]]:
        """What a command leaves if it is killed at any of its steps, each with its case.

        Args:
            name: of the command.
            every: so many steps.
        """
        for step in range(1, self.undisturbed(name, every).steps + 1, every):
            yield Case(name, Fault("SIGKILL", None, step)), Path(f"{self.project}.at.{step}")

    def attempt(self, case: Case, copy: Path | None = None, *, resume: bool = True) -> tuple[str, list[str]]:
        """Try a case; returns how the command ended, and what is wrong afterwards.

        Args:
            case: a command with a fault.
            copy: of what it leaves, where that is there already.
            resume: whether the command is run again.
        """
        kind, usual = KINDS[case.kind], self.undisturbed(case.kind)
        if copy is None:
            self.begin(kind)
            ended = self._server.run(self.project, kind.words, case.fault)
        else:
            shutil.rmtree(self.project)
            copy.rename(self.project)
            ended = Ended(CODES[case.fault.signal][0], "", "")
        outcome = "done" if ended.code == 0 else "ended"
        wrong = list(self._after(case, ended, usual))
        if not resume:
            return outcome, wrong
        resumed = [self._server.run(self.project, kind.words)]
        if kind.folder in ("outputs/fit", "outputs/rerun"):
            resumed.append(self._server.run(self.project, ("log",)))
        for again in resumed:
            if again.code != 0 or again.errors:
                wrong.append(f"the same command ends with exit code {again.code}: {last_line(again.errors)}")
        wrong += [f"at the end: {one}" for one in self._settled(kind, usual, killed=case.fault.signal == "SIGKILL")]
        return outcome, list(dict.fromkeys(wrong))

    def _after(self, case: Case, ended: Ended, usual: Undisturbed) -> Iterator[str]:
        kind = KINDS[case.kind]
        borne = case.fault.whom == "worker"
        if ended.code not in (0, *CODES[case.fault.signal][: 0 if borne else None]):
            yield f"exit code {ended.code}: {last_line(ended.errors)}"
        if "Traceback" in ended.errors:
            yield f"a traceback: {last_line(ended.errors)}"
        if kind.workers:
            yield from still_there(self.project)
        yield from unwhole(self.project)
        found = results(self.project, kind)
        yield from (f"{name} is half of it" for name in found if kind.output and found[name] != usual.results[name])
        if case.fault.signal != "SIGKILL":
            yield from (f"{one} is left by an interrupt" for one in leftovers(self.project))

    def _settled(self, kind: Kind, usual: Undisturbed, *, killed: bool) -> Iterator[str]:
        yield from unwhole(self.project)
        found = results(self.project, kind)
        yield from (
            f"{name} is not what it ought to be: {difference(usual.results[name], found.get(name))}"
            for name in usual.results
            if found.get(name) != usual.results[name]
        )
        # A fit is another one each time: what SIGKILL left of the first is there for its user to look at.
        unfinished = set(unfinished_in(self.project))
        left = [path for path in leftovers(self.project) if not killed or unfinished.isdisjoint([path, *path.parents])]
        yield from (f"{path.relative_to(self.project)} is left" for path in left)
        yield from unsettled(self.project)
        if kind.moved and str(self.project.parent / MOVED) in "".join(paths_in(self.project)):
            yield "a path in the store is that of the folder before"
        if kind.folder in ("outputs/fit", "outputs/rerun") or kind.words == ("log",):
            files = records_in(self.project)
            yield from (f"{name_of(file.parent)} is not tracked" for file in files if "tracking" not in read_json(file))


def last_line(text: str) -> str:
    """The last line of a text, without what differs between two cases."""
    line = next(iter(text.strip().splitlines()[-1:]), "nothing was said")
    return re.sub(r"\d{4}-\d\d-\d\d_[\w-]+|[0-9a-f]{8,}", "…", line)[:300]


def results(project: Path, kind: Kind) -> dict[str, bytes]:
    """The files of a command that have the same bytes each time."""
    if kind.output:
        file = project / kind.output
        return {kind.output: without_times(file.read_bytes())} if file.exists() else {}
    if not kind.folder:
        return {}
    folder = project / kind.folder
    found = {"sweep.csv": (folder / "sweep.csv").read_bytes()} if (folder / "sweep.csv").exists() else {}
    for record in folder.glob("*/record.json"):
        name = record.parent.name
        if name not in ("tracked", "untracked"):
            number = name if (folder / "sweep.json").exists() else "the fit"
            found[f"{number}/parameters.json"] = (record.parent / artifacts.PARAMETERS).read_bytes()
    return found


def difference(expected: bytes, found: bytes | None) -> str:
    """Where a file is another one."""
    if found is None:
        return "there is none"
    pairs = enumerate(zip(expected, found, strict=False))
    place = next((number for number, (one, other) in pairs if one != other), min(len(expected), len(found)))
    here = slice(max(place - 20, 0), place + 40)
    return f"{found[here]!r} for {expected[here]!r}"


def without_times(content: bytes) -> bytes:
    """A page without when it was made."""
    return re.sub(rb"\d\d:\d\d(:\d\d)?", b"", content)


def unwhole(project: Path) -> Iterator[str]:
    """What is there and cannot be read, or is said and is not so."""
    for file in records_in(project):
        record = file.parent
        try:
            about = contents.read(record).record
            if about["status"] == "finished":
                reading.read_checked(record)
            if (wrong := contents.altered(record, about)) is not None:
                yield f"{name_of(record)}: {wrong} is not the file that was written"
        except InputError as error:
            yield f"{name_of(record)}: {error}"
            continue
        yield from untracked(project, name_of(record), about.get("tracking"))
    for file in sorted(project.glob("outputs/sweeps/*/sweep.json")):
        try:
            yield from untracked(project, file.parent.name, sweeps.read_manifest(file.parent).tracking)
        except InputError as error:
            yield str(error)
    with store_of(project) as store:
        if store is not None and store.execute("PRAGMA integrity_check").fetchall() != [("ok",)]:
            yield "the store is damaged"
        if store is not None and store.execute("PRAGMA foreign_key_check").fetchall():
            yield "the store has rows of nothing"


def records_in(project: Path) -> list[Path]:
    """The last files of the records, but for the copies that a store has."""
    return sorted(
        path for place in ("fit", "rerun", "sweeps/*") for path in project.glob(f"outputs/{place}/*/record.json")
    )


def name_of(record: Path) -> str:
    """A record by its name, the same in each case."""
    return record.name if re.fullmatch(r"\w+", record.name) else "a fit"


def untracked(project: Path, name: str, noted: Any) -> Iterator[str]:
    """A run that a record calls tracked and that is not there, or not with its files."""
    if not noted:
        return
    with store_of(project) as store:
        asked = "SELECT status, artifact_uri FROM runs WHERE run_uuid = ? AND lifecycle_stage = 'active'"
        found = None if store is None else store.execute(asked, (noted["run_id"],)).fetchone()
    if found is None:
        yield f"{name} is called tracked and is not"
    elif not any(Path(unquote(found[1].removeprefix("file://"))).glob("*.json")):
        yield f"{name} is tracked without its files"


@contextlib.contextmanager
def store_of(project: Path) -> Iterator[sqlite3.Connection | None]:
    """The store of a project, if it has one with tables."""
    file = project / "outputs" / "mlflow.db"
    if not file.exists():
        yield None
        return
    with contextlib.closing(sqlite3.connect(file)) as store:
        yield store


def leftovers(project: Path) -> list[Path]:
    """Files under temporary names, and folders of fits without a record."""
    temporary = [path for path in project.rglob(".*") if path.is_file() and TEMPORARY.match(path.name)]
    return temporary + unfinished_in(project)


def unfinished_in(project: Path) -> list[Path]:
    """Folders of fits without a record, and of sweeps without a manifest."""
    folders = [path for place in ("fit", "rerun", "sweeps/*") for path in project.glob(f"outputs/{place}/*")]
    fits = [path for path in folders if path.is_dir() and path.name != artifacts.FIGURES]
    unfinished = [path for path in fits if not (path / artifacts.RECORD).exists()]
    return unfinished + [path for path in project.glob("outputs/sweeps/*") if not (path / sweeps.MANIFEST).exists()]


def paths_in(project: Path) -> list[str]:
    """Where a store says that the files of runs are."""
    with store_of(project) as store:
        asked = "SELECT artifact_uri FROM runs UNION SELECT artifact_location FROM experiments"
        return [] if store is None else [unquote(path) for (path,) in store.execute(asked) if path.startswith("file:")]


def still_there(project: Path, seconds: float = 10.0) -> Iterator[str]:
    """Processes that a command has left, which have some seconds to see that it is gone."""
    last = time.monotonic() + seconds
    while left := [process for process in Path("/proc").glob("[0-9]*") if folder_of(process) == project]:
        if time.monotonic() > last:
            yield f"{len(left)} of its processes are left"
            return
        time.sleep(0.1)


def folder_of(process: Path) -> Path | None:
    """Where a process is; None if it has ended."""
    try:
        return (process / "cwd").readlink()
    except OSError:
        return None


def unsettled(project: Path) -> Iterator[str]:
    """What is unfinished in a store, or twice, and files of no run."""
    with store_of(project) as store:
        if store is None:
            return
        runs = store.execute("SELECT run_uuid, status FROM runs WHERE lifecycle_stage = 'active'").fetchall()
        yield from (f"a run is {status}" for _, status in runs if status not in ("FINISHED", "FAILED"))
        tags = defaultdict[str, list[str]](list)
        for name, value in store.execute(
            "SELECT key, value FROM tags JOIN runs USING (run_uuid) WHERE lifecycle_stage = 'active'"
        ):
            tags[name].append(value)
        if "incomplete" in tags["gmm_pipeline.status"]:
            yield "a run is incomplete"
        for name in ("gmm_pipeline.record_id", "gmm_pipeline.sweep_id"):
            if any(count > 1 for count in Counter(tags[name]).values()):
                yield f"two runs have one {name}"
        known = {run_id for run_id, _ in store.execute("SELECT run_uuid, status FROM runs")}
        models = {row[0] for row in store.execute("SELECT model_id FROM logged_models")}
    copies = project / "outputs" / COPIES
    for folder, ids in ((copies, known | {"models"}), (copies / "models", models)):
        if folder.is_dir() and not {path.name for path in folder.iterdir()} <= ids:
            yield f"{folder.name} has files of no run"


class Tried(NamedTuple):
    """What became of the cases."""

    counts: dict[str, Counter[str]]
    failures: dict[str, list[Case]]


def attempt_all(bench: Bench, cases: Iterator[Case], seconds: float) -> Tried:
    """Try cases, for a limited time."""
    tried, last = Tried(defaultdict(Counter), defaultdict(list)), time.monotonic() + seconds
    for number, case in enumerate(cases):
        if number and number % 50 == 0:
            print(f"{number} cases", flush=True)
        note(tried, case, *bench.attempt(case))
        if time.monotonic() > last:
            break
    return tried


def note(tried: Tried, case: Case, outcome: str, wrong: Sequence[str]) -> None:
    """Add what became of a case; print a failure that is new."""
    tried.counts[case.kind].update([outcome, case.fault.signal, "cases", *["failed"] * bool(wrong)])
    for one in wrong:
        name = f"{case.kind}, {case.fault.signal}: {one}"
        if name not in tried.failures:
            print(f"{name}\n  {case.line}", flush=True)
        tried.failures[name].append(case)


def attempt_each(bench: Bench, kinds: Sequence[str], every: int) -> Tried:
    """Try what commands leave that are killed at any step, or at each so many."""
    tried = Tried(defaultdict(Counter), defaultdict(list))
    for name in kinds:
        for case, folder in bench.copies(name, every):
            note(tried, case, *bench.attempt(case, folder))
    return tried


def some(bench: Bench, kinds: Sequence[str], number: int, seed: int) -> Iterator[Case]:
    """Cases, the same for a seed as far as commands take the same time."""
    chosen = random.Random(seed)  # noqa: S311 - no secrets
    weights = [KINDS[name].weight for name in kinds]
    for name in chosen.choices(kinds, weights, k=number):
        yield bench.case(name, chosen)


@contextlib.contextmanager
def bench_in(scratch: Path) -> Iterator[Bench]:
    """A bench with a process of its own.

    Args:
        scratch: an empty folder.
    """
    environment = {name: text for name, text in os.environ.items() if not name.startswith(("MLFLOW", "HYDRA"))}
    environment["JAX_COMPILATION_CACHE_DIR"] = str(scratch / "compiled")
    script = (ROOT / "tests" / "command_server.py").read_text(encoding="utf-8")
    with subprocess.Popen(
        [sys.executable, "-c", script, str(scratch / "empty.db")],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        yield Bench(scratch, Server(process))
        process.stdin.close()  # pyright: ignore[reportOptionalMemberAccess]


def main() -> None:
    """Try the cases, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=1000, help="of cases")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--most-seconds", type=float, default=1e9, help="after which no case is begun")
    parser.add_argument("--only", choices=KINDS, help="one command")
    parser.add_argument("--every", type=int, help="instead, SIGKILL at each step, or each so many of them")
    parser.add_argument("--signal", choices=SIGNALS, help="repeat one case, together with --seconds or --step")
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--step", type=int)
    parser.add_argument("--whom", choices=("all", "one", "worker"), default="all", help="with --seconds")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, bench_in(Path(scratch)) as bench:
        if asked.signal is not None:
            outcome, wrong = bench.attempt(Case(asked.only, Fault(asked.signal, asked.seconds, asked.step, asked.whom)))
            print("\n".join([outcome, *wrong]))
            sys.exit(bool(wrong))
        kinds = [asked.only] if asked.only else list(KINDS)
        if asked.every:
            tried = attempt_each(bench, kinds, asked.every)
        else:
            tried = attempt_all(bench, some(bench, kinds, asked.number, asked.seed), asked.most_seconds)
    print(f"\n{'command':<12}{'cases':>7}{'SIGKILL':>9}{'SIGTERM':>9}{'Ctrl-C':>8}{'done before':>13}{'failed':>8}")
    for name, counts in sorted(tried.counts.items()):
        signals = (counts[one] for one in SIGNALS)
        numbers = zip((7, 9, 9, 8, 13, 8), (counts["cases"], *signals, counts["done"], counts["failed"]), strict=True)
        print(f"{name:<12}" + "".join(f"{number:>{width}}" for width, number in numbers))
    for name, cases in tried.failures.items():
        print(f"\n{name} ({len(cases)} times)\n  {cases[0].line}")
    sys.exit(bool(tried.failures))


if __name__ == "__main__":
    main()
