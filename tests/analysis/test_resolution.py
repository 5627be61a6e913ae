import numpy as np
import pytest
from conftest import REAL
from hypothesis import given
from hypothesis import strategies as st

from gmm_pipeline.analysis.resolution import (
    doubts_about_ties,
    rounding_step,
    share_tied,
    share_unresolved,
    within_rounding,
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


def test_columns_with_many_equal_values_are_named_and_rounded_ones_are_not():
    zeros = np.where(RANDOM.uniform(size=2000) < 0.3, 0.0, NORMAL)
    missing = np.where(RANDOM.uniform(size=2000) < 0.1, np.nan, zeros)
    table = np.column_stack([NORMAL, np.round(NORMAL), missing, RANDOM.integers(0, 2, 2000)])
    said = doubts_about_ties(["a", "b", "c", "d"], table, np.ones(2000))
    assert [text.split(", ")[0][2:] for text in said] == [
        "% of the values of c are 0.0",
        f"% of the values of d are {float(table[:, 3].mean() > 0.5)!r}",
    ]
    assert said[0].startswith(f"{np.nanmean(missing == 0.0) / np.mean(~np.isnan(missing)):.0%} of")


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.6, 0.9, 1.1, 2.0]))
def test_what_is_narrower_than_the_rounding_does_not_depend_on_coordinates(seed, width):
    """One component has that width, in standard deviations of the rounding, in some direction; the other is wide."""
    random = np.random.default_rng(seed)
    steps = np.exp(random.normal(size=3)) / np.sqrt(12.0)
    turned = np.linalg.qr(random.normal(size=(3, 3)))[0]
    thin = turned @ np.diag([width, 3.0, 5.0]) ** 2 @ turned.T
    covariances = np.outer(steps, steps) * np.stack([thin, 9.0 * np.eye(3)])
    moved = random.normal(size=(3, 3)) + 3.0 * np.eye(3)
    for change in (np.eye(3), moved):
        found = within_rounding(change @ covariances @ change.T, change @ np.diag(steps))
        assert found.tolist() == [width < 1.0, False]
    assert not within_rounding(covariances, None).any()
