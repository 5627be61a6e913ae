"""A disk that is full while something is written: one message, nothing half-written, and no answer lost."""

import errno
import os
import re
from pathlib import Path

import pytest
from conftest import Quick

from gmm_pipeline.configuration.command_errors import as_mistake
from gmm_pipeline.records.files import whole_file

FIT = (
    "fit",
    "tracking=none",
    "figures=none",
    "animation=none",
    "search=none",
    "steps=12",
    "restarts=2",
    "data.n_draws=3000",
)
ROOM = 30_000
"""Bytes: less than 3,000 labels take, and more than any other file of a record."""


def left(folder: Path) -> list[str]:
    """The files that a command has left, but for compiled programs."""
    return sorted(str(path.relative_to(folder)) for path in folder.glob("outputs/**/*") if path.is_file())


def test_a_fit_that_cannot_be_recorded_is_told_and_leaves_nothing(quick: Quick, tmp_path):
    whole = quick(*FIT, f"hydra.run.dir={tmp_path}/whole")
    ended = quick(*FIT, largest=ROOM)
    assert (whole.returncode, ended.returncode) == (0, 2)
    assert ended.stderr.startswith(f"error: {tmp_path}/outputs/fit/")
    assert "assignments.parquet: expected free space for the output, but got File too large" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert ended.stdout == whole.stdout.partition("record: ")[0]
    assert left(tmp_path) == []


def test_a_run_that_hydra_cannot_begin_leaves_nothing(quick: Quick, tmp_path):
    ended = quick(*FIT, largest=500)
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: the disk: expected free space for the output")
    assert left(tmp_path) == []
    assert list(tmp_path.glob("outputs/fit/*")) == []


def test_a_sweep_that_cannot_be_recorded_ends_with_one_message(quick: Quick, tmp_path):
    whole = quick(*FIT, "--multirun", "seed=1,2", f"hydra.sweep.dir={tmp_path}/whole")
    ended = quick(*FIT, "--multirun", "seed=1,2", "sweep=study", largest=ROOM)
    assert (whole.returncode, ended.returncode) == (0, 2)
    assert ended.stderr.startswith("error: ")
    assert len(ended.stderr.splitlines()) == 1
    assert re.search(r"seed=1 .*: two_modes: 3,000 observations, 2 components; loss .*; not recorded\n", ended.stdout)
    kept = ("multirun.yaml", "sweep.json", "sweep.log")
    assert left(tmp_path) == [f"outputs/sweeps/study/{name}" for name in kept]


def test_data_that_cannot_be_written_leave_nothing(quick: Quick, tmp_path):
    ended = quick("simulate", "figures=none", "data.n_draws=3000", largest=ROOM)
    assert ended.returncode == 2
    assert "data.parquet: expected free space for the output" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert left(tmp_path) == []


def test_a_full_disk_names_no_file_of_itself(tmp_path):
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(OSError, match="No space left") as caught, whole_file(tmp_path / "record.json"):
        raise full
    assert (caught.value.filename, list(tmp_path.iterdir())) == (str(tmp_path / "record.json"), [])
    for error, where in ((caught.value, str(tmp_path / "record.json")), (full, "the disk")):
        mistake = as_mistake(error, "fit")
        assert mistake is not None
        assert (mistake.where, mistake.came) == (where, "No space left on device")


SMALL_DISK = """
import shutil, sys
from gmm_pipeline import __main__
usage = shutil.disk_usage
shutil.disk_usage = lambda place: usage(place)._replace(free=100_000)
sys.argv[:] = ["gmm_pipeline", *{words}]
__main__.main()
"""


@pytest.mark.parametrize(
    ("more", "least"), [(("data.n_draws=5000",), "0.00014"), (("--multirun", "seed=1,2", "sweep=study"), "0.000168")]
)
def test_records_that_a_disk_cannot_take_are_refused_before_the_work(quick: Quick, tmp_path, more, least):
    ended = quick("-c", SMALL_DISK.format(words=(*FIT, *more)))
    assert (ended.returncode, ended.stdout) == (2, "")
    assert f"free space for the labels of all observations, {least} GB or more, but got 0.0001 GB." in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert left(tmp_path) == []
