"""Quantiles, calibration and the distribution of its deviation, against SciPy, tables and draws."""

import math

import numpy as np
import pytest
from conftest import ROUNDING_64
from scipy import stats

from gmm_pipeline.analysis import agreement, deviations
from gmm_pipeline.model.mixture import Mixture

NORMAL = Mixture(np.array([1.0]), np.array([2.0]), np.array([0.5]))
MIXTURE = Mixture(np.array([0.25, 0.0, 0.75]), np.array([-2.0, 0.0, 3.0]), np.array([0.5, 1.0, 1.5]))
BOTH = np.ones(2, bool)
LEVEL = 0.95
SIMULATIONS = 4000


NOISE = agreement.Uniform(0.2, -5.0, 7.0)
BESIDE_NOISE = Mixture(np.array([0.3, 0.5]), np.array([-2.0, 3.0]), np.array([0.5, 1.5]))


def data_of(n, seed=0):
    random = np.random.default_rng(seed)
    return np.where(random.random(n) < 0.25, random.normal(-2.0, 0.5, n), random.normal(3.0, 1.5, n))


def test_cdf_and_quantile_are_those_of_scipy_and_each_others_inverse():
    points = np.linspace(-8.0, 12.0, 201)
    expected = 0.25 * stats.norm(-2.0, 0.5).cdf(points) + 0.75 * stats.norm(3.0, 1.5).cdf(points)
    np.testing.assert_allclose(agreement.cdf(MIXTURE, points), expected, rtol=ROUNDING_64)
    probabilities = np.array([1e-12, 0.001, 0.1, 0.25, 0.5, 0.9, 0.999])
    np.testing.assert_allclose(
        agreement.quantile(NORMAL, probabilities), stats.norm(2.0, 0.5).ppf(probabilities), rtol=ROUNDING_64
    )
    found = agreement.cdf(MIXTURE, agreement.quantile(MIXTURE, probabilities))
    np.testing.assert_allclose(found, probabilities, rtol=1e-9)  # a quantile's last bit is worth more in a tail


def test_the_noise_is_uniform_over_its_range():
    points = np.linspace(-8.0, 12.0, 201)
    normals = 0.3 * stats.norm(-2.0, 0.5).cdf(points) + 0.5 * stats.norm(3.0, 1.5).cdf(points)
    expected = normals + 0.2 * stats.uniform(-5.0, 12.0).cdf(points)
    np.testing.assert_allclose(agreement.cdf(BESIDE_NOISE, points, NOISE), expected, rtol=ROUNDING_64)
    probabilities = np.array([1e-9, 0.001, 0.1, 0.5, 0.9, 0.999])
    found = agreement.cdf(BESIDE_NOISE, agreement.quantile(BESIDE_NOISE, probabilities, NOISE), NOISE)
    np.testing.assert_allclose(found, probabilities, rtol=1e-9)


def test_deviation_is_that_of_scipys_kolmogorov_test():
    data = data_of(500)
    found = agreement.calibration(agreement.sites_of(data, None), MIXTURE)
    expected = stats.kstest(data, lambda points: agreement.cdf(MIXTURE, points))
    assert found.largest == pytest.approx(expected.statistic, rel=ROUNDING_64)
    assert found.largest_step == pytest.approx(1 / 500)


def test_weights_are_counts_in_calibration_and_quantiles():
    sites = np.array([-2.5, -1.0, 0.5, 2.0, 3.0, 7.0])
    counts = np.array([3, 1, 0, 4, 2, 1])
    repeated = agreement.sites_of(np.repeat(sites, counts), None)
    weighted = agreement.sites_of(sites[::-1], counts[::-1])
    for one, other in zip(repeated, weighted, strict=True):
        np.testing.assert_array_equal(one, other)
    assert weighted.total == 11.0
    found = agreement.calibration(weighted, MIXTURE)
    expected = stats.kstest(np.repeat(sites, counts), lambda points: agreement.cdf(MIXTURE, points))
    assert found.largest == pytest.approx(expected.statistic, rel=ROUNDING_64)


def test_quantiles_of_few_data_are_all_there_with_the_band_of_order_statistics():
    data = np.sort(data_of(40))
    found = agreement.quantiles(agreement.sites_of(data, None), NORMAL, level=LEVEL, most=40)
    np.testing.assert_array_equal(found.data, data)
    np.testing.assert_allclose(found.probabilities, (np.arange(40) + 0.5) / 40, rtol=ROUNDING_64)
    ranks = np.arange(1, 41)
    lower, upper = (stats.norm(2.0, 0.5).ppf(stats.beta(ranks, 41 - ranks).ppf(end)) for end in (0.025, 0.975))
    np.testing.assert_allclose(found.lower, lower, rtol=1e-9)  # two inverses, each to its own rounding
    np.testing.assert_allclose(found.upper, upper, rtol=1e-9)
    within = np.mean((data >= lower) & (data <= upper))
    assert 0.0 < within < 1.0  # they are of another distribution
    assert found.share_within == pytest.approx(within)


def test_quantiles_of_many_data_keep_both_ends():
    data = data_of(5000)
    found = agreement.quantiles(agreement.sites_of(data, None), MIXTURE, level=LEVEL, most=50)
    assert 20 < len(found.data) <= 50
    assert (np.diff(found.data) > 0).all()
    assert (found.data[0], found.data[-1]) == (data.min(), data.max())
    assert found.share_within > 0.8


def suprema(mixture, *, fitted=True, equal_scales=False):
    parts = mixture.weights > 0.0 if fitted else np.zeros(len(mixture.weights), bool)
    return deviations._suprema(mixture, parts, equal_scales=equal_scales, simulations=SIMULATIONS, seed=1)


def error_of_quantile(sample, level):
    """Four standard errors of a quantile of a sample, by the binomial's."""
    half = 4.0 * math.sqrt(level * (1.0 - level) / len(sample))
    low, high = np.quantile(sample, [level - half, min(level + half, 1.0)])
    return high - low


def test_without_parameters_the_process_is_kolmogorovs():
    found = suprema(MIXTURE, fitted=False)
    for level in (0.5, 0.9, 0.95):
        expected = stats.kstwobign.ppf(level)
        assert np.quantile(found, level) == pytest.approx(expected, abs=error_of_quantile(found, level))
    assert agreement.kolmogorov(0.95) == pytest.approx(stats.kstwobign.ppf(0.95), rel=1e-9)


@pytest.mark.parametrize(("level", "table"), [(0.9, 0.819), (0.95, 0.895), (0.99, 1.035)])
def test_with_loc_and_scale_fitted_it_is_that_of_the_table_for_a_normal(level, table):
    """Stephens (1974), Table 1A: D with mean and variance from the data, for n → ∞."""
    found = suprema(NORMAL)
    assert np.quantile(found, level) == pytest.approx(table, abs=error_of_quantile(found, level))


def test_a_change_of_units_changes_nothing_and_more_parameters_leave_less():
    moved = Mixture(MIXTURE.weights, 1000.0 + 0.01 * MIXTURE.locs, 0.01 * MIXTURE.scales)
    two = Mixture(*(values[[0, 2]] for values in MIXTURE))
    middle = np.median(suprema(two))
    assert np.median(suprema(moved)) == pytest.approx(np.median(suprema(MIXTURE)), rel=0.01)
    assert middle < np.median(suprema(two, equal_scales=True)) < np.median(suprema(MIXTURE, fitted=False))


def test_draws_of_the_fitted_mixture_are_judged_as_often_as_the_level_says():
    """Of 200 fits of a normal to draws of it, the share with p < 0.2 is 0.2 within four standard errors."""
    random = np.random.default_rng(3)
    p_values = []
    for _ in range(200):
        data = random.normal(5.0, 2.0, 400)
        fitted = Mixture(np.ones(1), np.array([data.mean()]), np.array([data.std()]))
        found = agreement.calibration(agreement.sites_of(data, None), fitted)
        p_values.append(
            deviations.null_of(
                found.largest, fitted, total=400.0, equal_scales=False, level=LEVEL, simulations=200, seed=0
            ).p_value
        )
    assert np.mean(np.array(p_values) < 0.2) == pytest.approx(0.2, abs=4.0 * math.sqrt(0.2 * 0.8 / 200))


def test_components_that_say_the_same_have_a_null_too():
    double = Mixture(np.array([0.5, 0.5]), np.array([2.0, 2.0]), np.array([0.5, 0.5]))
    found = suprema(double)
    assert np.isfinite(found).all()
    assert np.median(found) == pytest.approx(np.median(suprema(NORMAL)), rel=0.02)


@pytest.mark.parametrize("noise", [None, NOISE])
def test_scores_are_the_slopes_of_the_log_density(noise):
    points, step = np.linspace(-4.0, 8.0, 13), 1e-6
    two = Mixture(*(values[[0, 2]] for values in MIXTURE)) if noise is None else BESIDE_NOISE
    found = deviations.scores(two, points, BOTH, noise=noise, equal_scales=False)
    row = 0
    for field in Mixture._fields:
        for component in range(2):
            ends = []
            for sign in (1.0, -1.0):
                moved = getattr(two, field).copy()
                moved[component] += sign * step
                ends.append(log_density(two._replace(**{field: moved}), points, noise))
            np.testing.assert_allclose(found[row], (ends[0] - ends[1]) / (2.0 * step), rtol=1e-5, atol=1e-7)
            row += 1
    together = deviations.scores(two, points, BOTH, noise=noise, equal_scales=True)
    np.testing.assert_allclose(together[-1], found[-2] + found[-1], rtol=ROUNDING_64)


def log_density(mixture, points, noise):
    """Of weights that need not sum to one without noise, which has what they lack."""
    density = sum(w * stats.norm.pdf(points, loc, scale) for w, loc, scale in zip(*mixture, strict=True))
    if noise is not None:
        density = density + (1.0 - mixture.weights.sum()) * stats.uniform.pdf(points, -5.0, 12.0)
    return np.log(density)


def test_parameters_of_components_on_next_to_no_data_are_not_fitted():
    light = Mixture(np.array([0.998, 0.001, 0.001]), np.array([2.0, 9.0, -4.0]), np.array([0.5, 1.0, 2.0]))
    judged = {"equal_scales": False, "level": LEVEL, "simulations": SIMULATIONS, "seed": 1}
    few, many = (deviations.null_of(0.0, light, total=total, **judged) for total in (1_000.0, 100_000.0))
    alone = deviations.null_of(0.0, NORMAL, total=1_000.0, **judged)
    assert many.fitted < few.fitted == pytest.approx(alone.fitted, rel=0.01)
    assert few.p_value == 1.0
