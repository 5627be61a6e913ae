"""A fit from Python of more data than searches and starts see as they are."""

import sys
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from scipy.stats import norm

import gmm_pipeline as gmm
from gmm_pipeline.inference import large
from gmm_pipeline.model import large_data
from gmm_pipeline.records import evaluations, tables

DATA = np.random.default_rng(4).normal([-2.0, 3.0], [1.0, 0.7], (400, 2)).ravel()
SHORT: dict[str, Any] = {
    "rounds": 3,
    "mixtures": 16,
    "kept": 4,
    "most_data": 500,
    "most_rows": 500,
    "condensed_to": 100,
}


@pytest.fixture(scope="module")
def fit():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluations, "BLOCK", 256)
        yield gmm.fit(DATA, n_components=2, prior="flat", optimizer="squarem", restarts=2, search=SHORT)


def test_labels_and_log_likelihood_are_of_all_data(fit):
    joint = fit.weights * norm.pdf(DATA[:, None], fit.locs, fit.scales)
    np.testing.assert_array_equal(fit.labels, joint.argmax(axis=1))
    np.testing.assert_allclose(fit.responsibilities, joint / joint.sum(axis=1, keepdims=True), rtol=1e-9, atol=1e-300)
    assert fit.metrics["log_likelihood"] == pytest.approx(np.log(joint.sum(axis=1)).sum(), rel=1e-12)


def test_the_verdict_says_what_the_searches_saw(fit):
    n_condensed = fit.metrics["n_condensed"]
    assert 50 < n_condensed <= 100
    said = f"2 of 2 independent searches found this optimum in {n_condensed} groups of neighbouring observations, "
    assert any(clause.startswith(f"{said}and it was improved on all 800") for clause in fit.verdict)


@pytest.fixture
def few_are_many(monkeypatch):
    """Data are many from 300 on, in blocks of 64."""
    for name, module in list(sys.modules.items()):
        if name.startswith("gmm_pipeline.") and hasattr(module, "MANY"):
            monkeypatch.setattr(module, "MANY", 300)
    monkeypatch.setattr(large_data, "BLOCK", 64)
    monkeypatch.setattr(large, "BLOCK", 64)
    monkeypatch.setattr(large, "FINER_FROM", 600)
    monkeypatch.setattr(large, "FINER", 300)
    monkeypatch.setattr(tables, "ROWS_OF_A_BATCH", 100)


def test_data_in_a_temporary_file_are_fitted_to_the_same_bits(few_are_many, tmp_path):
    parquet.write_table(pa.table({"x": DATA}), tmp_path / "x.parquet", row_group_size=150)
    found = {}
    for share in (0.0, 1.0):
        overrides = [f"data.in_memory={share}", "prior=flat", "optimizer=squarem", "restarts=2"]
        overrides += [f"search.{key}={value}" for key, value in SHORT.items()]
        found[share] = gmm.fit(str(tmp_path / "x.parquet"), n_components=2, overrides=overrides)
    spooled, whole = found[0.0], found[1.0]
    assert {**spooled.metrics} == {**whole.metrics}
    for name in ("weights", "locs", "scales", "labels"):
        np.testing.assert_array_equal(getattr(spooled, name), getattr(whole, name))
    joint = whole.weights * norm.pdf(DATA[:, None], whole.locs, whole.scales)
    assert whole.metrics["log_likelihood"] == pytest.approx(np.log(joint.sum(axis=1)).sum(), rel=1e-12)
    shares = joint / joint.sum(axis=1, keepdims=True)
    entropy = 0.5 * (whole.metrics["icl"] - whole.metrics["bic"])
    assert entropy == pytest.approx(-np.sum(shares * np.log(shares)), rel=1e-9)


def test_float32_is_fitted_like_the_same_numbers_in_float64(few_are_many, tmp_path):
    single = DATA.astype(np.float32)
    np.save(tmp_path / "single.npy", single)
    np.save(tmp_path / "double.npy", single.astype(np.float64))
    options: Any = {"n_components": 2, "prior": "flat", "optimizer": "squarem", "restarts": 2, "search": SHORT}
    one, other = (gmm.fit(str(tmp_path / f"{name}.npy"), **options) for name in ("single", "double"))
    np.testing.assert_array_equal(one.locs, other.locs)
    assert one.metrics["log_likelihood"] == other.metrics["log_likelihood"]
