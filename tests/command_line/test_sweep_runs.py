"""Sweeps by the real command line: resumed, killed, interrupted, with bad runs, planned, and led by a sweeper."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT, Ended, Fork, Quick, hurried
from pyarrow import parquet

from gmm_pipeline.records.files import held

PICTURELESS = ("figures=none", "animation=none")
QUIET = (*PICTURELESS, "tracking=none")
SMALL = ("data.n_draws=300", "steps=60", "search=none")
MINE = "plugins.allow=[my_priors]"

PRIORS = """
import jax
import jax.numpy as jnp
import numpy as np

def ridge(parameters, *, strength):
    return -strength * (parameters.component_mus**2).sum()

def _checked(strength):
    if strength > 5:
        raise ValueError("such a strength is too much")
    return np.asarray(strength)

def odd(**_):
    raise EOFError("no data left")

def picky(parameters, active, *, strength):
    like = jax.ShapeDtypeStruct((), parameters.component_mus.dtype)
    fixed = jax.lax.stop_gradient(jnp.asarray(strength, like.dtype))
    checked = jax.pure_callback(_checked, like, fixed, vmap_method="sequential")
    return -checked * jnp.where(active, parameters.component_mus**2, 0).sum()
"""
WITNESS = """
from pathlib import Path
from hydra.experimental.callback import Callback

class Witness(Callback):
    def on_job_end(self, config, job_return, **_):
        with Path("seen.txt").open("a") as stream:
            stream.write(f"{config.hydra.job.num} {job_return.status.name}\\n")
"""
EXPERIMENTS = {
    "fine": "data: {n_draws: 300}",
    "text": "restarts: abc",
    "zero": "n_components: 0",
    "no_file": "defaults: [{override /data: file}]\ndata: {path: lost.csv}",
    "too_much": "data: {n_draws: 1000000000000}",
    "unreadable": "data: {_target_: my_priors.odd}",
    "wild": (
        "defaults: [{override /optimizer: sgd}, {override /schedule: constant}, {override /search: none}]\n"
        "data: {n_draws: 300}\noptimizer: {learning_rate: 1.0e+6}"
    ),
    "raising": "data: {n_draws: 300}\nprior: {strength: 9.0}",
}
KNOWN = sorted([*EXPERIMENTS, *(path.stem for path in (ROOT / "conf/experiment").glob("*.yaml"))])
REASONS = {
    "text": "restarts: expected a whole number, but got 'abc'",
    "zero": "n_components: expected a whole number from 1 to 10000, or auto, but got 0",
    "no_file": "data.path: expected a file that exists, but got lost.csv",
    "too_much": "data.n_draws: expected what fits into the memory of this machine",
    "unreadable": "EOFError: no data left",
    "raising": "such a strength is too much",
    "absent": f"experiment: expected one of {', '.join(KNOWN)}, but got absent",
}


# Says when three runs are saved, and waits there for the signal that ends it. A test run in the background of a shell
# hands on that interrupts are to be ignored.
WAITING_AFTER_THREE_RUNS = """
import runpy, signal, time
from gmm_pipeline.execution.launcher import BatchLauncher

signal.signal(signal.SIGINT, signal.default_int_handler)
save, saved = BatchLauncher._save, []

def counted(*arguments):
    saved.append(save(*arguments))
    if len(saved) == 3:
        print("three runs are saved", flush=True)
        time.sleep(300)
    return saved[-1]

BatchLauncher._save = counted
runpy.run_module("gmm_pipeline", run_name="__main__", alter_sys=True)
"""


class Folder:
    """A folder to run commands in, with priors and experiments of a user's own."""

    def __init__(self, path: Path, fork: Fork, cache: Path):
        self.path, self.fork = path, fork
        (path / "my_priors.py").write_text(PRIORS)
        (path / "witness.py").write_text(WITNESS)
        for name in ("ridge", "picky"):
            self.write(f"mine/prior/{name}.yaml", f"_target_: my_priors.{name}\nstrength: 1.0\n")
        for name, text in EXPERIMENTS.items():
            self.write(f"mine/experiment/{name}.yaml", f"# @package _global_\n{text}\n")
        self.environment = hurried(cache)

    def write(self, name: str, text: str) -> None:
        (self.path / name).parent.mkdir(parents=True, exist_ok=True)
        (self.path / name).write_text(text)

    def run(self, *arguments: str, **environment: str) -> Ended:
        return self.fork(self.path, *arguments, **environment)

    def end_after_three_runs(self, by: signal.Signals, *arguments: str) -> tuple[int, str, str]:
        """Exit code and output of a sweep that a signal ended."""
        with subprocess.Popen(
            [sys.executable, "-c", WAITING_AFTER_THREE_RUNS, *arguments],
            cwd=self.path,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as running:
            assert running.stdout is not None
            try:
                assert "three runs are saved\n" in iter(running.stdout.readline, "")
                os.killpg(running.pid, by)
                stdout, stderr = running.communicate(timeout=60)
            finally:
                running.kill()
        return running.returncode, stdout, stderr

    def sweep(self, name: str) -> Path:
        return self.path / "outputs/sweeps" / name

    def records(self, name: str) -> dict[int, dict[str, Any]]:
        files = self.sweep(name).glob("*/record.json")
        return {int(file.parent.name): json.loads(file.read_text()) for file in files}

    def written(self, name: str) -> dict[int, int]:
        """When the numbers of each run were written."""
        return {int(file.parent.name): file.stat().st_mtime_ns for file in self.sweep(name).glob("*/parameters.json")}

    def select(self, query: str, *values: str) -> list[tuple]:
        with closing(sqlite3.connect(self.path / "outputs/mlflow.db")) as store:
            return store.execute(query, values).fetchall()


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory, fork: Fork, compilation_cache: Path) -> Callable[[], Folder]:
    return lambda: Folder(tmp_path_factory.mktemp("here"), fork, compilation_cache)


def manifest(sweep: Path) -> dict[str, Any]:
    return json.loads((sweep / "sweep.json").read_text())


def numbers(sweep: Path) -> dict[tuple[str, ...], int]:
    return {tuple(run["overrides"]): run["number"] for run in manifest(sweep)["runs"]}


def test_a_sweep_goes_on_where_it_is_and_fits_what_is_new_or_changed(make):
    folder = make()
    folder.write("x.csv", "\n".join(["x", *(str(value**2 % 101 / 10) for value in range(150))]) + "\n")
    own = ("data=file", "data.path=x.csv", "prior=ridge", MINE, "--config-dir", "mine")
    shared = (*QUIET, "steps=60", "search=none", *own, "sweep=mine")

    def run(*axes: str) -> tuple[str, set[int]]:
        before = folder.written("mine")
        ended = folder.run("fit", "--multirun", *axes, *shared)
        assert ended.returncode == 0, ended.stderr
        assert ended.stderr == ""
        after = folder.written("mine")
        return ended.stdout, {number for number, when in after.items() if before.get(number) != when}

    said, fitted = run("n_components=1,2", "seed=0,1")
    assert fitted == {0, 1, 2, 3}
    assert "4 to fit in 2 programs" in said  # the prior does not leave out components
    log = (folder.sweep("mine") / "sweep.log").read_text()
    assert "differ in n_components (padded to): 1, 2" in log
    first, table = numbers(folder.sweep("mine")), (folder.sweep("mine") / "sweep.parquet").read_bytes()
    identity = manifest(folder.sweep("mine"))["id"]

    said, fitted = run("n_components=1,2", "seed=0,1")
    assert fitted == set()
    assert "4 runs, 4 done before" in said
    assert (folder.sweep("mine") / "sweep.parquet").read_bytes() == table

    said, fitted = run("seed=2,1", "n_components=2,1")  # narrower in one way, wider in another, in another order
    assert fitted == {4, 5}
    assert "4 runs, 2 done before, 2 to fit" in said
    assert [sorted(words[-2:]) for words, number in numbers(folder.sweep("mine")).items() if number in (2, 3)] == [
        sorted(words[-2:]) for words, number in first.items() if number in (2, 3)
    ]
    assert parquet.read_table(folder.sweep("mine") / "sweep.parquet")["run"].to_pylist() == [0, 1, 2, 3, 4, 5]

    digests = {number: record["digest"] for number, record in folder.records("mine").items()}
    folder.write("x.csv", (folder.path / "x.csv").read_text() + "4.25\n")
    _, fitted = run("n_components=1", "seed=0,1")
    assert fitted == {0, 1}
    assert json.loads((folder.sweep("mine") / "0/data.json").read_text())["n_data"] == 151

    folder.write("my_priors.py", PRIORS.replace("return -strength", "return -2.0 * strength"))
    before = json.loads((folder.sweep("mine") / "0/metrics.json").read_text())
    _, fitted = run("n_components=1,2", "seed=0,1,2")
    assert fitted == {0, 1, 2, 3, 4, 5}
    after = json.loads((folder.sweep("mine") / "0/metrics.json").read_text())
    assert after["log_prior"] != before["log_prior"]
    records = folder.records("mine")
    assert not {record["digest"] for record in records.values()} & set(digests.values())
    assert all(
        record["sweep"] == {"name": "mine", "id": identity, "number": number} for number, record in records.items()
    )


KILLED = (*PICTURELESS, *SMALL, "n_components=1,2,3", "seed=0,1", "sweep=killed")


@pytest.fixture(scope="module")
def uninterrupted(make: Callable[[], Folder]) -> Folder:
    folder = make()
    ended = folder.run("fit", "--multirun", *KILLED)
    assert ended.returncode == 0, ended.stderr
    return folder


def check_store(folder: Folder, sweep: str, expected: Counter[str]) -> None:
    """A parent with a child for each run, once, as the records say."""
    of_sweep = "select run_uuid from tags where key = 'gmm_pipeline.sweep_id' and value = ?"
    ((parent,),) = folder.select(of_sweep, manifest(folder.sweep(sweep))["id"])
    children = folder.select(
        "select run_uuid, status, number.value from runs"
        " join tags as parent using (run_uuid) join tags as number using (run_uuid)"
        " where parent.key = 'mlflow.parentRunId' and parent.value = ? and number.key = 'gmm_pipeline.number'",
        parent,
    )
    noted = {str(number): record["tracking"]["run_id"] for number, record in folder.records(sweep).items()}
    assert sorted((number, run_id) for run_id, _, number in children) == sorted(noted.items())
    assert Counter(status for _, status, _ in children) == expected
    assert folder.select("select count(*) from runs") == [(1 + len(children),)]


def status_of_parent(folder: Folder, sweep: str) -> str:
    run_id = manifest(folder.sweep(sweep))["tracking"]["run_id"]
    ((status,),) = folder.select("select status from runs where run_uuid = ?", run_id)
    return status


def test_a_killed_sweep_ends_as_one_that_was_not(make, uninterrupted):
    folder = make()
    returncode, *_ = folder.end_after_three_runs(signal.SIGKILL, "fit", "--multirun", *KILLED)
    assert returncode == -signal.SIGKILL
    done = folder.written("killed")
    recorded = set(folder.records("killed"))
    assert len(recorded) == 3
    half = folder.sweep("killed") / str(min(set(range(6)) - recorded))
    for name in (".parameters.json.k1ll3d", "parameters.json", ".hydra/config.yaml", "figures/loss.png"):
        (half / name).parent.mkdir(parents=True, exist_ok=True)
        (half / name).write_text("half of it")
    assert not (folder.sweep("killed") / "sweep.parquet").exists()

    ended = folder.run("fit", "--multirun", *KILLED)
    assert ended.returncode == 0, ended.stderr
    assert "6 runs, 3 done before" in ended.stdout
    again = folder.written("killed")
    assert {number: again[number] for number in recorded} == {number: done[number] for number in recorded}
    ours, whole = folder.sweep("killed"), uninterrupted.sweep("killed")
    for name in ("sweep.parquet", "sweep.csv"):
        assert (ours / name).read_bytes() == (whole / name).read_bytes()
    for number in range(6):
        files = [{path.relative_to(sweep) for path in (sweep / str(number)).rglob("*")} for sweep in (ours, whole)]
        assert files[0] == files[1]
        for name in ("parameters.json", "history.npz", "assignments.parquet"):
            assert (ours / str(number) / name).read_bytes() == (whole / str(number) / name).read_bytes()
    for one in (folder, uninterrupted):
        check_store(one, "killed", Counter(FINISHED=6))
        assert status_of_parent(one, "killed") == "FINISHED"


BAD = (*PICTURELESS, "--config-dir", "mine", "prior=picky", MINE, "search=none", "steps=60", "seed=0,1", "sweep=bad")
ALL_KINDS = f"experiment={','.join([*EXPERIMENTS, 'absent'])}"


@pytest.fixture(scope="module")
def bad(make: Callable[[], Folder]) -> tuple[Folder, Ended]:
    folder = make()
    watched = "+hydra.callbacks.witness._target_=witness.Witness"
    return folder, folder.run("fit", "--multirun", ALL_KINDS, watched, *BAD)


def by_experiment(folder: Folder) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for _, record in sorted(folder.records("bad").items()):
        (name,) = (word.partition("=")[2] for word in record["overrides"] if word.startswith("experiment="))
        found.setdefault(name, []).append(record)
    return found


def test_each_bad_run_fails_in_its_own_record_and_the_others_finish(bad):
    folder, ended = bad
    assert ended.returncode == 1
    assert ended.stderr == ""
    assert "sweep bad, 18 runs: 2 finished, 2 diverged, 14 failed" in ended.stdout
    found = by_experiment(folder)
    assert [record["status"] for record in found["fine"]] == ["finished"] * 2
    assert [record["status"] for record in found["wild"]] == ["diverged"] * 2
    for name, reason in REASONS.items():
        assert [record["status"] for record in found[name]] == ["failed"] * 2
        assert all(reason in record["error"] for record in found[name]), found[name]
        assert all("\n" not in record["error"] for record in found[name])
    for number, record in folder.records("bad").items():
        files = {path.name for path in (folder.sweep("bad") / str(number)).iterdir()}
        allowed = {"record.json", "config.yaml", ".hydra", "fit.log"}
        assert (files <= allowed) == (record["status"] == "failed")
        assert record["sweep"]["number"] == number
    table = parquet.read_table(folder.sweep("bad") / "sweep.parquet")
    assert Counter(table["status"].to_pylist()) == {"finished": 2, "diverged": 2, "failed": 14}
    log = (folder.sweep("bad") / "sweep.log").read_text()
    assert "abc" in log  # of a run that has no log of its own
    (fine,) = (number for number, record in folder.records("bad").items() if record == found["fine"][0])
    assert "ERROR" not in (folder.sweep("bad") / str(fine) / "fit.log").read_text()
    runs = manifest(folder.sweep("bad"))["runs"]
    assert len({run["digest"] for run in runs}) == len(runs) == 18


def test_a_callback_hears_of_every_job_that_could_be_composed(bad):
    folder, _ = bad
    expected = {
        f"{number} {'COMPLETED' if record['status'] == 'finished' else 'FAILED'}"
        for number, record in folder.records("bad").items()
        if (folder.sweep("bad") / str(number) / ".hydra").is_dir()
    }
    seen = (folder.path / "seen.txt").read_text().splitlines()
    assert len(expected) == 14
    assert sorted(seen) == sorted(expected)


def test_the_summary_gives_the_reasons_and_the_command_that_goes_on(bad):
    folder, ended = bad
    for name in ("text", "zero", "no_file", "too_much"):
        told = [line for line in ended.stdout.splitlines() if f"(experiment={name} seed=" in line]
        assert len(told) == 2
        assert all(REASONS[name] in line for line in told)
    assert "more, in outputs/sweeps/bad/sweep.csv" in ended.stdout
    assert "fit what is missing or failed: python -m gmm_pipeline fit" in ended.stdout
    assert not list(folder.path.glob("outputs/fit"))


def test_the_store_has_the_failures_with_their_reasons(bad):
    folder, _ = bad
    check_store(folder, "bad", Counter(FINISHED=2, FAILED=16))
    assert status_of_parent(folder, "bad") == "FAILED"
    for number, record in folder.records("bad").items():
        run_id = record["tracking"]["run_id"]
        told = folder.select("select value from tags where key = 'gmm_pipeline.error' and run_uuid = ?", run_id)
        assert told == ([] if record["status"] == "finished" else [(record["error"],)]), number


def test_what_is_put_right_is_fitted_and_nothing_else(bad, tmp_path, fork, compilation_cache):
    folder = Folder(tmp_path, fork, compilation_cache)
    shutil.copytree(bad[0].path, tmp_path, dirs_exist_ok=True)
    assert folder.run("repair").returncode == 0  # or the files of runs would go beside the original store
    folder.write("lost.csv", "x\n" + "\n".join(str(value**2 % 101) for value in range(150)) + "\n")
    fine, other = (folder.sweep("bad") / record["name"] for record in by_experiment(folder)["fine"])
    whole = (other / "parameters.json").read_bytes()
    shutil.copy(fine / "parameters.json", other / "parameters.json")  # as a copy that went wrong would
    before = folder.written("bad")
    ended = folder.run("fit", "--multirun", "experiment=fine,no_file,wild", *BAD)
    assert ended.returncode == 1
    assert "6 runs, 3 done before, 3 to fit in 2 programs" in ended.stdout
    assert "18 runs: 4 finished, 2 diverged, 12 failed" in ended.stdout
    assert [record["status"] for record in by_experiment(folder)["no_file"]] == ["finished"] * 2
    assert (other / "parameters.json").read_bytes() == whole
    del before[int(other.name)]
    assert before.items() <= folder.written("bad").items()
    check_store(folder, "bad", Counter(FINISHED=4, FAILED=14))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("fit --multirun n_components=0 seed=0,1 sweep=wrong", "error: n_components: expected a whole number"),
        ("fit --multirun seed=0,1 sweep=a/b", "error: sweep: expected a name without slashes"),
        ("plan restarts=abc seed=0,1", "error: restarts: expected a whole number"),
    ],
)
def test_one_mistake_in_all_runs_is_one_message_and_leaves_nothing(make, arguments, says):
    folder = make()
    before = {path for path in folder.path.rglob("*") if path.is_file()}
    ended = folder.run(*arguments.split(), *QUIET, *SMALL)
    assert ended.returncode == 2
    assert ended.stderr.startswith(says)
    assert ended.stderr.count("\n") == 1
    assert {path for path in folder.path.rglob("*") if path.is_file()} == before
    assert not folder.sweep("wrong").exists()


def test_an_interrupted_sweep_keeps_what_is_finished_and_goes_on(make):
    folder = make()
    command = ("fit", "--multirun", *QUIET, *SMALL, "seed=range(0,10)", "sweep=mine")
    returncode, stdout, stderr = folder.end_after_three_runs(signal.SIGINT, *command)
    assert returncode == 130
    assert stderr == "interrupted\n"
    records, written = folder.records("mine"), folder.written("mine")
    assert len(records) == 3
    assert {record["status"] for record in records.values()} == {"finished"}
    table = parquet.read_table(folder.sweep("mine") / "sweep.parquet")
    assert table["run"].to_pylist() == sorted(records)
    assert "10 runs: 3 finished, 7 not run" in stdout
    assert "fit what is missing or failed: python -m gmm_pipeline fit" in stdout
    ended = folder.run(*command)
    assert ended.returncode == 0, ended.stderr
    assert "10 runs, 3 done before, 7 to fit" in ended.stdout
    assert sorted(folder.records("mine")) == list(range(10))
    again = folder.written("mine")
    assert {number: again[number] for number in records} == {number: written[number] for number in records}


def test_plan_says_what_a_sweep_would_do_and_does_nothing(uninterrupted, make):
    folder = make()
    before = {path: path.stat().st_mtime_ns for path in folder.path.rglob("*")}
    axes = ("optimizer=adam,sgd", "optimizer.learning_rate=0.05,0.1", "seed=0,1", "sweep=new")
    ended = folder.run("plan", "--multirun", *axes, *SMALL, "n_components=0,2", COLUMNS="120")
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    assert "16 runs, 2 programs, 8 that cannot be fitted" in ended.stdout
    rows = [
        line.split()
        for line in ended.stdout.splitlines()
        if line.startswith("up to 362 observations and 5 components, 60")
    ]
    assert [(row[10], *row[11:14]) for row in rows] == [("adam", "4", "2", "2"), ("sgd", "4", "2", "2")]
    assert all(float(cell) >= 0 for row in rows for cell in row[14:16])
    assert "differ in optimizer._target_: " in ended.stdout
    assert "n_components=0" in ended.stdout
    assert "about " in ended.stdout
    assert {path: path.stat().st_mtime_ns for path in folder.path.rglob("*")} == before

    def files() -> dict[Path, int]:
        """All but the store: a forked process leaves its write-ahead log there, and whoever looks next tidies up."""
        there = (path for path in uninterrupted.path.rglob("*") if path.is_file() and "mlflow.db" not in path.name)
        return {path: path.stat().st_mtime_ns for path in there}

    state = files()
    grown = uninterrupted.run("plan", *KILLED, "n_components=1,2,3,4")
    assert grown.returncode == 0, grown.stderr
    assert "8 runs, 1 program, 6 done before" in grown.stdout
    assert files() == state


def test_rows_without_a_value_are_said_once_for_each_data_set(quick: Quick, tmp_path):
    for name, gaps in (("few", ["NA", ""]), ("none", []), ("more", ["", "NA", "NA"])):
        rows = [*(str(row % 9 + row / 7) for row in range(40)), *gaps]
        (tmp_path / f"{name}.csv").write_text("\n".join(["x", *rows, "1"]))
    words = ("few.csv", "none.csv", "more.csv", "--multirun", "data.missing=drop", "seed=1,2", "n_components=1")
    said = [
        "few.csv, column 'x': 41 observations (2 of 43 rows without a value are left out)",
        "more.csv, column 'x': 41 observations (3 of 44 rows without a value are left out)",
    ]
    assert [line for line in quick("plan", *words).stdout.splitlines() if "left out" in line] == said
    swept = quick("fit", *words, *QUIET, "sweep=gaps", "search=none", "steps=12", "restarts=1")
    assert swept.returncode == 0, swept.stderr
    assert [line for line in swept.stdout.splitlines() if "left out" in line] == said
    log = (tmp_path / "outputs" / "sweeps" / "gaps" / "sweep.log").read_text()
    assert all(log.count(line) == 1 for line in said)


def test_two_optimizers_are_two_programs_and_the_log_says_why(make):
    folder = make()
    axes = ("optimizer=adam,sgd", "optimizer.learning_rate=0.05,0.1", "seed=0,1", "sweep=two")
    ended = folder.run("fit", "--multirun", *axes, *QUIET, *SMALL)
    assert ended.returncode == 0, ended.stderr
    assert "8 runs, 8 to fit in 2 programs" in ended.stdout
    log = (folder.sweep("two") / "sweep.log").read_text()
    assert "program of 4 runs: up to 362 observations and 5 components, 60 steps of adam" in log
    assert "program of 4 runs: up to 362 observations and 5 components, 60 steps of sgd" in log
    assert "several programs, since they differ in optimizer._target_: " in log
    assert "learning_rate" not in log
    assert len(folder.records("two")) == 8


def test_a_sweep_that_another_process_works_on_is_refused_and_left_as_it_is(quick: Quick, tmp_path):
    folder = tmp_path / "outputs/sweeps/mine"
    folder.mkdir(parents=True)
    other = held(folder / "sweep.log")
    assert other is not None
    with other:
        other.write(b"begun\n")
        other.flush()
        refused = quick("fit", "--multirun", *QUIET, *SMALL, "sweep=mine", "seed=0,1")
    assert refused.returncode == 2
    assert "sweep: expected one that no other process works on, but got mine, which another" in refused.stderr
    assert (folder / "sweep.log").read_text() == "begun\n"
    assert not (folder / "sweep.json").exists()


def test_folders_of_runs_that_are_not_their_numbers_are_refused(quick: Quick, tmp_path):
    ended = quick("fit", "--multirun", "seed=0,1", "hydra.sweep.subdir=run_${hydra.job.num}", *QUIET, *SMALL)
    assert ended.returncode == 2
    assert "hydra.sweep.subdir: expected ${hydra.job.num}, but got run_${hydra.job.num}. Leave it out" in ended.stderr
    assert not list(tmp_path.glob("outputs/sweeps/*"))


OPTUNA = ("hydra/sweeper=optuna", "hydra.sweeper.n_jobs=2", "hydra.sweeper.sampler.seed=1")


def test_optuna_leads_a_sweep_by_the_objective(make):
    folder = make()
    axes = ("optimizer.learning_rate=tag(log, interval(0.01, 0.5))", "objective=aic", "sweep=led")
    planned = folder.run("plan", *OPTUNA, *axes, *SMALL)
    assert planned.returncode == 0, planned.stderr
    assert "2 runs, 1 program" in planned.stdout
    assert not (folder.path / "outputs").exists()
    ended = folder.run("fit", "--multirun", *OPTUNA, "hydra.sweeper.n_trials=4", *axes, *PICTURELESS, *SMALL)
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stdout.count("sweep led, 4 runs: 4 finished") == 1  # one summary of two launches
    assert [path.name for path in folder.sweep("led").parent.iterdir()] == ["led"]
    aic = [json.loads((folder.sweep("led") / str(number) / "metrics.json").read_text())["aic"] for number in range(4)]
    best = yaml.safe_load((folder.sweep("led") / "optimization_results.yaml").read_text())
    assert best["best_value"] == min(aic)
    assert len(set(aic)) == 4
    table = parquet.read_table(folder.sweep("led") / "sweep.parquet")
    assert table["run"].to_pylist() == [0, 1, 2, 3]
    rates = table["optimizer.learning_rate"].to_pylist()
    assert rates[aic.index(min(aic))] == best["best_params"]["optimizer.learning_rate"]
    assert manifest(folder.sweep("led"))["objective"] == "aic"
    with closing(sqlite3.connect(folder.path / "outputs/mlflow.db")) as store:
        logged = store.execute("SELECT value FROM tags WHERE key = 'gmm_pipeline.number' ORDER BY value").fetchall()
    assert [number for (number,) in logged] == ["0", "1", "2", "3"]


@pytest.mark.parametrize("tolerant", [False, True])
def test_a_trial_of_optunas_that_fails_is_one_bad_run(make, tolerant):
    folder = make()
    axes = ("n_components=choice(0,1,2)", "hydra.sweeper.n_trials=6", "sweep=led")
    rate = ("hydra.sweeper.max_failure_rate=1.0",) if tolerant else ()
    ended = folder.run("fit", "--multirun", *OPTUNA, *rate, *axes, *QUIET, *SMALL)
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert ended.stdout.count("sweep led, ") == 1
    statuses = Counter(record["status"] for record in folder.records("led").values())
    assert statuses == {"failed": 1, "finished": 2 if tolerant else 1}  # two trials may ask for the same
    assert "n_components: expected a whole number from 1 to 10000, or auto, but got 0" in ended.stdout
