import numpy as np
import pytest
from conftest import ROUNDING_64
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gmm_pipeline.errors import InputError
from gmm_pipeline.records.sample_weights import (
    COUNTS,
    MEANINGS,
    PRECISION,
    SHARES,
    check_meaning,
    check_total,
    counted,
    doubts_about,
    effective_number,
)

weights = arrays(np.float64, 7, elements=st.floats(1e-3, 1e3) | st.just(0.0)).filter(np.any)


@given(weights, st.sampled_from([1e-300, 1e-12, 1e12, 1e300]), st.sampled_from([SHARES, PRECISION]))
def test_only_ratios_of_shares_and_precisions_matter(given_weights, factor, meaning):
    once, scaled = counted(given_weights, meaning), counted(given_weights * factor, meaning)
    np.testing.assert_allclose(scaled, once, rtol=10 * ROUNDING_64)
    np.testing.assert_allclose(once * given_weights.max(), given_weights * once.max(), rtol=10 * ROUNDING_64)


@given(weights)
def test_each_meaning_has_its_n(given_weights):
    assert counted(given_weights, COUNTS) is given_weights
    totals = {meaning: counted(given_weights, meaning).sum() for meaning in (SHARES, PRECISION)}
    n_rows = np.count_nonzero(given_weights)
    expected = given_weights.sum() ** 2 / np.sum(given_weights**2)
    np.testing.assert_allclose(list(totals.values()), [n_rows, expected], rtol=10 * ROUNDING_64)
    assert totals[PRECISION] <= n_rows * (1 + 1e-12)


def test_the_effective_number_is_that_of_equal_weights():
    # The variance of a weighted mean of independent numbers is that of a plain mean of so many.
    given_weights = np.array([1.0, 2.0, 4.0, 0.0])
    variance = np.sum((given_weights / given_weights.sum()) ** 2)
    np.testing.assert_allclose(effective_number(given_weights), 1.0 / variance, rtol=ROUNDING_64)
    assert effective_number(np.full(9, 1e-200)) == 9.0


@pytest.mark.parametrize(
    ("values", "meaning", "says"),
    [
        ([0.25, 0.25, 0.5], COUNTS, "data.weights_are=shares"),
        ([1e30, 1e30], COUNTS, "common factor"),
        ([1.0, 1e-9], PRECISION, "one row has almost all"),
    ],
)
def test_weights_that_are_worth_too_little_or_too_much(values, meaning, says):
    with pytest.raises(InputError, match=says):
        check_total(counted(np.array(values), meaning), meaning)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ([0.9] * 9, "below 1"),
        ([12.5] * 8, "percentages"),
        ([1.5, 0.2, 0.1, 0.1, 0.1, 0.1], "sum to 2.1 in 6 rows"),
        ([210.5, 94.1, 12.0], "sum to 316.6 in 3 rows"),
        ([1e12, 1e12], "more than anybody counts"),
        ([210.0, 94.0, 12.0], None),  # whole counts of a histogram
        ([1.5, 0.5, 1.2], None),
    ],
)
def test_weights_that_may_be_no_counts_are_named(values, says):
    doubts = doubts_about(np.array(values), COUNTS)
    assert [says in doubt and "data.weights_are=shares" in doubt for doubt in doubts] == [True] * (says is not None)
    assert not any(doubts_about(np.array(values), meaning) for meaning in MEANINGS if meaning != COUNTS)


@pytest.mark.parametrize(("meaning", "weighted"), [("frequencies", True), (SHARES, False), (PRECISION, False)])
def test_a_meaning_that_there_is_not_or_of_no_weights_is_refused(meaning, weighted):
    with pytest.raises(InputError, match=r"data\.weights_are"):
        check_meaning(meaning, weighted=weighted)
