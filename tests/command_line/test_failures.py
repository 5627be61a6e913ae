"""What is left when something goes wrong half-way: a whole record or none."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Cli, Quick

from gmm_pipeline.errors import RunFailed, heeding_interrupts

QUIET = ("tracking=none", "figures=none", "animation=none")
SMALL = ("search=none", "data.n_draws=600", "steps=40")


def records(folder: Path) -> list[Path]:
    return [path.parent for path in folder.glob("outputs/**/record.json")]


def test_a_picture_that_fails_costs_no_fit(quick: Quick, tmp_path):
    finished = quick("fit", "tracking=none", "figures=none", *SMALL, IMAGEIO_FFMPEG_EXE=str(tmp_path / "nowhere"))
    assert finished.returncode == 1
    assert finished.stderr.startswith("error: A picture failed: ")
    assert len(finished.stderr.splitlines()) == 1
    (record,) = records(tmp_path)
    assert json.loads((record / "record.json").read_text())["status"] == "finished"
    assert "a picture failed" in (record / "fit.log").read_text()
    again = quick("animate", "animation.formats=[gif]", "animation.frames=3")
    assert again.returncode == 0, again.stderr
    assert (record / "animation" / "training.gif").is_file()


def test_a_folder_that_is_refused_keeps_the_files_of_the_user(quick: Quick, tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    for name in ("config.yaml", "metrics.json", "fit.log"):
        (mine / name).write_text("of mine\n")
    refused = quick("fit", *QUIET, *SMALL, "hydra.run.dir=mine")
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: hydra.run.dir: expected a folder without files of a record")
    assert {file.name: file.read_text() for file in mine.rglob("*")} == dict.fromkeys(
        ("config.yaml", "metrics.json", "fit.log"), "of mine\n"
    )


CANNOT_COMPOSE = """
import sys
from gmm_pipeline import __main__
from gmm_pipeline.execution.composition import SweepComposer
from gmm_pipeline.execution.launcher import BatchLauncher

def compose(*_):
    raise LookupError("what it is composed of has gone")

SweepComposer.compose = compose
BatchLauncher._is_plain = lambda *_: False
sys.argv[0] = "gmm_pipeline"
__main__.main()
"""


def test_a_run_that_cannot_be_composed_once_it_was_computed_says_why(tmp_path):
    words = ("fit", "--multirun", "seed=0,1", *QUIET, "search=none", *SMALL)
    finished = subprocess.run(
        [sys.executable, "-c", CANNOT_COMPOSE, *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 1, finished.stderr
    for record in records(tmp_path):
        about = json.loads((record / "record.json").read_text())
        assert about["status"] == "failed"
        assert "what it is composed of has gone" in about["error"]
    assert len(records(tmp_path)) == 2


def test_every_bad_job_of_a_sweep_says_so_and_the_others_finish(quick: Quick, tmp_path):
    finished = quick("fit", "--multirun", "n_components=0,2,-1", *QUIET, *SMALL)
    assert finished.returncode == 1
    assert finished.stderr == ""
    for run, number in ((0, "0"), (2, "-1")):
        said = [line for line in finished.stdout.splitlines() if f"run {run} (n_components={number}) failed: " in line]
        assert len(said) == 1, finished.stdout
        assert f"but got {number}." in said[0]
    statuses = {record.name: json.loads((record / "record.json").read_text())["status"] for record in records(tmp_path)}
    assert statuses == {"0": "failed", "1": "finished", "2": "failed"}


def test_every_bad_job_says_so_with_hydras_own_launcher_too(quick: Quick, tmp_path):
    finished = quick("fit", "--multirun", "n_components=0,2,-1", "hydra/launcher=basic", *QUIET, *SMALL)
    assert finished.returncode == 2
    assert "Traceback" not in finished.stderr
    for number in ("0", "-1"):
        said = [line for line in finished.stderr.splitlines() if f"error: n_components={number} " in line]
        assert len(said) == 1, finished.stderr
        assert f"but got {number}." in said[0]
    (record,) = records(tmp_path)
    assert record.name == "1"


# A test run in the background of a shell hands on that interrupts are to be ignored.
HEEDING_INTERRUPTS = """
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("gmm_pipeline", run_name="__main__", alter_sys=True)
"""


def wait_for(happened: Callable[[], bool], meanwhile: Callable[[], object] = lambda: None, every: float = 0.05) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline
        meanwhile()
        time.sleep(every)


@pytest.mark.parametrize("late", [False, True], ids=["in the fit", "in the animation"])
def test_an_interrupted_run_leaves_a_whole_record_or_none(late, tmp_path, compilation_cache):
    slow = (
        ["steps=2000", "history_every=1", "animation.frames=2000", "animation.size=[20,12]"]
        if late
        else ["steps=100000000", "data.n_draws=100000"]
    )
    wanted = "record.json" if late else "fit.log"
    with subprocess.Popen(
        [sys.executable, "-c", HEEDING_INTERRUPTS, "fit", "tracking=none", "figures=none", *SMALL, *slow],
        cwd=tmp_path,
        env={**os.environ, "JAX_COMPILATION_CACHE_DIR": str(compilation_cache)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        try:
            wait_for(lambda: any(path.stat().st_size for path in tmp_path.glob(f"outputs/fit/*/{wanted}")))
            # Again and again, as people do: one that lands in a garbage collection is lost.
            wait_for(lambda: running.poll() is not None, meanwhile=lambda: running.send_signal(signal.SIGINT), every=2)
        finally:
            running.kill()
        _, stderr = running.communicate()
    assert running.returncode == 130, stderr
    assert stderr.endswith("interrupted\n")
    assert len(records(tmp_path)) == late
    if not late:
        assert not list((tmp_path / "outputs" / "fit").iterdir())


def fail_when_interrupted() -> None:
    try:
        raise KeyboardInterrupt
    finally:
        # What OmegaConf does where an interrupt lands in its copying.
        None._invalidate_flags_cache()  # pyright: ignore[reportAttributeAccessIssue]


def test_an_interrupt_stays_one_where_a_library_fails_at_its_own_clean_up():
    with pytest.raises(KeyboardInterrupt), heeding_interrupts():
        fail_when_interrupted()


@pytest.mark.parametrize("error", [RunFailed("no"), OSError("full"), KeyError("bug")])
def test_what_is_raised_while_a_handled_interrupt_is_tidied_up_after_is_no_interrupt(error):
    with pytest.raises(type(error)) as raised:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            with heeding_interrupts():
                raise error from None
    assert raised.value is error


@pytest.mark.parametrize(
    ("arguments", "environment", "says"),
    [
        ("fit", {"JAX_DISABLE_JIT": "maybe"}, "JAX_DISABLE_JIT: expected 0 or 1, but got maybe."),
        ("fit", {"JAX_DISABLE_JIT": "1"}, "JAX_DISABLE_JIT: expected none: a fit is one compiled program, but got 1."),
        ("fit --multirun seed=1,2", {"JAX_PLATFORMS": "foo"}, "JAX_PLATFORMS: expected devices that this machine has"),
        ("simulate", {"JAX_PLATFORM_NAME": "foo"}, "JAX_PLATFORM_NAME: expected devices that this machine has"),
        ("predict new.csv", {"JAX_ENABLE_X64": "maybe"}, "JAX_ENABLE_X64: expected 0 or 1, but got maybe."),
        (
            "plan seed=1,2",
            {"JAX_NUM_CPU_DEVICES": "two"},
            "JAX_NUM_CPU_DEVICES: expected a value that JAX knows for it",
        ),
    ],
)
def test_what_the_environment_says_to_jax_is_refused_before_a_folder_is_made(
    cli: Cli, tmp_path, arguments, environment, says
):
    refused = cli(*arguments.split(), **environment)
    assert refused.returncode == 2, refused.stderr
    assert refused.stderr.startswith(f"error: {says}")
    assert len(refused.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_what_needs_no_jax_does_not_mind_the_environment(cli: Cli):
    assert cli("fit", "--cfg", "job", JAX_ENABLE_X64="maybe").returncode == 0
    assert cli("repair", JAX_ENABLE_X64="maybe").stderr.startswith("error: outputs_dir: ")
