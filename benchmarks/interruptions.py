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

import contextlib
import random
import sqlite3
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import parser, print_table
from benchmarks.bad_runs import BAD, check_bad
from benchmarks.comparison import (
    COMPONENTS,
    NAME,
    RESULTS,
    TABLES,
    Check,
    child_id,
    differing,
    manifest,
    of_files,
    read_store,
    seen_of,
    sweep_folder,
)
from benchmarks.processes import Command


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
        checks: list[Check] = []
        if arguments.only != "bad":
            print(f"undisturbed: {ended.seconds:.1f} s; {state_of(clean)}", flush=True)
            folders = interrupted(scratch, words, arguments.kills, ended.seconds, arguments.seed)
            checks += [check for folder in folders for check in check_kills(folder, clean)]
        if arguments.only != "kills":
            checks += check_bad(scratch / "bad", clean, arguments)
    print()
    print_table(("promise", "sweeps", "seen", ""), _by_promise(checks))
    sys.exit(0 if all(check.kept for check in checks) else 1)


def _by_promise(checks: Sequence[Check]) -> Iterator[tuple[str, ...]]:
    """A row for each promise, with what was seen in a sweep that broke it, if one did."""
    for promise in dict.fromkeys(check.promise for check in checks):
        seen = [check for check in checks if check.promise == promise]
        worst = min(seen, key=lambda check: check.kept)
        kept = sum(check.kept for check in seen)
        yield promise, f"{kept} of {len(seen)}", worst.seen, "kept" if worst.kept else "BROKEN"


if __name__ == "__main__":
    main()
