"""What decides whether the benchmarks say that something became worse."""

import json

import numpy as np
from conftest import ROUNDING_64
from scipy.stats import norm

from benchmarks import all as benchmarks
from benchmarks import works


def test_a_ratio_that_is_much_larger_or_missing_is_worse():
    before = {"a": 2.0, "b": 1.0, "c": 0.5}
    assert benchmarks.worse({"a": 2.5, "b": 0.2, "c": 0.6, "new": 9.0}, before) == []
    slower, missing = benchmarks.worse({"a": 2.7, "b": 1.0}, before)[::-1]
    assert slower.startswith("a: 2.70, 2.00 before")
    assert missing == "c: not measured, 0.50 before"


def test_a_page_has_what_each_part_printed_and_its_pictures(tmp_path):
    found = {"ratios": {"A": 1.0}, "points": {"A": {"ours": [0.1, 0.0], "other": [0.3, 2.5]}}}
    part = benchmarks.Ran(0, "| a table |", json.loads(json.dumps(found)), 3.0)
    page = benchmarks.page({"works": part}, "quick", tmp_path)
    assert "| a table |" in page
    assert "![Four works beside others](works.svg)" in page
    assert (tmp_path / "works.svg").stat().st_size > 1_000


def test_the_log_likelihood_of_the_works_is_scipys(monkeypatch):
    monkeypatch.setattr(works, "BLOCK", 1_000)
    data, (weights, locs, scales) = works.drawn(works.WORKS["A"], 0.5), ([0.3, 0.7], [-2.0, 5.0], [1.0, 2.0])
    expected = sum(float(w) * norm.pdf(data.astype(float), m, s) for w, m, s in zip(weights, locs, scales, strict=True))
    found = works.log_likelihood(data, (np.array(weights), np.array(locs), np.array(scales)))
    np.testing.assert_allclose(found, np.log(expected).sum(), rtol=ROUNDING_64)
