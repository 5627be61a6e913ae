from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import gmm_pipeline as gmm
from gmm_pipeline.records.json_files import read_json

SMALL: dict[str, Any] = {"prior": "flat", "optimizer": "em", "steps": 100, "search": "none", "restarts": 2}
NOTHING_BESIDE = ("figures=none", "animation=none", "tracking=none", "hydra.run.dir=record")
ONE: dict[str, Any] = {"weights": [1, 3], "locs": [5.5, -2.0], "scales": np.array([1.0, 0.5]), "n": 80, "seed": 3}
SEVERAL: dict[str, Any] = {
    "weights": (0.25, 0.75),
    "locs": [[0.0, 0.0, 1.0], [9.0, -9.0, 1.0]],
    "covariances": [np.diag([1.0, 2.0, 3.0]).tolist(), 0.5],
    "columns": ["a", "b", "c"],
    "n": 2000,
    "seed": 1,
}


@pytest.fixture(scope="module")
def drawn() -> gmm.Simulated:
    return gmm.simulate(**ONE)


def of_command(spec: dict[str, Any]) -> list[str]:
    """The keys of a spec, written by hand."""
    names = {"n": "n_draws"}
    values = {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in spec.items()}
    return [
        f"data.{names.get(key, key)}={str(value).translate(str.maketrans('()', '[]'))}" for key, value in values.items()
    ]


@pytest.mark.parametrize(
    ("spec", "option", "n_components"),
    [(ONE, "two_modes", 2), ({**SEVERAL, "n": 90}, "three_clusters", 1)],
)
def test_the_data_and_the_recovery_are_those_of_the_command(
    quick: Callable[..., Any], tmp_path: Path, spec: dict[str, Any], option: str, n_components: int
) -> None:
    data = [f"data={option}", *of_command(spec)]
    ended = quick("simulate", *data, "figures=none", "output=drawn.parquet")
    assert ended.returncode == 0, ended.stderr
    found = gmm.simulate(**spec)
    pd.testing.assert_frame_equal(found.table, pd.read_parquet(tmp_path / "drawn.parquet"), check_exact=True)
    truth = read_json(tmp_path / "drawn_truth.json")
    assert found.truth.locs.tolist() == truth["locs"]
    alike = [f"{key}={value}" for key, value in SMALL.items()]
    ended = quick("fit", *data, *alike, f"n_components={n_components}", *NOTHING_BESIDE)
    assert ended.returncode == 0, ended.stderr
    metrics = gmm.fit(found, n_components=n_components, **SMALL).metrics
    assert metrics == dict(read_json(tmp_path / "record" / "metrics.json"))
    assert "adjusted_rand_index" in metrics


def test_the_data_are_those_of_the_mixture() -> None:
    drawn = gmm.simulate(**SEVERAL)
    assert len(drawn) == 2000
    assert (drawn.columns, list(drawn.table)) == (("a", "b", "c"), ["a", "b", "c", "component"])
    counts = np.bincount(drawn.labels)
    np.testing.assert_allclose(counts / 2000, drawn.truth.weights)  # exact counts: 500 and 1,500
    assert sorted(counts.tolist()) == [500, 1500]
    for component, (loc, scales) in enumerate(zip(drawn.truth.locs, drawn.truth.scales, strict=True)):
        own = drawn.values[drawn.labels == component]
        assert (np.abs(own.mean(axis=0) - loc) < 4.0 * scales / np.sqrt(len(own))).all()
        assert (np.abs(own.std(axis=0) / scales - 1.0) < 4.0 / np.sqrt(2.0 * len(own))).all()


def test_a_spec_is_named_and_its_keys_are_changed() -> None:
    drawn = gmm.simulate("two_modes", n=50, unit="min")
    assert len(drawn) == 50
    assert drawn.config["data"]["unit"] == "min"
    assert repr(drawn) == "two_modes: 50 draws, exact counts, seed 100; 2 components"
    overlapping = gmm.simulate("overlap", n=60, n_components=4, n_columns=1, seed=5)
    assert overlapping.values.shape == (60,)
    assert len(overlapping.truth.weights) == 4


def test_a_sweep_says_what_each_run_recovered(drawn: gmm.Simulated) -> None:
    runs = gmm.sweep(drawn, n_components=[1, 2], **SMALL)
    agreement: Any = runs.table["adjusted_rand_index"]
    assert agreement[1] > 0.95 > agreement[0]


def test_what_a_user_changes_is_not_what_is_fitted(drawn: gmm.Simulated) -> None:
    before = gmm.fit(drawn, n_components=1, **SMALL).locs
    again = gmm.simulate(**ONE)
    again.values[:] = 0.0
    again.table["datum"] = 0.0
    np.testing.assert_array_equal(gmm.fit(again, n_components=1, **SMALL).locs, before)
    np.testing.assert_array_equal(gmm.simulate(**ONE).values, drawn.values)


@pytest.mark.parametrize(
    ("spec", "keys", "said"),
    [
        (None, {}, "weights: expected a value for a mixture of your own"),
        (None, {**ONE, "seed": None}, "seed: expected a value"),
        (None, {**ONE, "n": None}, "n: expected a value"),
        (None, {**ONE, "locs": [[0, 0], [1, 1]]}, "scales: expected covariances in its place"),
        (None, {**ONE, "weights": [1.0]}, "data.weights: expected 2 numbers"),
        ("two_mode", {}, "Did you mean data=two_modes"),
        ("two_modes", {"loc": [0.0]}, "Did you mean data.locs"),
        ("two_modes", {"n": 1}, "data.n_draws: expected a whole number"),
        ("two_modes", {"overrides": ["data=four_modes"]}, "data: expected no other data"),
        (
            "file",
            {"path": str(Path(__file__).parents[2] / "examples" / "data" / "faithful.csv")},
            "data: expected a generating spec",
        ),
    ],
)
def test_a_wrong_spec_is_refused(spec: str | None, keys: dict[str, Any], said: str) -> None:
    with pytest.raises(gmm.InputError, match=said):
        gmm.simulate(spec, **keys)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"threefry_partitionable": False}, "threefry_partitionable: expected True, as simulated"),
        ({"overrides": ["data.seed=5"]}, "data: expected no other data"),
        ({"sample_weight": [1.0]}, "sample_weight: expected None"),
    ],
)
def test_a_fit_of_other_data_is_refused(drawn: gmm.Simulated, keys: dict[str, Any], said: str) -> None:
    with pytest.raises(gmm.InputError, match=said):
        gmm.fit(drawn, **keys)
