"""Sums over many data in blocks, and data in the units of a fit that are computed where they are looked at."""

import numpy as np
import pytest

from gmm_pipeline.inference.scaling import InUnits, LinearScaling, Scaling, summary_of, to_fit_units
from gmm_pipeline.model import large_data

RNG = np.random.default_rng(5)
COLUMN = RNG.normal(5.0, 2.0, 1000).astype(np.float32)
COLUMNS = RNG.multivariate_normal([1.0, -2.0], [[2.0, 1.0], [1.0, 3.0]], 1000)
WEIGHTS = RNG.integers(0, 4, 1000).astype(np.float64)


@pytest.fixture(autouse=True)
def short_blocks(monkeypatch):
    monkeypatch.setattr(large_data, "BLOCK", 64)


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["once", "weighted"])
def test_moments_in_blocks_are_numpys(weights):
    of_column, of_columns = (large_data.summary(data, weights) for data in (COLUMN, COLUMNS))
    assert of_column.mean == pytest.approx(np.average(COLUMN.astype(np.float64), weights=weights), rel=1e-12)
    counts = np.ones(1000) if weights is None else weights
    assert of_column.spread == pytest.approx(np.sqrt(np.cov(COLUMN, ddof=0, fweights=counts.astype(int))), rel=1e-12)
    assert (of_column.least, of_column.greatest) == (COLUMN.min(), COLUMN.max())
    np.testing.assert_allclose(of_columns.mean, np.average(COLUMNS, axis=0, weights=weights), rtol=1e-12)
    np.testing.assert_allclose(
        of_columns.covariance, np.cov(COLUMNS.T, ddof=0, fweights=counts.astype(int)), rtol=1e-12
    )


def test_a_first_block_without_weight_changes_nothing():
    weights = np.where(np.arange(1000) < 64, 0.0, 1.0)
    assert large_data.summary(COLUMN, weights).mean == pytest.approx(COLUMN[64:].mean(dtype=np.float64), rel=1e-12)


@pytest.mark.parametrize(
    ("data", "scaling"),
    [
        (COLUMN, Scaling(5.0, 2.0)),
        (COLUMNS, LinearScaling(np.array([1.0, -2.0]), np.array([[1.5, 0.0], [0.5, 1.5]]))),
    ],
    ids=["column", "columns"],
)
def test_data_in_the_units_of_a_fit_are_those_of_the_whole(data, scaling):
    seen, whole = InUnits(data, scaling, np.dtype(np.float32)), to_fit_units(data.astype(np.float64), scaling)
    assert (len(seen), seen.shape, seen.ndim) == (len(data), data.shape, data.ndim)
    np.testing.assert_array_equal(seen[100:300], whole[100:300].astype(np.float32))
    np.testing.assert_array_equal(seen[::7], whole[::7].astype(np.float32))
    np.testing.assert_array_equal(np.asarray(seen), whole.astype(np.float32))
    found, expected = summary_of(seen, WEIGHTS), large_data.summary(whole, WEIGHTS)
    np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-10)
    np.testing.assert_allclose(found.scatter, expected.scatter, rtol=1e-10)


def test_missing_values_are_seen_in_any_block():
    gaps = COLUMN.copy()
    assert large_data.is_complete(gaps)
    gaps[997] = np.nan
    assert not large_data.is_complete(gaps)
