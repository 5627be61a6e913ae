import itertools

import numpy as np
import pytest
from conftest import ROUNDING_64
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import integrate, stats
from sklearn.metrics import adjusted_rand_score

from gmm_pipeline.analysis.matching import adjusted_rand_index, distances, match, z_scores
from gmm_pipeline.model.mixture import Mixture


def mixture(weights, locs, scales) -> Mixture:
    weights = np.asarray(weights, float)
    return Mixture(weights / weights.sum(), np.asarray(locs, float), np.asarray(scales, float))


def part(whole: Mixture, components) -> Mixture:
    return Mixture(*(leaf[list(components)] for leaf in whole))


@st.composite
def mixtures(draw, n_components=4):
    def numbers(low, high):
        return draw(arrays(np.float64, n_components, elements=st.floats(low, high)))

    return mixture(numbers(0.01, 1), numbers(-50, 50), numbers(0.1, 10))


FOUR = mixture([2, 10, 1, 6], [-2, -5, 3, 8], [1.1, 2, 1, 1.5])


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_a_permuted_mixture_is_matched_to_itself(order):
    found = match(part(FOUR, order), FOUR)
    assert np.array(order)[found.components].tolist() == found.others.tolist() == [0, 1, 2, 3]
    assert found.unmatched == found.unmatched_others == ()


@given(mixtures(), mixtures())
def test_the_assignment_is_the_best_of_all(one, other):
    costs = distances(one, other)
    found = match(one, other)
    best = min(sum(costs[order, range(4)]) for order in map(list, itertools.permutations(range(4))))
    np.testing.assert_allclose(costs[found.components, found.others].sum(), best, rtol=ROUNDING_64)


@given(mixtures(3), mixtures(4), st.sampled_from([1e-6, 1e6]), st.floats(-100, 100))
def test_distances_are_symmetric_and_without_units(one, other, factor, shift):
    found = distances(one, other)
    np.testing.assert_allclose(distances(other, one), found.T, rtol=1e-9)
    moved = [Mixture(m.weights, factor * (m.locs + shift), factor * m.scales) for m in (one, other)]
    np.testing.assert_allclose(distances(*moved), found, rtol=1e-6, atol=1e-9)


def test_the_distance_is_the_integral():
    one, other = mixture([1, 3], [0, 2], [1, 0.5]), mixture([2, 3], [0.5, 4], [2, 1])
    for a, b in itertools.product(range(2), range(2)):
        overlap, _ = integrate.quad(
            lambda x, a=a, b=b: np.sqrt(
                one.weights[a]
                * stats.norm.pdf(x, one.locs[a], one.scales[a])
                * other.weights[b]
                * stats.norm.pdf(x, other.locs[b], other.scales[b])
            ),
            -30,
            30,
            points=[0, 2, 4],
        )
        mean_weight = 0.5 * (one.weights[a] + other.weights[b])
        np.testing.assert_allclose(distances(one, other)[a, b], -np.log(overlap / mean_weight), rtol=1e-8)


@given(mixtures(4))
def test_a_component_is_nearest_to_itself(one):
    found = distances(one, one)
    np.testing.assert_allclose(np.diag(found), 0.0, atol=1e-9)
    assert np.all(found >= -1e-12)


def test_components_at_one_place_are_matched_by_their_scales():
    truth = mixture([1, 1], [0, 0], [1, 5])
    assert match(mixture([1, 1], [0.3, -0.2], [4, 1.2]), truth).components.tolist() == [1, 0]


def test_far_components_are_matched_in_order():
    """Where no pair touches, all Hellinger distances are one."""
    truth = mixture([1, 1, 1], [0, 1e4, 2e4], [1, 1, 1])
    assert match(mixture([1, 1, 1], [2.1e4, 1.1e4, 1e3], [1, 1, 1]), truth).components.tolist() == [2, 1, 0]


def test_what_is_left_over_is_reported():
    more = match(FOUR, part(FOUR, [3, 0]))
    assert (more.components.tolist(), more.others.tolist()) == ([3, 0], [0, 1])
    assert (more.unmatched, more.unmatched_others) == ((1, 2), ())
    fewer = match(part(FOUR, [3, 0]), FOUR)
    assert (fewer.components.tolist(), fewer.others.tolist()) == ([1, 0], [0, 3])
    assert (fewer.unmatched, fewer.unmatched_others) == ((), (1, 2))


def test_an_empty_component_does_not_take_the_place_of_a_heavy_one():
    fitted = mixture([1e-12, 1, 1], [0.0, 0.2, 9.9], [1, 1, 1])
    assert match(fitted, mixture([1, 1], [0, 10], [1, 1])).components.tolist() == [1, 2]


@pytest.mark.parametrize("wrong", [(np.nan, 1.0), (np.inf, 1.0), (0.0, np.nan), (0.0, 0.0)])
def test_a_component_that_went_wrong_is_left_over(wrong):
    fitted = Mixture(np.array([0.5, 0.5]), np.array([wrong[0], -2.1]), np.array([wrong[1], 1.0]))
    found = match(fitted, part(FOUR, [0, 3]))
    assert (found.components.tolist(), found.others.tolist()) == ([1], [0])
    assert (found.unmatched, found.unmatched_others) == ((0,), (1,))


def test_nothing_matches_a_diverged_fit():
    nothing = match(Mixture(*[np.full(4, np.nan)] * 3), FOUR)
    assert nothing.unmatched == nothing.unmatched_others == (0, 1, 2, 3)


def test_errors_in_standard_errors_are_those_of_the_partner():
    order = [2, 0, 3, 1]
    fitted = part(Mixture(FOUR.weights + 0.01, FOUR.locs - 0.1, FOUR.scales + 0.2), order)
    errors = part(Mixture(np.full(4, 0.005), np.array([0.1, 0.2, 0.05, np.nan]), np.full(4, 0.1)), order)
    found = z_scores(fitted, FOUR, errors)
    np.testing.assert_allclose(found.weights, 2.0, rtol=1e-9)
    np.testing.assert_allclose(found.locs, [-1.0, -0.5, -2.0, np.nan], rtol=1e-9)
    np.testing.assert_allclose(found.scales, 2.0, rtol=1e-9)


def test_a_truth_without_a_partner_has_no_error():
    fitted = part(FOUR, [3, 0])
    found = z_scores(fitted, FOUR, Mixture(*[np.ones(2)] * 3))
    np.testing.assert_array_equal(found.locs, [0.0, np.nan, np.nan, 0.0])


def test_the_weight_of_a_single_component_is_right():
    found = z_scores(mixture([1], [0.5], [1]), mixture([1], [0], [1]), Mixture(np.zeros(1), np.ones(1), np.ones(1)))
    assert (found.weights.item(), found.locs.item()) == (0.0, 0.5)


labellings = arrays(np.int64, 30, elements=st.integers(0, 4))


@given(labellings, labellings)
def test_adjusted_rand_index_equals_scikit_learn(labels, other):
    np.testing.assert_allclose(adjusted_rand_index(labels, other), adjusted_rand_score(labels, other), atol=ROUNDING_64)


@given(labellings, labellings, arrays(np.int64, 30, elements=st.integers(0, 5)).filter(np.any))
def test_adjusted_rand_index_counts_repeated_data(labels, other, counts):
    repeated = adjusted_rand_score(np.repeat(labels, counts), np.repeat(other, counts))
    np.testing.assert_allclose(adjusted_rand_index(labels, other, counts), repeated, atol=ROUNDING_64)
    in_floats = adjusted_rand_index(labels, other, counts.astype(np.float32))
    np.testing.assert_allclose(in_floats, repeated, atol=ROUNDING_64)


def test_adjusted_rand_index_knows_no_names():
    labels = np.array([0, 0, 1, 1, 2])
    assert adjusted_rand_index(labels, np.array(["b", "b", "a", "a", "c"])) == 1.0
    assert adjusted_rand_index(np.zeros(5, int), np.zeros(5, int)) == 1.0
    assert adjusted_rand_index(np.zeros(1, int), np.ones(1, int)) == 1.0
    assert adjusted_rand_index(labels, np.zeros(5, int)) == 0.0


def test_adjusted_rand_index_of_many_data():
    """More pairs than an int32 holds."""
    random = np.random.default_rng(0)
    labels, other = random.integers(0, 3, 200_000), random.integers(0, 3, 200_000)
    np.testing.assert_allclose(adjusted_rand_index(labels, other), adjusted_rand_score(labels, other), atol=ROUNDING_64)
