"""Which record `latest` is."""

import os
from pathlib import Path

import pytest
from made_records import write_run, write_sweep

from gmm_pipeline import load
from gmm_pipeline.records import sweeps
from gmm_pipeline.stages.finding import best_of_sweep, find_record


def made_at(folder: Path, time: int) -> None:
    for record in folder.rglob("record.json"):
        os.utime(record, (time, time))


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    """A sweep whose best run is run 3, and an older single run."""
    made_at(write_run(tmp_path / "fit" / "single"), 1_000)
    made_at(write_sweep(tmp_path / "sweeps" / "study", n_runs=6), 2_000)
    return tmp_path


def test_after_a_sweep_the_latest_is_its_best_run(outputs):
    best = best_of_sweep(outputs / "sweeps" / "study")
    assert best == (outputs / "sweeps/study/3", "the best of 6 runs of the sweep study by BIC")
    assert find_record("latest", str(outputs)) == outputs / "sweeps/study/3"
    with pytest.warns(UserWarning, match=r"latest is .*/study/3, the best of 6 runs of the sweep study by BIC"):
        load("latest", outputs_dir=outputs)


def test_a_single_run_after_a_sweep_is_the_latest(outputs, recwarn):
    made_at(outputs / "fit" / "single", 3_000)
    assert find_record("latest", str(outputs)) == outputs / "fit/single"
    load("latest", outputs_dir=outputs)
    assert not recwarn
    assert best_of_sweep(outputs / "fit" / "single") is None


def test_of_an_unfinished_sweep_it_is_the_best_so_far(outputs):
    folder = outputs / "sweeps" / "study"
    manifest = sweeps.read_manifest(folder)
    more = [sweeps.ManifestRun(number, ("seed=9",), None) for number in range(6, 9)]
    sweeps.write_manifest(folder, manifest._replace(runs=[*manifest.runs, *more]))
    best = best_of_sweep(folder)
    assert best is not None
    assert best.description == "the best of 6 runs so far, of 9, of the sweep study by BIC"


def test_a_sweep_without_a_result_has_no_best_run(tmp_path):
    folder = write_sweep(tmp_path / "study", n_runs=6)
    manifest = sweeps.read_manifest(folder)
    diverged = [run for run in manifest.runs if run.number == 4]
    sweeps.write_manifest(folder, manifest._replace(runs=diverged))
    assert best_of_sweep(folder) is None
