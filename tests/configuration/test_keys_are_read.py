"""Every key that a command offers is read by it: one that does nothing is a promise that is not kept."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import hurried

from gmm_pipeline.configuration.schemas import SCHEMAS

SMALL = ["data.n_draws=60", "steps=2", "restarts=1", "search.rounds=1", "search.mixtures=4", "search.kept=2"]
QUIET = ["figures.formats=[]", "animation.formats=[]"]
IDLE = "+zzz=1"
LINES = {
    "fit": [
        ["data=three_clusters", "covariance=auto", "selection.covariances=[EII,EEI]", *SMALL, *QUIET, "tracking=none"],
        [*SMALL, "n_components=auto", "selection.largest=1", "animation.formats=[gif]", "animation.frames=1", IDLE],
        ["--multirun", "seed=0,1", *SMALL, *QUIET, "sweep=two", "n_components=1"],
    ],
    "simulate": [["data.n_draws=9", IDLE]],
    "predict": [["data=two_modes", "data.n_draws=9", IDLE]],
    "rerun": [
        ["run=outputs/sweeps/two/0", "figures=default", "animation=default", "animation.frames=1", "tracking=mlflow"]
    ],
    "animate": [["animation.formats=[gif]", "animation.frames=1", IDLE]],
    "report": [["run=outputs/sweeps/two/0", "simulations=100", IDLE]],
    "log": [["run=outputs/sweeps/two", "tracking.uri=sqlite:///other.db", IDLE]],
    "repair": [[IDLE]],
    "ui": [["port=0", IDLE]],
}


@pytest.fixture(scope="module")
def unread(tmp_path_factory: pytest.TempPathFactory, compilation_cache: Path) -> dict[str, list[str]]:
    """Keys that a command leaves unread, with one that was added to it and that nothing can read."""
    folder = tmp_path_factory.mktemp("reads")
    script = Path(__file__).with_name("reads_of_commands.py")
    finished = subprocess.run(
        [sys.executable, str(script), json.dumps([[command, *lines] for command, lines in LINES.items()])],
        cwd=folder,
        env=hurried(compilation_cache),
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stderr
    return json.loads((folder / "unread.json").read_text())


@pytest.mark.parametrize("command", SCHEMAS)
def test_a_command_reads_every_key_but_an_idle_one(unread, command):
    assert unread[command] == ["zzz"]
