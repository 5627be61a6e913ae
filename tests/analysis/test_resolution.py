import numpy as np
import pytest
from conftest import REAL
from hypothesis import given
from hypothesis import strategies as st

import gmm_pipeline as gmm
from gmm_pipeline.analysis.resolution import (
    doubts_about_ties,
    is_crowded,
    on_grid_lines,
    rounding_step,
    share_tied,
    share_unresolved,
)

RANDOM = np.random.default_rng(7)
NORMAL = RANDOM.normal(50, 10, 2000)


@given(st.sampled_from([0.1, 0.25, 1.0, 5.0]), st.floats(-1e3, 1e3), st.floats(0.01, 100))
def test_the_step_of_rounded_data_is_found_in_any_units(step, centre, spread):
    data = (np.round(NORMAL / step) * step - centre) / spread
    assert rounding_step(data) == pytest.approx(step / spread, rel=1e-6)


def test_of_millions_a_sample_is_enough():
    assert rounding_step(np.round(RANDOM.normal(0, 100, 1_000_000))) == 1.0


@pytest.mark.parametrize(
    "data",
    [
        NORMAL,
        np.concatenate([NORMAL, np.zeros(5000)]),
        np.repeat([0.0, 1.0], 50),
        np.repeat(RANDOM.normal(size=30), 20),
        np.round(NORMAL, 6),
        np.zeros(1),
    ],
    ids=["continuous", "many zeros", "0 or 1", "a few values", "rounded far below", "one"],
)
def test_data_that_were_not_rounded_have_no_step(data):
    assert rounding_step(data) is None


def test_waiting_times_in_whole_minutes_are_rounded():
    assert rounding_step(np.loadtxt(REAL / "waiting.csv", skiprows=1)) == 1.0


def test_share_of_data_that_are_one_value_to_the_fit():
    spike = np.concatenate([NORMAL, 50 + 1e-7 * RANDOM.normal(size=500)])
    assert share_unresolved(spike, spike.astype(np.float32)) == pytest.approx(0.2)
    assert share_unresolved(spike, spike) == 0.0
    assert share_unresolved(NORMAL, NORMAL.astype(np.float32)) == 0.0
    # Ties are ties in any precision.
    ties = np.round(NORMAL)
    assert share_unresolved(ties, ties.astype(np.float32)) == 0.0


def test_a_spike_is_many_data_of_one_value_that_no_rounding_made():
    ones = np.ones(5000)
    spike = np.concatenate([NORMAL, np.full(3000, 7.0)])
    assert share_tied(spike, ones) == pytest.approx(0.6)
    assert share_tied(np.repeat([0.0, 1.0], [30, 70]), ones[:100]) == pytest.approx(0.7)
    assert share_tied(np.concatenate([NORMAL, np.full(100, 7.0)]), ones[:2100]) == 0.0
    assert share_tied(np.round(NORMAL / 5) * 5, ones[:2000]) == 0.0
    inflated = np.concatenate([np.round(NORMAL), np.zeros(3000)])
    assert share_tied(inflated, ones) == pytest.approx(0.6)
    assert share_tied(np.array([1.0, 2.5, 3.0, 3.0, 3.0]), ones[:5]) == 0.0
    # Counts are as many data.
    counts = np.append(np.ones(2000), 3000.0)
    assert share_tied(np.append(NORMAL, 7.0), counts) == pytest.approx(0.6)


def test_columns_of_categories_or_many_equal_values_are_named_and_ordinary_ones_are_not():
    zeros = np.where(RANDOM.uniform(size=2000) < 0.3, 0.0, NORMAL)
    missing = np.where(RANDOM.uniform(size=2000) < 0.1, np.nan, zeros)
    table = np.column_stack([NORMAL, np.round(NORMAL), missing, RANDOM.integers(0, 2, 2000)])
    said = doubts_about_ties(["a", "b", "c", "d"], table, np.ones(2000))
    share = np.nanmean(missing == 0.0) / np.mean(~np.isnan(missing))
    assert [text.split(",")[0] for text in said] == [
        f"{share:.0%} of the values of c are 0.0",
        "d has the values 0.0 and 1.0 only",
    ]
    for n in (30, 100):  # small tables of whole numbers have ties by chance
        small = np.round(RANDOM.normal(50.0, 25.0, (n, 20)))
        assert doubts_about_ties([*map(str, range(20))], small, np.ones(n)) == []


@pytest.mark.parametrize("change", [np.eye(2), np.array([[3.0, 1.0], [-1.0, 0.5]])])
def test_lines_of_a_grid_are_told_from_clusters_at_one_value_in_any_coordinates(change):
    """In whole numbers: lines beside others, along an axis and slanted; and a cluster at one value, far from all."""
    grid = np.round(RANDOM.normal(0.0, 3.0, (1000, 2)))
    alone = np.column_stack([np.full(300, 30.0), np.round(RANDOM.normal(0.0, 3.0, 300))])
    alone[:6, 0] += 1.0
    slanted = np.array([[8.0, 7.99], [7.99, 8.0]])
    locs = np.array([[0.0, 0.0], [0.0, 0.0], [30.0, 0.0], [0.0, 0.0]])
    covariances = np.stack([np.diag([0.02, 9.0]), slanted, np.diag([0.02, 9.0]), np.diag([0.2, 9.0])])
    data = np.concatenate([grid, alone]) @ change.T
    rounding = change @ (np.eye(2) / np.sqrt(12.0))
    found = on_grid_lines(locs @ change.T, change @ covariances @ change.T, rounding, data, np.ones(1300))
    assert found == [0, 1]


@pytest.mark.parametrize(("far", "crowded"), [((30.0,), False), ((1e4,), False), ((1e6,), True), ((1e8, 1.3e8), True)])
def test_data_beside_values_far_away_are_fitted_in_float64(far, crowded):
    data = np.append(np.random.default_rng(5).normal(0.0, 1.0, 200), far)
    assert is_crowded(data) == is_crowded(1e6 * data + 1e9) == crowded


def test_two_values_very_far_away_are_a_degenerate_component_and_not_an_optimum_that_is_never_reached():
    data = np.append(np.random.default_rng(5).normal(0.0, 1.0, 200), [1e8, 1.3e8])
    found = gmm.fit(data, n_components=2, prior="flat")
    assert found.metrics["converged"] and found.metrics["barred"] == "degenerate"


def test_equal_values_and_next_to_none_are_not_crowded():
    assert not is_crowded(np.append(np.zeros(200), [1.0, 2.0]))
    assert not is_crowded(np.array([3.0]))
