"""Every experiment opens with its command, is held to what it promises, and runs; the whole ones are a benchmark."""

import json
from pathlib import Path

import pyarrow.parquet
import pytest
from hydra import compose, initialize_config_dir

from benchmarks.experiments import CHECKS, EXPERIMENTS, opening
from gmm_pipeline.configuration import config

FEW = ("tracking=none", "figures=none", "animation=none")


@pytest.mark.parametrize("name", sorted(EXPERIMENTS))
def test_an_experiment_opens_with_its_own_command_and_is_held_to_what_it_expects(name):
    command, *words = opening(EXPERIMENTS[name])
    assert command == "fit"
    assert f"experiment={name}" in words
    assert "# Expect " in EXPERIMENTS[name].read_text(encoding="utf-8")
    assert name in CHECKS
    with initialize_config_dir(str(config.config_directory()), version_base="1.3"):
        composed = compose("fit", [f"experiment={name}"], return_hydra_config=True)
    # An experiment that is swept over says so in its command.
    assert ("--multirun" in words) == bool(composed.hydra.sweeper.params)


def test_the_true_number_of_components_is_selected_for_data_like_the_galaxies(quick, tmp_path):
    ended = quick("fit", "experiment=galaxies_like", "selection.largest=4", "restarts=4", *FEW)
    assert ended.returncode == 0, ended.stderr
    (record,) = (tmp_path / "outputs" / "fit").iterdir()
    parameters = json.loads((record / "parameters.json").read_text())
    assert len(parameters["locs"]) == 3
    assert parameters["scales_are"] == "free"


def test_the_optimizers_are_compared_on_the_same_data_and_starts(quick, tmp_path):
    small = ("seed=0,1", "optimizer=adam,em,squarem", "data.n_draws=400", "steps=200")
    ended = quick("fit", "--multirun", "experiment=optimizers", *small, *FEW, "sweep=small")
    assert ended.returncode == 0, ended.stderr
    sweep: Path = tmp_path / "outputs" / "sweeps" / "small"
    rows = pyarrow.parquet.read_table(sweep / "sweep.parquet").to_pylist()
    assert [(row["optimizer"], row["seed"]) for row in rows] == [
        (name, seed) for name in ("adam", "em", "squarem") for seed in (0, 1)
    ]
    assert {row["restarts"] for row in rows} == {1}
    data = {json.loads((sweep / row["record"] / "data.json").read_text())["digest"] for row in rows}
    assert len(data) == 1
