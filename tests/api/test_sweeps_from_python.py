import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import jax
import numpy as np
import pandas as pd
import pytest

import gmm_pipeline as gmm
from gmm_pipeline.records.json_files import read_json
from gmm_pipeline.records.sweep_table import PARQUET

FAITHFUL = Path(__file__).parents[2] / "examples" / "data" / "faithful.csv"
TABLE = pd.read_csv(FAITHFUL)
NOTHING_BESIDE = ("figures=none", "animation=none", "tracking=none", "hydra.sweep.dir=swept")
OF_DATA = ["data", "data.path", "data.column", "data.columns", "digest", "record"]
"""Columns that say where the data come from, and in which folder a run is."""
SMALL: dict[str, Any] = {"prior": "flat", "steps": 100, "search": "none", "restarts": 2}


@pytest.fixture(scope="module")
def swept() -> gmm.Sweep:
    return gmm.sweep(TABLE["waiting"], n_components=[2, 1, 400], seed=range(2), **SMALL)


def without(table: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    return table.drop(columns=[name for name in names if name in table])


@pytest.mark.parametrize(
    ("data", "column", "swept", "fixed"),
    [
        ("waiting", "data.column=waiting", {"seed": range(2), "n_components": [1, 2]}, SMALL),
        (
            ["eruptions", "waiting"],
            "data.columns=[eruptions,waiting]",
            {"optimizer.learning_rate": (0.05, 0.2)},
            {**SMALL, "covariance": "tied"},
        ),
    ],
)
def test_the_rows_and_their_bits_are_those_of_the_command(
    quick: Callable[..., Any], tmp_path: Path, data: Any, column: str, swept: dict[str, Any], fixed: dict[str, Any]
) -> None:
    written = [f"{key}={','.join(map(str, values))}" for key, values in swept.items()]
    alike = [f"{key}={value}" for key, value in fixed.items()]
    ended = quick("fit", "--multirun", str(FAITHFUL), column, *written, *alike, *NOTHING_BESIDE)
    assert ended.returncode == 0, ended.stderr
    by_command: Any = without(pd.read_parquet(tmp_path / "swept" / PARQUET), OF_DATA)
    runs = gmm.sweep(TABLE[data], **swept, **fixed)
    by_python = without(runs.table, OF_DATA)
    assert list(by_python)[: len(swept)] == list(swept)
    assert {*by_python} == {*by_command} - {line.partition("=")[0] for line in NOTHING_BESIDE}
    pd.testing.assert_frame_equal(by_python, by_command[list(by_python)], check_exact=True)
    # What the command says of the answer.
    assert set(repr(runs).splitlines()[1:]) <= {*ended.stdout.splitlines()}


def test_a_run_has_the_bits_of_a_fit(swept: gmm.Sweep) -> None:
    run, alone = swept[1], gmm.fit(TABLE["waiting"], n_components=2, seed=1, **SMALL)
    assert isinstance(run, gmm.Fit)
    assert run.metrics == alone.metrics
    np.testing.assert_array_equal(run.responsibilities, alone.responsibilities)
    assert run.config == alone.config


def test_a_run_that_cannot_be_fitted_is_a_row_and_a_value(swept: gmm.Sweep) -> None:
    assert len(swept) == 6
    kinds = [type(run) for run in swept]
    assert kinds == [gmm.Fit] * 4 + [gmm.FailedRun] * 2
    failed = swept[-1]
    assert isinstance(failed, gmm.FailedRun)
    assert failed.number == 5
    assert "n_components: expected at most 51" in failed.error
    assert swept.table["status"].tolist() == ["finished"] * 4 + ["failed"] * 2
    assert swept.table["error"].iloc[-1] == failed.error
    assert swept.table["n_components"].tolist() == [2, 2, 1, 1, 400, 400]
    assert f"run 5 (n_components=400 seed=1) failed: {failed.error}" in repr(swept)


def test_the_best_is_by_bic(swept: gmm.Sweep) -> None:
    bic: Any = swept.table["bic"]  # NaN for failed runs
    assert swept.best is swept[int(np.nanargmin(bic))]
    assert swept.best.metrics["n_components"] == 2


def test_no_run_is_the_best_of_different_data() -> None:
    runs = gmm.sweep("two_modes", n_components=1, overrides=["data.seed=range(2)", "data.n_draws=50"], **SMALL)
    assert runs.table.columns[0] == "data.seed"
    with pytest.raises(gmm.InputError, match="best: expected runs of the same data, whose BIC can be compared"):
        _ = runs.best


def test_no_run_is_the_best_without_a_result() -> None:
    runs = gmm.sweep([1.0, 2.0, 4.0], n_components=[4, 5], **SMALL)
    with pytest.raises(gmm.InputError, match="best: expected a run with a result, but got 2 runs: 2 failed"):
        _ = runs.best


@pytest.mark.parametrize(
    ("value", "values"),
    [(["free"], [["free"]]), ([["free"], ["equal", "free"]], [["free"], ["equal", "free"]])],
)
def test_a_list_is_one_value_of_a_key_that_is_a_list(value: list[Any], values: list[list[str]]) -> None:
    runs = gmm.sweep([1.0, 2.0, 4.0, 8.0], n_components=1, selection={"scales": value}, **SMALL)
    assert [run.config["selection"]["scales"] for run in runs if isinstance(run, gmm.Fit)] == values


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"n_componnts": [1, 2]}, "Did you mean n_components"),
        ({"optimizer": {"learning_rat": [0.1, 0.2]}}, "learning_rate"),
        ({"seed": range(0)}, r"seed: expected at least one value, but got range\(0, 0\)"),
        ({"n_components": []}, "n_components: expected at least one value"),
        ({"optimizer": [{"learning_rate": 0.1}]}, "optimizer: expected a number"),
        ({"overrides": ["seed=1,"]}, "seed|grammar"),
        ({"overrides": ["data=two_modes,four_modes"]}, "data: expected no other data"),
        ({"overrides": ["hydra/sweeper=optuna"]}, "hydra/sweeper: expected basic"),
        ({"prior": "flt", "seed": [0, 1]}, "Did you mean prior=flat"),
    ],
)
def test_a_mistake_in_all_runs_is_one_error(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(gmm.InputError, match=said):
        gmm.sweep([1.0, 2.0, 4.0], **keys)


def test_several_data_are_refused() -> None:
    with pytest.raises(gmm.InputError, match="data: expected one data set"):
        gmm.sweep(["two_modes", "four_modes"], n_components=[1, 2])


def test_an_experiment_sweeps_what_its_config_does() -> None:
    small = ["data.n_draws=50", "data.seed=3"]
    runs = gmm.sweep("two_modes", experiment="recovery", overrides=small, optimizer="adam", schedule="cosine", **SMALL)
    assert runs.table["data.locs"].tolist() == ["[-1,1]", "[-1.5,1.5]", "[-2,2]"]


def test_a_notebook_shows_the_best_settings_and_no_markup_of_the_data() -> None:
    runs = gmm.sweep([1.0, 2.0, 4.0, 8.0], n_components=1, overrides=["data.unit='<b>','<i>'"], **SMALL)
    shown = runs._repr_html_()
    assert shown.count("<tr>") == 3
    assert "&lt;b&gt;" in shown
    assert "<b>" not in shown


def test_settings_of_jax_stay_those_of_the_caller() -> None:
    with jax.enable_x64(True):
        gmm.sweep([1.0, 2.0, 4.0, 8.0], n_components=1, seed=[0, 1], **SMALL)
        assert jax.config.values["jax_enable_x64"]


@pytest.fixture
def own_store(tmp_path: Path) -> Iterator[str]:
    """A store that the caller set, with an experiment."""
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'own.db'}")
    yield mlflow.create_experiment("theirs", (tmp_path / "files").as_uri())
    mlflow.set_tracking_uri(None)  # pyright: ignore[reportArgumentType]


def test_a_sweep_leaves_what_the_command_leaves_and_resumes(
    quick: Callable[..., Any], tmp_path: Path, own_store: str
) -> None:
    import mlflow

    keys = {**SMALL, "figures": "none", "animation": "none", "tracking": "mlflow"}
    outer = mlflow.start_run(experiment_id=own_store)
    try:
        runs = gmm.sweep(TABLE["waiting"], n_components=[1, 2, 400], record=tmp_path / "kept", **keys)
    finally:
        mlflow.end_run()
    assert runs.record == tmp_path / "kept"
    best = gmm.load(cast(Path, runs.best.record))
    assert best.metrics == runs.best.metrics
    np.testing.assert_array_equal(best.responsibilities, runs.best.responsibilities)
    assert read_json(tmp_path / "kept" / "2" / "record.json")["status"] == "failed"

    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'own.db'}")
    below = {run.info.run_id: run.data.tags.get("mlflow.parentRunId") for run in client.search_runs([own_store])}
    (parent,) = (run_id for run_id, above in below.items() if above == outer.info.run_id)
    assert [*below.values()].count(parent) == 3
    assert below[outer.info.run_id] is None

    command = shlex.split(read_json(tmp_path / "kept" / "sweep.json")["command"])
    assert f"tracking.uri=sqlite:///{tmp_path / 'own.db'}" in "".join(command).replace("'", "").replace('"', "")
    ended = quick(*command[3:], "tracking=none")
    assert "3 runs, 2 done before, 1 that cannot be fitted" in ended.stdout
    by_command: Any = pd.read_parquet(tmp_path / "kept" / PARQUET)
    assert by_command["bic"].tolist()[:2] == runs.table["bic"].tolist()[:2]
    with pytest.raises(gmm.InputError, match="record: expected a folder that is empty"):
        gmm.sweep([1.0, 2.0], record=tmp_path / "kept")
