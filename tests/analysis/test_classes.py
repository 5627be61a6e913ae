"""The most probable component of one column against its closed form and SciPy."""

import numpy as np
import pytest
from scipy import optimize, stats

from gmm_pipeline.analysis import classes, curves
from gmm_pipeline.model.natural import Mixture

EQUAL = Mixture(np.array([0.2, 0.8]), np.array([-1.0, 3.0]), np.array([1.5, 1.5]))
NESTED = Mixture(np.array([0.5, 0.5]), np.array([0.0, 0.5]), np.array([1.0, 4.0]))


def posterior(fitted, x):
    joint = fitted.weights[:, None] * stats.norm.pdf(x, fitted.locs[:, None], fitted.scales[:, None])
    return joint / joint.sum(axis=0)


def test_equal_scales_have_one_border_where_its_closed_form_says():
    (border,) = classes.borders(EQUAL, (-9.0, 9.0))
    assert border == pytest.approx(1.0 + 1.5**2 * np.log(0.2 / 0.8) / 4.0, abs=1e-9)


def test_a_wide_component_is_most_probable_on_both_sides():
    def difference(x):
        return float(np.subtract(*posterior(NESTED, np.array([x]))[:, 0]))

    expected = [optimize.root_scalar(difference, bracket=ends).root for ends in ((-9.0, 0.0), (0.0, 9.0))]
    np.testing.assert_allclose(classes.borders(NESTED, (-9.0, 9.0)), expected, atol=1e-9)
    assert not classes.borders(NESTED, (-0.5, 0.5)).size


def test_uncertainty_is_the_probability_of_all_others():
    x = np.linspace(-8.0, 8.0, 50)
    labels, doubts = classes.uncertainty(NESTED, x)
    expected = posterior(NESTED, x)
    np.testing.assert_array_equal(labels, expected.argmax(axis=0))
    np.testing.assert_allclose(doubts, expected.min(axis=0), rtol=1e-9)  # 1 − max has few digits


def test_stacked_bars_are_the_histogram_and_hold_only_their_own_data():
    random = np.random.default_rng(0)
    data, counts = random.normal(1.0, 3.0, 300), random.integers(0, 4, 300)
    bars = curves.histogram(data, counts)
    stacked = classes.stacked(data, counts, EQUAL, bars)
    np.testing.assert_allclose(stacked.sum(axis=0), bars.densities, rtol=1e-12)
    (border,) = classes.borders(EQUAL, (-9.0, 9.0))
    assert not stacked[0, bars.edges[:-1] > border].any() and not stacked[1, bars.edges[1:] < border].any()
