import hashlib
import json
import re
from typing import Any

import jax
import numpy as np
import pyarrow as pa
import pytest
from conftest import ROUNDING_64
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf
from pyarrow import csv, parquet
from scipy import stats

from gmm_pipeline.configuration.config import config_directory
from gmm_pipeline.errors import InputError
from gmm_pipeline.records import data_checks, datasets

SPEC = {
    "name": "spec",
    "unit": None,
    "weights": [2, 10, 1],
    "locs": [3.0, -5.0, 20.0],
    "scales": [1.0, 2.0, 0.5],
    "n_draws": 1300,
    "counts": "exact",
    "seed": 3,
}


@given(st.integers(0, 10**6), st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=12))
def test_shares_sum_to_the_total_and_lie_within_one_of_their_quota(total, weights):
    counts = datasets.apportion(total, weights)
    quotas = total * np.array(weights) / np.sum(weights)
    assert sum(counts) == total
    assert all(count >= 0 for count in counts)
    # 1e-6: the quota itself is rounded, and is above 1e5 at most.
    assert np.abs(np.array(counts) - quotas).max() < 1 + 1e-6


@given(st.lists(st.integers(1, 50), min_size=1, max_size=8), st.integers(1, 1000))
def test_whole_shares_are_exact(weights, draws_a_unit):
    assert datasets.apportion(sum(weights) * draws_a_unit, weights) == [weight * draws_a_unit for weight in weights]


@given(st.integers(0, 100), st.lists(st.integers(1, 30), min_size=2, max_size=6))
def test_a_larger_weight_never_gets_less(total, weights):
    counts = np.array(datasets.apportion(total, weights))
    order = np.argsort(weights, kind="stable")
    smaller, larger = order[:-1], order[1:]
    strictly = np.array(weights)[smaller] < np.array(weights)[larger]
    assert (counts[smaller] <= counts[larger])[strictly].all()


def test_exact_counts_and_the_distribution_of_each_component():
    drawn = datasets.generate(**SPEC)
    assert drawn.components is not None
    assert drawn.truth is not None
    assert np.bincount(drawn.components).tolist() == [1000, 200, 100]
    assert drawn.data.dtype == np.float64
    for component, (loc, scale) in enumerate(zip(drawn.truth.locs, drawn.truth.scales, strict=True)):
        draws = drawn.data[drawn.components == component]
        assert stats.kstest(draws, stats.norm(loc, scale).cdf).pvalue > 1e-3


def test_multinomial_counts_are_drawn_too():
    drawn = datasets.generate(**{**SPEC, "counts": "multinomial", "n_draws": 13000})
    assert drawn.components is not None
    counts = np.bincount(drawn.components, minlength=3)
    assert drawn.truth is not None
    expected = 13000 * drawn.truth.weights
    assert stats.chisquare(counts, expected).pvalue > 1e-3
    assert counts.tolist() != expected.tolist()
    for component in range(3):
        draws = drawn.data[drawn.components == component]
        assert (
            stats.kstest(draws, stats.norm(drawn.truth.locs[component], drawn.truth.scales[component]).cdf).pvalue
            > 1e-3
        )


@pytest.mark.parametrize("counts", ["exact", "multinomial"])
def test_data_are_a_function_of_their_spec_alone(counts):
    spec = {**SPEC, "counts": counts}
    first, again, other = (datasets.generate(**{**spec, "seed": seed}) for seed in (3, 3, 4))
    with jax.enable_x64(True):
        in_float64 = datasets.generate(**spec)
    np.testing.assert_array_equal(again.data, first.data)
    np.testing.assert_array_equal(in_float64.data, first.data)
    assert not np.array_equal(other.data, first.data)
    assert first.digest == in_float64.digest != other.digest


def test_truth_is_ordered_by_loc():
    truth = datasets.generate(**SPEC).truth
    assert truth is not None
    assert truth.locs.tolist() == [-5.0, 3.0, 20.0]
    assert truth.scales.tolist() == [2.0, 1.0, 0.5]
    np.testing.assert_allclose(truth.weights, np.array([10, 2, 1]) / 13, rtol=ROUNDING_64)


KEYS: Any = OmegaConf.to_container(OmegaConf.load(config_directory() / "data" / "file.yaml"))


@pytest.fixture
def table(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    csv.write_csv(pa.table({"x": [3, 1, 2, 9], "w": [1.0, 0.0, 2.5, 1.0], "2": [5.0, 6.0, 7.0, 8.0]}), "table.csv")
    return "table.csv"


def from_file(path, column=None, weights_column=None, **given):
    keys = {**KEYS, "path": path, "column": column, "weights_column": weights_column, **given}
    return datasets.from_file(**{name: value for name, value in keys.items() if name != "_target_"})


def test_column_is_read_in_order_as_float64(table):
    read = from_file(table, "x", unit="min")
    assert read.data.tolist() == [3.0, 1.0, 2.0, 9.0]
    assert read.data.dtype == np.float64
    assert (read.name, read.unit, read.truth) == ("x", "min", None)
    assert read.sample_weights is None
    assert read.counts.tolist() == [1.0] * 4


def test_column_may_be_named_by_a_number(table):
    assert from_file(table, 2).data.tolist() == [5.0, 6.0, 7.0, 8.0]


def test_sample_weights_count_and_change_the_digest(table):
    plain, weighted = from_file(table, "x"), from_file(table, "x", "w")
    assert weighted.counts.tolist() == [1.0, 0.0, 2.5, 1.0]
    data = np.array([3.0, 1.0, 2.0, 9.0], "<f8").tobytes()
    assert plain.digest == hashlib.sha256(data).hexdigest()
    assert weighted.digest == hashlib.sha256(data + np.array([1.0, 0.0, 2.5, 1.0], "<f8").tobytes()).hexdigest()
    assert datasets.describe(weighted)["sample_weights"] is True


def test_truth_comes_from_a_file(table, tmp_path):
    truth = {"weights": [3, 1], "locs": [5, -5], "scales": [2, 1], "source": "kept by whoever wrote it"}
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    described = datasets.describe(from_file(table, "x", truth="truth.json"))
    assert described["truth"] == {"weights": [0.25, 0.75], "locs": [-5.0, 5.0], "scales": [1.0, 2.0]}
    assert json.loads(json.dumps(described)) == described


@pytest.mark.parametrize(
    ("given", "where", "says"),
    [
        ({}, "table.csv", "but got x, w, 2, some of which are numbers"),
        ({"column": "y"}, "data.column", "but got 'y'"),
        ({"column": "x", "weights_column": "weight"}, "data.weights_column", "x, w, 2"),
        ({"column": "x", "truth": "absent.json"}, "data.truth", "absent.json"),
    ],
)
def test_what_is_missing_is_named(table, given, where, says):
    with pytest.raises(InputError) as raised:
        from_file(table, **given)
    assert raised.value.where == where
    assert says in str(raised.value)


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        ([0.25, 0.25, 0.5], "sum is 1.*relative frequencies"),
        ([1e-300, 1e-300, 1e-300], "sum is 3e-300"),
        ([1e-12, 2e-12, 1e-12], "sum is 4e-12"),
        ([1e38, 1e38, 1e38], "common factor"),
    ],
)
def test_weights_that_are_no_counts_cannot_be_fitted(tmp_path, weights, says):
    csv.write_csv(pa.table({"x": [1.0, 2.0, 5.0], "w": weights}), tmp_path / "weighted.csv")
    read = from_file(str(tmp_path / "weighted.csv"), "x", "w")
    with pytest.raises(InputError, match=says) as raised:
        datasets.check_can_be_fitted(read, "weighted")
    assert raised.value.where == "data.weights_column"


@pytest.mark.parametrize(
    ("weights", "says"),
    [([0.9] * 9, "All .* below 1"), ([12.5] * 8, "sum to 100"), ([1, 0, 3], None), ([50, 50, 0], None), (None, None)],
)
def test_weights_that_may_be_no_counts(weights, says):
    dataset = datasets.generate(**SPEC)
    dataset = dataset._replace(sample_weights=None if weights is None else np.array(weights, float))
    doubts = datasets.doubts_about_weights(dataset)
    assert len(doubts) == (says is not None)
    assert all(re.match(f".*{says}", doubt) for doubt in doubts)


@pytest.mark.parametrize("values", [[1e-160, 2e-160], [1e200, -1e200], [1e308, -1e308]])
def test_numbers_whose_variance_float64_cannot_hold_are_refused(tmp_path, values):
    np.save(tmp_path / "extreme.npy", np.array([*values, values[0]]))
    read = from_file(str(tmp_path / "extreme.npy"))
    with pytest.raises(InputError, match=r"extreme: .*Change their unit"):
        datasets.check_can_be_fitted(read, "extreme")


def test_a_constant_can_be_read_and_not_fitted(tmp_path):
    np.save(tmp_path / "constant.npy", np.array([2.0]))
    read = from_file(str(tmp_path / "constant.npy"))
    assert read.data.tolist() == [2.0]
    with pytest.raises(InputError, match="two different values"):
        datasets.check_can_be_fitted(read, "constant")


@pytest.mark.parametrize("values", [[1e-140, 2e-140], [1e140, -1e140], [1e6 + 1e-9, 1e6]])
def test_extreme_units_that_float64_can_hold_are_read(tmp_path, values):
    np.save(tmp_path / "far.npy", np.array([*values, values[0]]))
    assert from_file(str(tmp_path / "far.npy")).data.tolist() == [*values, values[0]]


def test_a_file_is_described_by_its_absolute_path_and_a_spec_by_a_text(table, tmp_path):
    described = datasets.describe(from_file(table, "x"))
    assert (described["source_type"], described["source"]) == ("file", str(tmp_path / "table.csv"))
    described = datasets.describe(datasets.generate(**SPEC))
    assert (described["source_type"], described["source"]) == ("generated", "1300 draws, exact counts, seed 3")
    assert json.loads(json.dumps(described)) == described


@pytest.mark.parametrize("counts", ["exact", "multinomial"])
@pytest.mark.parametrize(
    ("locs", "scales", "says"),
    [
        ([5.0, 5.0], [1e-9, 1e-9], "300 rows that are all 5"),
        ([1e39, 0.0], [1.0, 1.0], "draws that are not"),
        ([0.0, 0.0], [1e39, 1e39], "draws that are not"),
        ([3e38, 0.0], [3e38, 1.0], "draws that are not"),
    ],
)
def test_draws_that_float32_cannot_hold_or_tell_apart_are_refused(counts, locs, scales, says):
    with pytest.raises(InputError, match=says) as raised:
        datasets.generate(
            **{**SPEC, "weights": [1, 2], "locs": locs, "scales": scales, "n_draws": 300, "counts": counts}
        )
    assert raised.value.where == "data.locs and data.scales"


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("weights", [], "a list of finite numbers"),
        ("locs", [0, 1, 10**400], "a list of finite numbers"),
        ("scales", [1.0, float("nan"), 2.0], "a list of finite numbers"),
        ("weights", [1, 2], "3 numbers, as many as data.locs"),
        ("scales", [1.0, 0, 2.0], "positive numbers, but got \\[1.0, 0, 2.0\\]"),
    ],
)
def test_what_is_no_mixture_is_refused(key, value, says):
    with pytest.raises(InputError, match=says) as raised:
        data_checks.check_mixture(
            "data", **{**{name: SPEC[name] for name in ("weights", "locs", "scales")}, key: value}
        )
    assert raised.value.where == f"data.{key}"


def test_names_and_units_may_be_numbers(table):
    drawn, read = datasets.generate(**{**SPEC, "name": 7, "unit": 5}), from_file(table, "x", name=7, unit=5)
    assert (drawn.name, drawn.unit) == (read.name, read.unit) == ("7", "5")


@pytest.mark.parametrize(
    ("key", "value", "remedy"),
    [
        ("n_draws", 1e4, "For example data.n_draws=10000."),
        ("n_draws", 1, "For example data.n_draws=2."),
        ("n_draws", float("nan"), "For example data.n_draws=2."),
        ("n_draws", float("inf"), f"For example data.n_draws={datasets.MOST_DRAWS}."),
        ("seed", -1, "For example data.seed=0."),
        ("seed", 2**32, f"For example data.seed={datasets.LARGEST_SEED}."),
        ("seed", True, "For example data.seed=1."),
    ],
)
def test_the_remedy_for_a_whole_number_is_one_that_works(key, value, remedy):
    with pytest.raises(InputError) as raised:
        datasets.generate(**{**SPEC, key: value})
    assert (raised.value.where, raised.value.came, raised.value.remedy) == (f"data.{key}", repr(value), remedy)


def test_the_largest_seed_is_one():
    assert len(datasets.generate(**{**SPEC, "seed": datasets.LARGEST_SEED}).data) == 1300


@pytest.mark.parametrize(
    ("column", "came"),
    [
        (["12", "some"], "'some', which is text"),
        ([None, "1 2"], "'1 2', which is text"),
        ([True, False], "True (bool)"),
    ],
)
def test_a_column_that_is_not_numbers_is_reported_with_an_example(tmp_path, column, came):
    parquet.write_table(pa.table({"x": column}), tmp_path / "text.parquet")
    with pytest.raises(InputError) as raised:
        from_file(str(tmp_path / "text.parquet"))
    assert raised.value.came == came


def test_values_far_from_all_others_are_named_before_the_fit():
    data = np.random.default_rng(0).normal(size=(300, 2))
    heavy = np.random.default_rng(0).standard_t(2.0, 300)
    assert data_checks.doubts_about_far_values(["a", "b"], data) == []
    assert data_checks.doubts_about_far_values(["a"], heavy) == []
    data[17, 1], data[3, 0] = 1e12, np.nan
    (said,) = data_checks.doubts_about_far_values(["a", "b"], data)
    assert said.startswith("Half of the values of b lie within 1.")
    assert "1 of 300 more than 100 times as far away, such as 1000000000000.0. If it stands" in said
    assert "data.missing_codes=[1000000000000.0]" in said
    (said,) = data_checks.doubts_about_far_values(["c"], np.array([1e308, -1.0, 0.0, 1.0, 2.0]))
    assert "1 of 5" in said
    assert data_checks.doubts_about_far_values(["d"], np.zeros(5)) == []
    coded = np.append(np.random.default_rng(0).normal(15.0, 6.0, 300), np.full(20, -999.0))
    (said,) = data_checks.doubts_about_far_values(["e"], coded)
    assert "20 of 320 more than 20 times as far away, such as -999.0. If it stands" in said
    counts = np.append(np.random.default_rng(0).poisson(0.8, 300), [25.0, 31.0, 40.0])
    assert data_checks.doubts_about_far_values(["f"], counts) == []
