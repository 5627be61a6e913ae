"""A mixture at data that are evaluated in blocks."""

import numpy as np
import pytest
from pyarrow import parquet
from scipy.stats import norm

from gmm_pipeline.model.natural import Mixture
from gmm_pipeline.records import artifacts, evaluations
from gmm_pipeline.records.assignments import read_assignments, write_assignments
from gmm_pipeline.records.datasets import Dataset
from gmm_pipeline.stages import predict

MIXTURE = Mixture(np.array([0.3, 0.7]), np.array([-1.0, 2.0]), np.array([0.5, 1.5]))
RNG = np.random.default_rng(3)
DATA, WEIGHTS = RNG.normal(1.0, 2.0, 100), RNG.integers(1, 5, 100).astype(np.float64)
JOINT = MIXTURE.weights * norm.pdf(DATA[:, None], MIXTURE.locs, MIXTURE.scales)


@pytest.fixture(autouse=True)
def short_blocks(monkeypatch):
    monkeypatch.setattr(evaluations, "BLOCK", 16)


def test_what_is_written_in_blocks_is_what_scipy_says(tmp_path):
    at_data = evaluations.Evaluations(MIXTURE, None, DATA, WEIGHTS)
    write_assignments(tmp_path, at_data, csv_rows=1000)
    found = read_assignments(tmp_path)
    np.testing.assert_array_equal(found.data, DATA)
    np.testing.assert_array_equal(found.sample_weights, WEIGHTS)
    np.testing.assert_array_equal(found.labels, JOINT.argmax(axis=1))
    np.testing.assert_allclose(found.responsibilities, JOINT / JOINT.sum(axis=1, keepdims=True), rtol=1e-12)
    np.testing.assert_array_equal(at_data.labels, found.labels)
    np.testing.assert_array_equal(at_data.responsibilities, found.responsibilities)
    np.testing.assert_allclose(at_data.log_densities, np.log(JOINT.sum(axis=1)), rtol=1e-12)
    assert parquet.ParquetFile(tmp_path / artifacts.ASSIGNMENTS).num_row_groups == 7
    assert len((tmp_path / artifacts.ASSIGNMENTS_CSV).read_text().splitlines()) == 101


def test_predictions_in_blocks_are_at_the_rows_of_the_file():
    rows = np.flatnonzero(RNG.random(400) < 0.25)[:60]
    rows = rows[(rows < 32) | (rows >= 64)]  # two blocks without data
    n = len(rows)
    dataset = Dataset("new", None, "", "file", DATA[:n], WEIGHTS[:n], None, None, ("x",), rows=rows, n_rows=400)
    made = predict.Job(MIXTURE, "mine", dataset)
    found = predict.compute(made)
    blocks = list(predict._blocks(dataset, found.assignments))
    assert len(blocks) == 25
    labels = np.ma.concatenate([block["label"] for block in blocks])
    np.testing.assert_array_equal(np.flatnonzero(~np.ma.getmaskarray(labels)), rows)
    np.testing.assert_array_equal(labels.compressed(), JOINT[:n].argmax(axis=1))
    log_densities = np.log(JOINT[:n].sum(axis=1))
    assert predict.mean_log_density(made, found) == pytest.approx(np.average(log_densities, weights=WEIGHTS[:n]))
    np.testing.assert_allclose(found.labelled, np.bincount(JOINT[:n].argmax(axis=1), WEIGHTS[:n]))
