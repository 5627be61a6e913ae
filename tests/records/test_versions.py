"""Records and a store that earlier versions wrote are read by this one; what a later version wrote is refused in words.

`tests/data/version_*` holds what a version wrote: records of single runs, a sweep, and the tracking store of one run
and the sweep. What is read is held to the JSON and CSV in them. A change of a format comes with another such folder.
"""

import csv
import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import REAL, ROUNDING_64

import gmm_pipeline
from gmm_pipeline.errors import InputError
from gmm_pipeline.execution import planning
from gmm_pipeline.model import portable
from gmm_pipeline.model.noise import parts
from gmm_pipeline.records import contents, finding, sweeps
from gmm_pipeline.records.assignments import read_assignments
from gmm_pipeline.records.datasets import Dataset
from gmm_pipeline.report import run_page
from gmm_pipeline.stages import predict
from gmm_pipeline.stages.rerun_arguments import routed
from gmm_pipeline.tracking.calls import entry_of
from gmm_pipeline.tracking.repair import repair
from gmm_pipeline.tracking.runs import records_there

VERSIONS = sorted(REAL.glob("version_*"))
RECORDS = [record for version in VERSIONS for record in sorted((version / "fit").iterdir())]
WITH_RESULT = [record for record in RECORDS if record.name != "diverged"]


def content_of(file: Path) -> Any:
    return json.loads(file.read_text())


def named(record: Path) -> str:
    return f"{record.parents[1].name}-{record.name}"


@pytest.mark.parametrize("record", WITH_RESULT, ids=named)
def test_a_fit_is_loaded_with_its_numbers_and_labels(record):
    parameters, metrics = content_of(record / "parameters.json"), content_of(record / "metrics.json")
    fit = gmm_pipeline.load(record)
    assert fit.weights.tolist() == parameters["weights"]
    assert fit.locs.tolist() == parameters["locs"]
    assert fit.metrics["bic"] == metrics["bic"]
    with (record / "assignments.csv").open() as stream:
        labels = [int(row["label"]) for row in csv.DictReader(stream)]
    assert fit.labels.tolist() == labels
    verdict = content_of(record / "record.json")["verdict"]
    assert list(fit.verdict[: len(verdict)]) == verdict


@pytest.mark.parametrize("record", WITH_RESULT, ids=named)
def test_predictions_for_its_own_data_are_its_own_labels(record):
    found = read_assignments(record, columns=finding.columns_of(record))
    passed = Dataset("own", None, "", "passed", found.data, found.sample_weights, None, None, columns=found.columns)
    predicted = predict.compute(predict.Job(finding.read_fitted(record), "own", passed)).assignments
    assert predicted.labels.tolist() == found.labels.tolist()
    np.testing.assert_allclose(predicted.responsibilities, found.responsibilities, rtol=1e-9, atol=ROUNDING_64)
    components, log_noise = parts(finding.read_fitted(record))
    assert len(portable.evaluate(*components, found.data, log_noise)[1]) == found.responsibilities.shape[1]


@pytest.mark.parametrize("record", RECORDS, ids=named)
def test_a_record_is_logged_and_run_again(record):
    entry = entry_of(record, contents.read(record), "name", 5)
    bic = content_of(record / "metrics.json")["bic"]
    assert [point.value for point in entry.points if point.name == "bic"] == [bic] * (bic is not None)
    again = routed([f"run={record}", "tracking=none"])
    assert (again.command, again.arguments[0]) == ("rerun", f"config={record}/config.yaml")


def test_a_page_is_written_of_it():
    page = run_page.page(WITH_RESULT[0], place="", again="", settings=run_page.Settings(0.95, 50, 100, 0))
    assert f"{content_of(WITH_RESULT[0] / 'metrics.json')['bic']:.1f}" in page


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
def test_a_sweep_is_read(version):
    folder = version / "sweeps" / "small"
    manifest = sweeps.read_manifest(folder)
    runs = sweeps.read_runs(folder, manifest)
    assert [run.metrics["bic"] for run in runs] == [content_of(folder / f"{k}/metrics.json")["bic"] for k in (0, 1)]
    assert [run.status for run in runs] == ["finished", "finished"]


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
def test_a_store_has_its_runs_after_its_folder_was_moved(version, tmp_path):
    outputs = tmp_path / "outputs"
    for name in ("fit", "sweeps"):
        shutil.copytree(version / name, outputs / name)
    store = outputs / "mlflow.db"
    store.write_bytes(gzip.decompress((version / "mlflow.db.gz").read_bytes()))
    record = outputs / "fit" / "one_column"
    assert repair(store, outputs).changed
    uri = f"sqlite:///{store}"
    assert records_there({record: contents.read_about(record)}, uri) == {record}
    run_id = content_of(record / "record.json")["tracking"]["run_id"]
    fit = gmm_pipeline.load(run_id, tracking_uri=uri)
    assert fit.record == record
    assert fit.weights.tolist() == content_of(record / "parameters.json")["weights"]


@pytest.fixture
def later(tmp_path: Path) -> Path:
    """A sweep of a later version."""
    shutil.copytree(VERSIONS[-1] / "sweeps" / "small", tmp_path / "small")
    for name in ("sweep.json", "0/record.json"):
        file = tmp_path / "small" / name
        file.write_text(json.dumps({**content_of(file), "format": 7, "runs": "of another kind"}))
    return tmp_path / "small"


READERS = {
    "load": gmm_pipeline.load,
    "predict": finding.read_fitted,
    "log": contents.read,
    "rerun": lambda record: routed([f"run={record}", "tracking=none"]),
    "a sweep that is resumed": lambda record: planning._is_done(record, content_of(record / "record.json")["digest"]),
}


@pytest.mark.parametrize("reader", READERS)
def test_a_record_of_a_later_version_is_refused_in_words(later, reader):
    with pytest.raises(InputError, match=r"format 1 or older, but got format 7.*later version.*Update this program"):
        READERS[reader](later / "0")


def test_so_is_a_sweep(later):
    with pytest.raises(InputError, match=r"sweep\.json: expected a file of format 1 or older, but got format 7"):
        sweeps.read_manifest(later)
