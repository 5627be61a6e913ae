import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gmm_pipeline.analysis.rounding import rounded, shortened, with_error


@pytest.mark.parametrize(
    ("value", "error", "size", "texts"),
    [
        (0.165872, 0.0051, 0.165872, ("0.1659", "0.0051")),
        (-1.99786, 0.0412, 1.1, ("-1.998", "0.041")),
        (1.7e9 - 0.35, 0.47, 9.3, ("1699999999.65", "0.47")),
        (1234.5678, 12.3, 50.0, ("1235", "12")),
        (20_231_105.0, 2_345.6, 9e5, ("20231105", "2346")),
        (-1e-9, 0.2, 1.0, ("0.00", "0.20")),  # no minus before a zero
        (3.2e-10, 1e-12, 4e-11, ("3.200e-10", "1.0e-12")),
        (1.23456789e18, 4e15, 1e17, ("1.2346e+18", "4.0e+15")),
        (1.0, math.nan, 1.0, ("1", "")),
        (1.0, 0.0, 1.0, ("1", "")),
        (0.1234567, math.nan, 0.1234567, ("0.1235", "")),
        (1.7e9 + 0.25, math.nan, 5.0, ("1700000000.25", "")),
        (0.5, 1e5, 1.2, ("0.5", "100000.0")),  # hardly known, and no reason to print 0
        (math.nan, math.nan, math.nan, ("", "")),
        (math.inf, math.nan, math.nan, ("inf", "")),
    ],
)
def test_an_estimate_ends_where_its_error_does(value, error, size, texts):
    assert with_error(value, error, size)[:2] == texts


@given(
    st.floats(-1e12, 1e12),
    st.floats(1e-6, 1e6),
    st.floats(1e-6, 1e6),
)
def test_what_is_printed_is_within_a_tenth_of_the_error(value, error, size):
    text, error_text, _ = with_error(value, error, size)
    assert abs(float(text) - value) <= 0.1 * error + 1e-14 * abs(value)  # a double has 15 digits
    assert float(error_text) == pytest.approx(error, rel=0.06)


@pytest.mark.parametrize(("text", "short"), [("5.00", "5"), ("1.10", "1.1"), ("100", "100"), ("1.0e-10", "1.0e-10")])
def test_exact_numbers_have_no_zeros_at_the_end(text, short):
    assert shortened(text) == short


def test_numbers_that_end_before_the_point_are_whole():
    assert rounded(1234.5, -1) == "1234"
    assert rounded(1234567.0, 1, separator=",") == "1,234,567.0"
