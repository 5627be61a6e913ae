"""Gross outliers: which data count as such, and that a unit without them lets a fit find the rest."""

import numpy as np
import pytest
import small_fits
from conftest import ROOT
from hydra import compose, initialize_config_dir
from hypothesis import given
from hypothesis import strategies as st

from gmm_pipeline.inference.families.normals import normals
from gmm_pipeline.inference.fits import fit
from gmm_pipeline.inference.scaling import InUnits, core_weights, linear_scaling_of, scaling_of
from gmm_pipeline.model import outliers
from gmm_pipeline.model.covariances import Kind
from gmm_pipeline.model.outliers import without_outliers
from gmm_pipeline.model.portable import factors_of
from gmm_pipeline.stages import loading
from tests.inference.test_search import SEARCH

RANDOM = np.random.default_rng(3)
NORMAL = RANDOM.normal(size=400)
FAR = np.append(NORMAL, 1e4)


@pytest.mark.parametrize(
    "data",
    [
        NORMAL,
        RANDOM.normal(size=(50, 3)),
        np.concatenate([NORMAL, 300.0 + NORMAL]),
        np.append(np.zeros(300), NORMAL),
        np.append(NORMAL, np.full(30, 1e4)),
        np.append(NORMAL[:18], 1e4),
    ],
    ids=["normal", "columns", "two halves", "half of one value", "too many to be outliers", "one of few data"],
)
def test_where_nothing_is_an_outlier_the_weights_are_the_same_array(data):
    weights = np.ones(len(data))
    assert without_outliers(data, weights) is weights


def test_a_datum_far_from_all_others_loses_its_weight():
    np.testing.assert_array_equal(without_outliers(FAR, np.ones(401)), np.append(np.ones(400), 0.0))
    assert scaling_of(FAR, np.ones(401)) == scaling_of(NORMAL, np.ones(400))


def test_a_row_is_an_outlier_by_any_column_and_missing_values_are_none():
    rows = RANDOM.normal(size=(100, 2))
    rows[3, 1], rows[5, 0] = -1e5, np.nan
    np.testing.assert_array_equal(np.flatnonzero(without_outliers(rows, np.ones(100)) == 0.0), [3])


def test_a_column_that_varies_by_outliers_alone_keeps_them():
    rows = np.column_stack([FAR, np.append(np.zeros(400), 1.0)])
    weights = np.ones(401)
    assert without_outliers(rows, weights) is weights


@given(st.floats(-1e3, 1e3), st.sampled_from([1e-6, 0.3, 1e6]), st.integers(0, 2**32 - 1))
def test_outliers_are_the_same_in_any_unit_and_for_counted_data(offset, unit, seed):
    random = np.random.default_rng(seed)
    data = np.append(random.normal(size=60), [1e4, 100.0, -200.0])
    counts = random.integers(1, 4, 63).astype(float)
    found = without_outliers(data, counts)
    np.testing.assert_array_equal(without_outliers(unit * (offset + data), counts), found)
    written_out = without_outliers(np.repeat(data, counts.astype(int)), np.ones(int(counts.sum())))
    np.testing.assert_array_equal(np.repeat(found > 0, counts.astype(int)), written_out > 0)


@pytest.mark.parametrize("weights", [np.broadcast_to(1.0, 401), np.full(401, 2.0)], ids=["once", "twice"])
def test_of_many_data_the_same_ones_are_outliers_and_no_copy_is_made_where_there_are_none(monkeypatch, weights):
    monkeypatch.setattr(outliers, "MANY", 100)
    np.testing.assert_array_equal(without_outliers(FAR, weights) > 0, np.arange(401) < 400)
    assert without_outliers(FAR, weights) is without_outliers(FAR, weights)
    assert without_outliers(NORMAL, weights[:400]).strides == weights[:400].strides
    scaling = scaling_of(FAR, weights)
    assert core_weights(InUnits(FAR, scaling, np.dtype(np.float32)), weights) is without_outliers(FAR, weights)


def test_columns_are_whitened_by_the_other_rows():
    rows = np.column_stack([NORMAL, 2.0 * NORMAL + RANDOM.normal(size=400)])
    together = np.vstack([rows, [1e5, -1e5]])
    whole, core = (linear_scaling_of(each, np.ones(len(each)), Kind.FULL) for each in (together, rows))
    np.testing.assert_array_equal(whole.spread, core.spread)


@pytest.mark.parametrize("outlier", [1e4, 1e7])
def test_two_components_are_found_beside_errors_of_any_size(tmp_path, outlier):
    """The third component holds the outliers alone, which scales of its own could not do soundly."""
    data = np.concatenate([NORMAL[:200], 6.0 + NORMAL[200:], [outlier - 1.0, outlier + 1.0]])
    np.save(tmp_path / "data.npy", data)
    given = ("data=file", f"data.path='{tmp_path}/data.npy'", "n_components=3", "scales=equal", "prior=flat")
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        job = loading.load(compose("fit", overrides=[*given, "restarts=2", "search.rounds=4"]))
    result = fit(job.fit)
    units = job.units_of(job.fit).scaling
    locs = np.sort(units.centre + units.spread * np.asarray(result.parameters.component_mus, np.float64))
    assert (result.degenerate, result.converged) == ((), True)
    np.testing.assert_allclose(locs, [data[:200].mean(), data[200:400].mean(), outlier], atol=0.05, rtol=1e-5)


def test_a_part_of_many_rows_has_all_outliers_with_their_own_weights():
    rows = np.column_stack([RANDOM.normal(size=3000), RANDOM.normal(size=3000)])
    rows[[5, 70]] = [[1e5, 0.0], [0.0, -1e5]]
    few = small_fits.job(data=rows, family=normals(2, Kind.FULL), covariance="VVV")
    few = few._replace(search=SEARCH._replace(most_rows=1000), sample_weights=np.ones(3000))
    some, counts = few.plan.family.condensed(few, SEARCH._replace(rows=200))
    assert len(some) == 202
    assert counts.sum() == pytest.approx(3000.0)
    np.testing.assert_array_equal(counts[np.abs(some).max(axis=1) > 1e4], [1.0, 1.0])


def test_a_covariance_that_has_no_factor_for_rounding_has_that_of_one_nearby():
    stretched = np.array([[1e20, 1e20], [1e20, 1e20]])
    factor = factors_of(stretched[None])[0]
    np.testing.assert_allclose(factor @ factor.T, stretched, rtol=1e-6)
    np.testing.assert_array_equal(factors_of(np.eye(2)), np.eye(2))
