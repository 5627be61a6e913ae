"""The README keeps its promises: each of its commands runs, in order, in one empty folder."""

import re
import shlex
import subprocess
import sys

import pytest
from conftest import ROOT, hurried
from dvc.cli import parse_args

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)
TESTS_OF_PIPELINE = (ROOT / "tests" / "test_pipeline.py").read_text(encoding="utf-8")
COMMANDS = [line.split("  #")[0].strip() for kind, body in BLOCKS if kind == "sh" for line in body.splitlines() if line]

DRAWN = next(command for command in COMMANDS if " fit " in command)
WITHOUT_PICTURES = ("figures=none", "animation=none")
FEW = {"three_clusters": "data.n_draws=150", "--multirun": "data.n_draws=600"}
"""Fewer data than a command says, by a word of it: those whose fits take long, and of which no number is shown."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A stranger's folder, with the files that the README shows under the names it gives them."""
    folder = tmp_path_factory.mktemp("readme")
    for kind, body in BLOCKS:
        name = re.match(r"# (\S+\.\w+)\n", body)
        if kind in ("python", "yaml") and name:
            path = folder / name.group(1)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(body)
    return folder


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.startswith("python")])
def test_command_runs(command, folder, fork):
    assert command.startswith("python -m gmm_pipeline ")
    words = shlex.split(command)[3:]
    # Drawing takes most of the time of a fit: the first and the sweep draw all that they do, the others nothing.
    fits = words[0] == "fit" or (words[0] == "rerun" and "optimizer" in command)
    draws = not fits or command == DRAWN or {"--cfg", "--multirun"} & {*words}
    fewer = [few for word, few in FEW.items() if word in command]
    # The UI serves until it is interrupted, in its own tests.
    composed = ("--cfg", "job") if words[0] == "ui" else ()
    finished = fork(folder, *words, *(() if draws else WITHOUT_PICTURES), *fewer, *composed)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout


@pytest.mark.parametrize("body", [body for kind, body in BLOCKS if kind == "python" and "import gmm_pipeline" in body])
def test_python_runs(body, folder, compilation_cache):
    # After the commands, which have left records.
    environment = {**hurried(compilation_cache), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "error", "-c", body]
    finished = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.startswith("dvc")])
def test_commands_of_dvc_are_run_in_the_tests_of_the_pipeline(command):
    program, *words = command.split()
    changed = [word for word in words if "=" in word or word == "-S"]
    assert parse_args(words).func
    subcommand = [program, *(word for word in words if word not in changed)]
    run_there = [" ".join(call) for call in re.findall(r'"(dvc)", "(\w+)"(?:, "(\w+)")?', TESTS_OF_PIPELINE)]
    assert any(call.startswith(" ".join(subcommand)) for call in run_there)
    assert all(f'"{word.partition("=")[0]}=' in TESTS_OF_PIPELINE for word in changed if word != "-S")


def test_every_command_is_known_here():
    assert {command.split()[0] for command in COMMANDS} == {"python", "make", "dvc"}


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.startswith("make")])
def test_other_commands_are_targets_of_the_makefile(command):
    program, target = command.split()
    dry_run = subprocess.run([program, "--dry-run", target], cwd=ROOT, capture_output=True, text=True, check=False)
    assert dry_run.returncode == 0, dry_run.stderr
    assert dry_run.stdout


def test_make_fit_runs_the_command_that_the_readme_names():
    dry_run = subprocess.run(["make", "--dry-run", "fit"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "python -m gmm_pipeline fit optimizer=adam steps=1000\n" in dry_run.stdout
    assert "python -m gmm_pipeline fit optimizer=adam steps=1000" in COMMANDS


def test_ci_calls_the_test_command_of_the_readme():
    assert "make test" in COMMANDS
    assert "make test" in (ROOT / ".ci" / "run").read_text().splitlines()


def test_the_table_that_the_readme_shows_is_what_is_printed(quick):
    finished = quick("fit", "optimizer=adam", "steps=1000", "tracking=none", "figures=none", "animation=none")
    (shown,) = [body for kind, body in BLOCKS if kind == "text"]
    names = [line.split() for line in shown.splitlines() if line.startswith("component")]
    assert names[0] in [line.split() for line in finished.stdout.splitlines()]
    numbers = [float(number) for number in re.findall(r"-?\d+\.\d+", shown)]
    printed = [float(number) for number in re.findall(r"-?\d+\.\d+", finished.stdout)][: len(numbers)]
    assert printed == pytest.approx(numbers, rel=1e-4)  # the last digits are the platform's


def test_the_readme_is_short():
    assert len(README.splitlines()) < 200
