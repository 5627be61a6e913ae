"""The most probable component of one column against its closed form and SciPy."""

import numpy as np
import pytest
from scipy import optimize, stats

from gmm_pipeline.analysis import classes, curves
from gmm_pipeline.model.natural import Mixture
from gmm_pipeline.model.noise import Noise

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


def test_a_component_ends_where_the_noise_is_as_dense():
    one, noise = Mixture(np.array([0.9]), np.array([3.0]), np.array([1.5])), Noise(0.1, -np.log(20.0))
    half = 1.5 * np.sqrt(2.0 * np.log(0.9 / (1.5 * np.sqrt(2.0 * np.pi)) / (0.1 / 20.0)))
    np.testing.assert_allclose(classes.borders(one, (-9.0, 9.0), noise), [3.0 - half, 3.0 + half], atol=1e-9)
    data = np.array([-8.0, 3.0, 3.1, 8.5])
    labels, doubts = classes.uncertainty(one, data, noise)
    assert labels.tolist() == [-1, 0, 0, -1]
    of_component = 0.9 * stats.norm.pdf(data, 3.0, 1.5)
    np.testing.assert_allclose(doubts, np.minimum(of_component, 0.005) / (of_component + 0.005), rtol=1e-9)
    bars = curves.histogram(data, None)
    stacked = classes.stacked(data, None, one, bars, noise)
    np.testing.assert_allclose(stacked @ np.diff(bars.edges), [0.5, 0.5])


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
