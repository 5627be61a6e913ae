"""The pictures that belong to a record: those that tell something about it, from its files alone."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from omegaconf import OmegaConf

from gmm_pipeline.analysis.candidates import chosen_row
from gmm_pipeline.errors import RunFailed
from gmm_pipeline.pictures import pages
from gmm_pipeline.records import artifacts, reading
from gmm_pipeline.records.files import write_columns, write_json
from gmm_pipeline.records.json_files import read_json
from gmm_pipeline.records.timings import Timings
from gmm_pipeline.stages import pictures
from gmm_pipeline.stages.running import drawing

ALWAYS = {"classification", "fitted_density", "loss", "parameter_traces", "uncertainty", "weights"}
CONFIG = OmegaConf.create(
    {
        "figures": {"formats": ["png"], "size": [6.4, 3.6], "dpi": 40, "font_size": 9.0, "style": "default"},
        "animation": {"formats": []},
    }
)


@pytest.fixture(scope="module")
def selected(tmp_path_factory, compilation_cache):
    """The record of a fit with all that can be drawn, made by the real command."""
    folder = tmp_path_factory.mktemp("selected")
    random = np.random.default_rng(0)
    write_columns(
        folder / "data.csv", {"x": np.concatenate([random.normal(0.0, 1.0, 40), random.normal(9.0, 1.0, 40)])}
    )
    asked = ["data=file", "data.path=data.csv", "n_components=auto", "selection.largest=2", "bootstrap=20"]
    quiet = ["tracking=none", "figures=none", "animation=none", "hydra.run.dir=record"]
    subprocess.run(
        [sys.executable, "-m", "gmm_pipeline", "fit", *asked, *quiet],
        cwd=folder,
        env={**os.environ, "JAX_COMPILATION_CACHE_DIR": str(compilation_cache)},
        check=True,
        capture_output=True,
        timeout=300,
    )
    return folder / "record"


def drawn(record):
    assert pictures.picture(CONFIG, record, Timings(0.0)) == ""
    return {path.stem for path in (record / artifacts.FIGURES).iterdir()}


def test_what_was_asked_is_drawn(selected, tmp_path):
    record = shutil.copytree(selected, tmp_path / "record")
    assert drawn(record) == ALWAYS | {"selection", "bootstrap"}
    found = reading.read(record)
    assert found.selection is not None
    assert found.config["criterion"] == "bic"
    row = chosen_row(found.selection)
    assert row is not None
    assert found.selection["n_components"][row] == len(found.fitted.weights) == 2


def test_starts_that_differ_are_drawn(selected, tmp_path):
    record = shutil.copytree(selected, tmp_path / "record")
    starts = read_json(record / artifacts.RESTARTS)["restarts"]
    worse = starts[0] | {"outcome": "worse", "log_posterior": starts[0]["log_posterior"] - 3.0}
    write_json(record / artifacts.RESTARTS, {"restarts": [*starts, worse]})
    assert "restarts" in drawn(record)


def test_an_older_record_is_still_drawn(selected, tmp_path):
    record = shutil.copytree(selected, tmp_path / "record")
    for name in (artifacts.RESTARTS, artifacts.SELECTION, artifacts.REPLICATES):
        (record / name).unlink()
    parameters = read_json(record / artifacts.PARAMETERS)
    write_json(record / artifacts.PARAMETERS, {name: parameters[name] for name in ("weights", "locs", "scales")})
    assert drawn(record) == ALWAYS


def test_a_picture_that_fails_costs_no_fit(selected, tmp_path):
    record = shutil.copytree(selected, tmp_path / "record")
    (record / artifacts.HISTORY).unlink()
    assert "A picture failed: FileNotFoundError" in pictures.picture(CONFIG, record, Timings(0.0))


def test_a_picture_that_fails_costs_no_other(selected, tmp_path, monkeypatch):
    record, save = shutil.copytree(selected, tmp_path / "record"), pages.save_figure

    def saved(figure, path, **settings):
        if path.name in ("fitted_density", "loss"):
            raise KeyError(path.name)
        return save(figure, path, **settings)

    monkeypatch.setattr(pages, "save_figure", saved)
    said = pictures.picture(CONFIG, record, Timings(0.0))
    assert said == "A picture failed: KeyError: 'fitted_density'. 1 more failed: see the log."
    there = {path.stem for path in (record / artifacts.FIGURES).iterdir()}
    assert there == (ALWAYS | {"selection", "bootstrap"}) - {"fitted_density", "loss"}


def test_a_mistake_of_ours_in_a_picture_is_traced(capsys):
    said = r"A picture failed: KeyError: 'bars'\. The data are there\."
    with pytest.raises(RunFailed, match=said), drawing("The data are there."):
        raise KeyError("bars")
    assert "Traceback" in capsys.readouterr().err
