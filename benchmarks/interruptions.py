"""Does a sweep survive kills and bad runs with the right results, bit for bit?

One sweep runs undisturbed. The same command is started elsewhere and killed (SIGKILL, it and all that it started) at a
random moment of that duration, started again, killed again, until a process is done before its moment: then the next
sweep is begun in another folder, until as many processes were killed as were asked for and what is left has finished.
Then table, records and MLflow's store of each of these sweeps are compared with those of the undisturbed one; no two
of them share a cache or a store.

Then a sweep of the same runs, some of which are replaced by bad ones, each in a way of its own: all others must come
out with the same bits, the bad ones with a reason each, and the process with exit code 1.

    python -m benchmarks.interruptions

Ends with exit code 1 where a promise is broken; `--keep FOLDER` leaves everything there to look at.
"""

import argparse
import contextlib
import hashlib
import json
import random
import sqlite3
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import parser, print_table
from benchmarks.processes import Command

NAME = "interrupted"
COMPONENTS = (1, 2, 3, 4, 5)
TABLES = ("sweep.parquet", "sweep.csv")
RESULTS = ("parameters.json", "metrics.json", "history.npz", "assignments.parquet")


class Bad(NamedTuple):
    """A run that has no result."""

    config: str
    told: str
    """What its reason must name."""


BAD = {
    "a number out of range": Bad("n_components: 0", "n_components"),
    "a data file that is not there": Bad(
        "defaults: [{override /data: file}]\ndata: {path: missing.csv}", "missing.csv"
    ),
    "more components than distinct values": Bad(
        "defaults: [{override /data: file}]\ndata: {path: three.csv}\nn_components: 5", "distinct values"
    ),
    "NaN in a data file": Bad("defaults: [{override /data: file}]\ndata: {path: nan.csv}", "row 41"),
    "a learning rate that diverges": Bad(
        "defaults: [{override /optimizer: sgd}]\noptimizer: {learning_rate: 1.0e+30}", "not finite"
    ),
    "a prior that raises while it is computed": Bad(
        "defaults: [{override /prior: raising}]", "this prior cannot be computed"
    ),
    "more data than memory": Bad("data: {n_draws: 1000000000000}", "memory"),
}
"""What is wrong with them."""
FILES = {
    "three.csv": "datum\n" + "1.0\n2.0\n3.0\n" * 20,
    "nan.csv": "datum\n" + "1.0\n2.5\n" * 20 + "nan\n",
    "mine/prior/raising.yaml": "_target_: raising_prior.density\n",
    "raising_prior.py": """\
import jax
import numpy as np


def fail(_):
    raise RuntimeError("this prior cannot be computed")


def density(parameters):
    locs = jax.lax.stop_gradient(parameters.component_mus)
    return jax.pure_callback(fail, jax.ShapeDtypeStruct((), np.float32), locs, vmap_method="sequential")
""",
}


class Check(NamedTuple):
    """A promise, and what was seen of it."""

    promise: str
    seen: str
    kept: bool


class Child(NamedTuple):
    """A run of the sweep in MLflow's store."""

    run_id: str
    status: str
    lifecycle: str
    content: frozenset[tuple[Any, ...]]
    """Its parameters and metrics, with steps."""


class Store(NamedTuple):
    """MLflow's store, read without MLflow."""

    parents: list[tuple[str, str]]
    """Identifier and status."""
    children: list[Child]
    strangers: int
    """Runs with another parent."""


def sweep_folder(folder: Path) -> Path:
    """Where a sweep that ran in `folder` is."""
    return folder / "outputs" / "sweeps" / NAME


def differing(folder: Path, clean: Path, names: Sequence[str]) -> list[str]:
    """Which files are not equal, bit for bit, or missing."""

    def content(path: Path) -> bytes | None:
        return path.read_bytes() if path.is_file() else None

    return [name for name in names if content(folder / name) is None or content(folder / name) != content(clean / name)]


def of_files(promise: str, wrong: Sequence[str], total: int) -> Check:
    """A promise on many files."""
    some = f": {', '.join(wrong[:3])}{', …' if len(wrong) > 3 else ''}" if wrong else ""
    return Check(promise, f"{total - len(wrong):,} of {total:,}{some}", not wrong)


def read_store(folder: Path, sweep_id: str) -> Store:
    """What MLflow's store says of a sweep."""
    with contextlib.closing(sqlite3.connect(folder / "outputs" / "mlflow.db")) as store:
        runs = store.execute("SELECT run_uuid, status, lifecycle_stage FROM runs").fetchall()
        parent_of = dict(store.execute("SELECT run_uuid, value FROM tags WHERE key = 'mlflow.parentRunId'"))
        content: dict[str, list[tuple[Any, ...]]] = {run_id: [] for run_id, *_ in runs}
        for run_id, *row in store.execute("SELECT run_uuid, key, value FROM params"):
            content[run_id].append(tuple(row))
        for run_id, *row in store.execute("SELECT run_uuid, key, value, step, is_nan FROM metrics"):
            content[run_id].append(tuple(row))
    return Store(
        parents=[(run_id, status) for run_id, status, _ in runs if run_id not in parent_of],
        children=[
            Child(run_id, status, lifecycle, frozenset(content[run_id]))
            for run_id, status, lifecycle in runs
            if parent_of.get(run_id) == sweep_id
        ],
        strangers=sum(parent != sweep_id for parent in parent_of.values()),
    )


def seen_of(parents: Sequence[tuple[str, str]]) -> str:
    """The parents in a store, in a few words."""
    return ", ".join(f"{run_id[:6]} {status}" for run_id, status in parents)


def child_id(sweep_id: str, number: int) -> str:
    """The identifier that a run of a sweep has in MLflow."""
    return hashlib.sha256(f"{sweep_id}/{number}".encode()).hexdigest()[:32]


def manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a sweep that ran in `folder`."""
    return json.loads((sweep_folder(folder) / "sweep.json").read_text(encoding="utf-8"))


def check_tracking(folder: Path, clean: Path) -> Iterator[Check]:
    """Whether the store has each run once, as that of the undisturbed sweep has."""
    about, about_clean = manifest(folder), manifest(clean)
    store, undisturbed = read_store(folder, about["id"]), read_store(clean, about_clean["id"])
    numbers = [run["number"] for run in about["runs"]]
    yield Check(
        "the store has one parent, FINISHED",
        seen_of(store.parents),
        store.parents == [(about["id"], "FINISHED")],
    )
    expected = Counter(child_id(about["id"], number) for number in numbers)
    once = Counter(child.run_id for child in store.children) == expected and not store.strangers
    yield Check(
        "the store has each run once", f"{len(store.children):,} of {len(numbers):,}, {store.strangers} others", once
    )
    statuses = Counter((child.status, child.lifecycle) for child in store.children)
    yield Check(
        "all runs in it are FINISHED",
        ", ".join(f"{count:,} {' '.join(state)}" for state, count in statuses.items()),
        set(statuses) == {("FINISHED", "active")},
    )
    found = {child.run_id: child.content for child in store.children}
    asked = {child.run_id: child.content for child in undisturbed.children}
    wrong = [
        str(number)
        for number in numbers
        if found.get(child_id(about["id"], number), 0) != asked.get(child_id(about_clean["id"], number), 1)
    ]
    yield of_files("parameters and metrics in it are the same", wrong, len(numbers))


def interrupted(scratch: Path, words: Sequence[str], n_kills: int, duration: float, seed: int) -> list[Path]:
    """Kill sweeps at random moments and go on with each until it is done; tells what each process left.

    Args:
        scratch: where the sweeps run, each in a folder of its own.
        words: the command.
        n_kills: processes that must be killed.
        duration: of the undisturbed sweep, in seconds.
        seed: of the moments.

    Returns:
        The folders of the sweeps, all done.
    """
    moments, kills, folders = random.Random(seed), 0, [scratch / "killed_0"]  # noqa: S311 - no secrets
    while kills < n_kills:
        moment = moments.uniform(0.0, duration)
        command = Command(folders[-1], words)
        if command.killed_after(moment):
            command.ended()
            kills += 1
            _tell(folders[-1], f"kill {kills} after {moment:.1f} s")
        else:
            _finish(folders[-1], command)
            folders.append(scratch / f"killed_{len(folders)}")
    _finish(folders[-1], Command(folders[-1], words))
    return folders


def _finish(folder: Path, command: Command) -> None:
    _tell(folder, f"done after {command.succeeded().seconds:.1f} s")


def _tell(folder: Path, what: str) -> None:
    print(f"{folder.name}: {what}; {state_of(folder)}", flush=True)


def state_of(folder: Path) -> str:
    """What there is of a sweep."""
    swept = sweep_folder(folder)
    if not (swept / "sweep.json").exists():
        return "before the manifest"
    parts = [f"{len(list(swept.glob('*/record.json'))):,} records"]
    parts += ["table"] * (swept / "sweep.csv").exists() + ["pictures"] * (swept / "figures").is_dir()
    with (
        contextlib.suppress(sqlite3.Error),
        contextlib.closing(sqlite3.connect(f"file:{folder / 'outputs' / 'mlflow.db'}?mode=ro", uri=True)) as store,
    ):
        (count,) = store.execute("SELECT COUNT(*) FROM runs").fetchone()
        parts.append(f"{count:,} runs in the store")
    return ", ".join(parts)


def check_kills(folder: Path, clean: Path) -> Iterator[Check]:
    """What is left of a sweep that was killed again and again."""
    swept, undisturbed = sweep_folder(folder), sweep_folder(clean)
    numbers = [str(run["number"]) for run in manifest(clean)["runs"]]
    for name in TABLES:
        yield of_files(f"{name} as undisturbed", differing(swept, undisturbed, [name]), 1)
    for name in RESULTS:
        wrong = differing(swept, undisturbed, [f"{number}/{name}" for number in numbers])
        yield of_files(f"{name} as undisturbed", wrong, len(numbers))
    left = [str(path.relative_to(swept)) for path in swept.rglob(".*") if path.is_file()]
    shown = f"{len(left)}: {', '.join(left[:3])}" if left else "0"
    yield Check("no unfinished files are left", shown, not left)
    yield from check_tracking(folder, clean)


def write_cases(folder: Path, good: Sequence[str], seed: int) -> list[str | None]:
    """Write a config for each run of the sweep with bad runs; returns what is wrong with each, None where nothing is.

    Args:
        folder: where the sweep will run.
        good: the config of each run of the undisturbed sweep.
        seed: of the places of the bad runs.
    """
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    places = random.Random(seed).sample(range(len(good)), len(BAD))  # noqa: S311 - no secrets
    wrong = dict(zip(places, BAD, strict=True))
    cases = folder / "mine" / "experiment"
    cases.mkdir()
    for number, text in enumerate(good):
        content = BAD[wrong[number]].config if number in wrong else text
        (cases / f"case_{number}.yaml").write_text(f"# @package _global_\n{content}\n", encoding="utf-8")
    return [wrong.get(number) for number in range(len(good))]


def check_bad(folder: Path, clean: Path, sizes: argparse.Namespace) -> list[Check]:
    """What becomes of a sweep some of whose runs are bad."""
    good = [
        f"n_components: {k}\nseed: {seed}\ndata: {{n_draws: {sizes.draws}}}"
        for k in COMPONENTS
        for seed in range(sizes.seeds)
    ]
    wrong = write_cases(folder, good, sizes.seed)
    # Hydra's sweeper multiplies; runs that differ in anything are options of one group.
    cases = ",".join(f"case_{number}" for number in range(len(good)))
    words = ["fit", "--multirun", f"experiment={cases}", f"steps={sizes.steps}", f"sweep={NAME}"]
    ended = Command(folder, [*words, *sizes.overrides, "--config-dir", "mine"]).ended()
    swept, undisturbed = sweep_folder(folder), sweep_folder(clean)
    if not (swept / "sweep.json").exists():
        print(ended.output)
        return [Check("a sweep with bad runs begins", f"exit code {ended.code}", kept=False)]
    records = {}
    for number in range(len(good)):
        path = swept / str(number) / "record.json"
        records[number] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    sound = [number for number, reason in enumerate(wrong) if reason is None]
    unsound = [number for number, reason in enumerate(wrong) if reason is not None]
    differ = [f"{n}/{name}" for n in sound for name in differing(swept / str(n), undisturbed / str(n), RESULTS)]
    told = {number: str(records[number].get("error") or "") for number in unsound}
    vague = [name for number in unsound if (name := str(wrong[number])) and BAD[name].told not in told[number]]
    for number in unsound:
        print(f"{wrong[number]}: {records[number].get('status')}: {told[number] or 'no reason'}")
    unfinished = [str(n) for n in sound if records[n].get("status") != "finished"]
    kept = [str(n) for n in unsound if records[n].get("status") not in ("failed", "diverged") or not told[n]]
    traces = ended.output.count("Traceback (most recent call last)")
    counted = f"{len(sound):,} finished"
    about = manifest(folder)
    store = read_store(folder, about["id"])
    statuses = {child.run_id: child.status for child in store.children}
    mistaken = [
        str(number)
        for number in records
        if statuses.get(child_id(about["id"], number)) != ("FINISHED" if wrong[number] is None else "FAILED")
    ]
    return [
        of_files("runs beside bad ones finish", unfinished, len(sound)),
        of_files("their files are as undisturbed", differ, len(sound) * len(RESULTS)),
        of_files("bad runs fail with a reason", kept, len(unsound)),
        of_files("the reasons say what is wrong", vague, len(unsound)),
        Check("exit code of a sweep with bad runs", str(ended.code), ended.code == 1),
        Check("it says how many finished", counted if counted in ended.output else "no", counted in ended.output),
        Check("it prints no traceback", str(traces), traces == 0),
        of_files("statuses in the store are right", mistaken, len(records)),
        Check("the store has one parent, FAILED", seen_of(store.parents), store.parents == [(about["id"], "FAILED")]),
    ]


@contextlib.contextmanager
def scratch_folder(kept: Path | None) -> Iterator[Path]:
    """A folder that is removed at the end unless it was asked for."""
    if kept is not None:
        yield kept
        return
    with tempfile.TemporaryDirectory() as scratch:
        yield Path(scratch)


def main() -> None:
    """Print what was promised and what was seen."""
    options = parser(__doc__)
    options.add_argument("--seeds", type=int, default=40, help="seeds of each of 1 to 5 components")
    options.add_argument("--draws", type=int, default=600, help="data of each run")
    options.add_argument("--steps", type=int, default=200, help="steps of each run")
    options.add_argument("--kills", type=int, default=8, help="processes that are killed")
    options.add_argument("--seed", type=int, default=0, help="of the moments of the kills, and of the bad runs' places")
    options.add_argument("--only", choices=("kills", "bad"), help="one half of it")
    options.add_argument("--keep", type=Path, help="a new folder for the sweeps, which is kept")
    arguments = options.parse_intermixed_args()
    if arguments.keep is not None and arguments.keep.exists():
        options.error(f"--keep {arguments.keep} exists: name a new folder")
    if len(COMPONENTS) * arguments.seeds < len(BAD):
        options.error(f"there are {len(BAD)} bad runs: at least {-(-len(BAD) // len(COMPONENTS))} seeds")

    components = ",".join(map(str, COMPONENTS))
    words = ["fit", "--multirun", f"n_components={components}", f"seed=range(0,{arguments.seeds})", f"sweep={NAME}"]
    words += [f"data.n_draws={arguments.draws}", f"steps={arguments.steps}", *arguments.overrides]
    with scratch_folder(arguments.keep) as scratch:
        clean = scratch / "undisturbed"
        ended = Command(clean, words).succeeded()
        rows: list[tuple[str, Check]] = []
        if arguments.only != "bad":
            print(f"undisturbed: {ended.seconds:.1f} s; {state_of(clean)}", flush=True)
            folders = interrupted(scratch, words, arguments.kills, ended.seconds, arguments.seed)
            rows += [(folder.name, check) for folder in folders for check in check_kills(folder, clean)]
        if arguments.only != "kills":
            rows += [("bad", check) for check in check_bad(scratch / "bad", clean, arguments)]
    print()
    print_table(
        ("sweep", "promise", "seen", ""),
        [(sweep, one.promise, one.seen, "kept" if one.kept else "BROKEN") for sweep, one in rows],
    )
    sys.exit(0 if all(check.kept for _, check in rows) else 1)


if __name__ == "__main__":
    main()
