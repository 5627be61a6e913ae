import json

import numpy as np
import pytest
from pyarrow import csv, parquet

from gmm_pipeline.model.natural import Mixture, MultivariateMixture
from gmm_pipeline.records import artifacts
from gmm_pipeline.records.artifacts import History
from gmm_pipeline.records.assignments import Assignments, data_in, write_assignments
from gmm_pipeline.records.files import read_columns

RANDOM = np.random.default_rng(6)
MIXTURE = Mixture(np.array([0.25, 0.75]), np.array([-1.5, 2.5]), np.array([0.5, 1e-300]))


def test_mixture_has_stable_names_and_comes_back():
    text = json.dumps(artifacts.mixture_as_json(MIXTURE))
    assert json.loads(text) == {"weights": [0.25, 0.75], "locs": [-1.5, 2.5], "scales": [0.5, 1e-300]}
    for ours, expected in zip(artifacts.mixture_from_json(json.loads(text)), MIXTURE, strict=True):
        np.testing.assert_array_equal(ours, expected)
        assert ours.dtype == np.float64


def test_mixtures_of_several_columns_have_stable_names_and_come_back(tmp_path):
    stack = MultivariateMixture(RANDOM.random((4, 2)), RANDOM.random((4, 2, 3)), RANDOM.random((4, 2, 3, 3)))
    content = json.loads(json.dumps(artifacts.mixture_as_json(stack)))
    assert list(content) == ["weights", "locs", "covariances"]
    artifacts.write_mixtures(tmp_path / "replicates.npz", stack)
    artifacts.write_history(tmp_path / "history.npz", History(np.arange(4), np.zeros(4), stack))
    histories = artifacts.read_history(tmp_path / "history.npz").mixtures
    for found in (
        artifacts.mixture_from_json(content),
        artifacts.read_mixtures(tmp_path / "replicates.npz"),
        histories,
    ):
        assert isinstance(found, MultivariateMixture)
        for ours, expected in zip(found, stack, strict=True):
            np.testing.assert_array_equal(ours, expected)


def test_history_is_plain_npz_and_comes_back(tmp_path):
    mixtures = Mixture(*(RANDOM.normal(size=(4, 2)) for _ in range(3)))
    history = History(np.array([0, 5, 10, 12]), np.array([9.0, 3.0, np.nan, np.inf]), mixtures)
    artifacts.write_history(tmp_path / "history.npz", history)
    read = artifacts.read_history(tmp_path / "history.npz")
    np.testing.assert_array_equal(read.steps, history.steps)
    np.testing.assert_array_equal(read.losses, history.losses)
    for ours, expected in zip(read.mixtures, mixtures, strict=True):
        np.testing.assert_array_equal(ours, expected)
    with np.load(tmp_path / "history.npz", allow_pickle=False) as content:
        assert set(content) == {"steps", "losses", "weights", "locs", "scales"}


def test_same_history_same_bytes(tmp_path):
    mixtures = Mixture(*(RANDOM.normal(size=(4, 2)) for _ in range(3)))
    history = History(np.arange(4), RANDOM.normal(size=4), mixtures)
    for name in ("first.npz", "second.npz"):
        artifacts.write_history(tmp_path / name, history)
    assert (tmp_path / "first.npz").read_bytes() == (tmp_path / "second.npz").read_bytes()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_components", [1, 12])
def test_assignments_come_back_in_the_order_of_components(tmp_path, weighted, n_components):
    responsibilities = RANDOM.dirichlet(np.ones(n_components), size=7)
    weights = RANDOM.uniform(size=7) if weighted else None
    written = Assignments(RANDOM.normal(size=7), weights, responsibilities.argmax(axis=1), responsibilities)
    write_assignments(tmp_path, written, csv_rows=0)
    table = parquet.read_table(tmp_path / "assignments.parquet")
    middle = ["sample_weight"] if weighted else []
    names = [f"responsibility_{component}" for component in range(n_components)]
    assert table.column_names == ["datum", *middle, "label", "uncertainty", *names]
    expected = {"datum": written.data, "label": written.labels} | ({"sample_weight": weights} if weighted else {})
    for name, values in (expected | dict(zip(names, responsibilities.T, strict=True))).items():
        np.testing.assert_array_equal(table[name].to_numpy(), values)


def test_columns_of_data_have_their_names_beside_the_label_and_come_back(tmp_path):
    data, responsibilities = RANDOM.normal(size=(5, 4)), RANDOM.dirichlet(np.ones(2), size=5)
    names = ("label", "width", "data_label", "responsibility_7")
    written = Assignments(data, None, responsibilities.argmax(axis=1), responsibilities, np.arange(5) + 2, names)
    write_assignments(tmp_path, written, csv_rows=5)
    of_data = ["data_data_label", "width", "data_label", "data_responsibility_7"]
    expected = ["row", *of_data, "label", "uncertainty", "responsibility_0", "responsibility_1"]
    for table in (parquet.read_table(tmp_path / "assignments.parquet"), csv.read_csv(tmp_path / "assignments.csv")):
        assert table.column_names == expected
        np.testing.assert_array_equal(np.stack([table[name] for name in of_data], axis=1), data)
        assert table["row"].to_pylist() == [3, 4, 5, 6, 7]
    np.testing.assert_array_equal(data_in(read_columns(tmp_path / "assignments.parquet")), data)
