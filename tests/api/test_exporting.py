"""Bootstrap replicates as ArviZ's object: held to the file of replicates, read by NumPy alone."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT

import gmm_pipeline as gmm
from gmm_pipeline import extras

with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)  # ArviZ announces its version 1
    import arviz

TABLE: Any = pd.read_csv(ROOT / "examples" / "data" / "faithful.csv")[["eruptions", "waiting"]]
QUICK: dict[str, Any] = {
    "prior": "flat",
    "optimizer": "em",
    "search": "none",
    "restarts": 1,
    "steps": 20,
    "bootstrap": 20,
    "seed": 3,
}


@pytest.fixture(scope="module")
def columns(tmp_path_factory: pytest.TempPathFactory) -> gmm.Fit:
    """Of two columns, and its record."""
    folder = tmp_path_factory.mktemp("exporting") / "record"
    kept = {"record": folder, "figures": "none", "animation": "none"}
    return gmm.fit(TABLE, n_components=2, **QUICK, **kept)


@pytest.fixture(scope="module")
def column() -> gmm.Fit:
    data = TABLE["waiting"].where(TABLE["waiting"] > 45.0)
    return gmm.fit(data, n_components=1, overrides=["data.missing=drop", "data.unit=minutes"], **QUICK)


def stored(fit: gmm.Fit) -> dict[str, np.ndarray]:
    assert fit.record is not None
    with np.load(fit.record / "replicates.npz") as content:
        return dict(content)


def summary_of(tree: Any) -> Any:
    return arviz.summary(tree, group="bootstrap", kind="stats", round_to="none")


def test_a_summary_has_the_deviations_of_the_stored_replicates(columns):
    replicates = stored(columns)
    found = summary_of(columns.to_arviz())["sd"].astype(float)
    for k in range(2):
        np.testing.assert_allclose(found[f"weights[{k}]"], replicates["weights"][:, k].std(ddof=1))
        for i, name in enumerate(TABLE):
            np.testing.assert_allclose(found[f"locs[{k}, {name}]"], replicates["locs"][:, k, i].std(ddof=1))
            variances = replicates["covariances"][:, k, i, i]
            np.testing.assert_allclose(found[f"scales[{k}, {name}]"], np.sqrt(variances).std(ddof=1))
        covariances = replicates["covariances"][:, k, 0, 1]
        np.testing.assert_allclose(found[f"covariances[{k}, eruptions, waiting]"], covariances.std(ddof=1))


def test_a_loaded_record_gives_the_same(columns):
    tree, again = columns.to_arviz(), gmm.load(columns.record).to_arviz()
    for group in ("bootstrap", "observed_data"):
        assert tree[group].identical(again[group])
    assert tree["bootstrap"].attrs["seed"] == QUICK["seed"]
    assert "not draws from a posterior" in tree["bootstrap"].attrs["kind"]
    data = tree["observed_data"]["data"]
    np.testing.assert_array_equal(data.sel(data_column="waiting"), TABLE["waiting"])


def test_of_one_column_there_is_no_axis_of_columns_and_rows_keep_their_numbers(column):
    tree = column.to_arviz()
    assert tree["bootstrap"]["locs"].dims == ("chain", "draw", "component")
    found = summary_of(tree)["sd"].astype(float)
    np.testing.assert_allclose(found["scales[0]"], column.standard_errors.scales[0])
    data = tree["observed_data"]["data"]
    assert data.attrs == {"units": "minutes", "long_name": "waiting"}
    np.testing.assert_array_equal(data, TABLE["waiting"].to_numpy()[data["data_row"]])


def test_failed_replicates_are_left_out_and_counted(columns):
    run = columns._run
    replicates = type(run.replicates)(*(leaf.copy() for leaf in run.replicates))
    for leaf in replicates:
        leaf[[0, 7]] = np.nan
    tree = gmm.Fit(run._replace(replicates=replicates), columns._assignments).to_arviz()["bootstrap"]
    assert tree.attrs["replicates"] == 20
    assert tree.attrs["failed_replicates"] == 2
    kept = np.setdiff1d(np.arange(20), [0, 7])
    np.testing.assert_array_equal(tree["draw"], kept)
    np.testing.assert_array_equal(tree["locs"].sel(chain=0), stored(columns)["locs"][kept])


@pytest.mark.parametrize("replicates", [None, "failed"])
def test_a_fit_without_replicates_is_refused(column, replicates):
    run = column._run
    if replicates is not None:
        replicates = type(run.replicates)(*(np.full_like(leaf, np.nan) for leaf in run.replicates))
    without = gmm.Fit(run._replace(replicates=replicates), column._assignments)
    with pytest.raises(gmm.InputError, match=r"^bootstrap: .* Fit with bootstrap=200\.$"):
        without.to_arviz()


def test_without_the_extra_it_is_named(column, monkeypatch):
    monkeypatch.setattr(extras, "is_installed", lambda module: module != "arviz")
    with pytest.raises(gmm.InputError, match=r'^to_arviz: .*arviz.*Install it: pip install "gmm_pipeline\[arviz\]"\.$'):
        column.to_arviz()


def test_it_is_written_and_read_again(columns, tmp_path: Path):
    tree = columns.to_arviz()
    tree.to_netcdf(tmp_path / "replicates.nc")
    again = arviz.from_netcdf(tmp_path / "replicates.nc")
    assert type(again) is type(tree)
    np.testing.assert_array_equal(again["bootstrap"]["covariances"], tree["bootstrap"]["covariances"])
