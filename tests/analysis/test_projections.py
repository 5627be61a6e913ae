"""Directions and columns against scikit-learn's discriminants, plain NumPy, and what no change of units may alter."""

import numpy as np
import pytest
from scipy import linalg, stats
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from gmm_pipeline.analysis import columns_agreement, planes, projections
from gmm_pipeline.model import movements, portable
from gmm_pipeline.model.natural import Mixture, MultivariateMixture


def mixture(n_components: int, d: int, seed: int = 0) -> MultivariateMixture:
    generator = np.random.default_rng(seed)
    weights = generator.dirichlet(np.full(n_components, 5.0))
    factors = generator.normal(size=(n_components, d, d))
    return MultivariateMixture(
        weights, 2.0 * generator.normal(size=(n_components, d)), factors @ factors.swapaxes(1, 2)
    )


def labelled(n_components: int, d: int) -> tuple[np.ndarray, np.ndarray, MultivariateMixture]:
    """Data with labels, and the mixture of the moments of each label."""
    generator = np.random.default_rng(1)
    labels = np.sort(generator.integers(0, n_components, 500))
    data = (
        generator.normal(size=(500, d)) @ generator.normal(size=(d, d))
        + 3.0 * generator.normal(size=(n_components, d))[labels]
    )
    groups = [data[labels == label] for label in range(n_components)]
    moments = [(len(group) / 500, group.mean(axis=0), np.cov(group.T, bias=True)) for group in groups]
    return data, labels, MultivariateMixture(*map(np.array, zip(*moments, strict=True)))


def angle(a, b):
    return linalg.subspace_angles(a, b).max()


@pytest.mark.parametrize("d", [2, 12])
def test_what_can_be_drawn_and_how_it_moves_do_not_depend_on_units(d):
    """Of covariances whose eigenvalues are rounded away in unlike units, or whose determinant is below all numbers."""
    made = mixture(3, d)
    for units in (10.0 ** np.linspace(-9.0, 9.0, d), np.full(d, 1e-20)):
        scaled = MultivariateMixture(made.weights, made.locs * units, made.covariances * np.outer(units, units))
        assert projections.drawable(scaled).all()
        begun = [MultivariateMixture(one.weights, 0.5 * one.locs, 2.0 * one.covariances) for one in (made, scaled)]
        histories = [
            MultivariateMixture(*map(np.stack, zip(*pair, strict=True)))
            for pair in zip(begun, (made, scaled), strict=True)
        ]
        moved = [movements.distances_moved(one) for one in histories]
        np.testing.assert_allclose(moved[1], moved[0], rtol=1e-6)
    wrong = made._replace(covariances=made.covariances * [[[1.0]], [[-1.0]], [[0.0]]])
    assert projections.drawable(wrong).tolist() == [True, False, False]


def test_outlines_are_at_their_distance_from_the_loc_in_any_units():
    covariance = np.outer([1e-9, 1e9], [1e-9, 1e9]) * [[1.0, 0.8], [0.8, 1.0]]
    loc = np.array([1e-9, -2e9])
    away = planes.outline(loc, covariance, 2.0) - loc
    whitened = np.linalg.inv([[1.0, 0.8], [0.8, 1.0]])
    distances = np.einsum("pi,ij,pj->p", away / [1e-9, 1e9], whitened, away / [1e-9, 1e9])
    np.testing.assert_allclose(distances, 4.0, rtol=1e-10)


def test_directions_are_linear_discriminants():
    data, labels, moments = labelled(4, 6)
    discriminants = LinearDiscriminantAnalysis(solver="eigen").fit(data, labels).scalings_[:, :3]
    found = projections.separating_directions(moments, 3).matrix
    for number in range(3):
        assert angle(found[:, [number]], discriminants[:, [number]]) < 1e-6


def test_projected_components_have_unit_variance_within():
    made = mixture(4, 5)
    seen = projections.projected(made, projections.separating_directions(made, 5).matrix)
    _, within = projections.between_and_within(seen)
    np.testing.assert_allclose(within, np.eye(5), atol=1e-10)


def test_two_components_are_seen_where_their_covariances_differ():
    covariances = np.stack([np.eye(4), np.diag([1.0, 1.0, 25.0, 1.0])])
    two = MultivariateMixture(np.array([0.5, 0.5]), np.array([[0.0, 0, 0, 0], [5.0, 0, 0, 0]]), covariances)
    first, second = np.abs(projections.separating_directions(two).loadings.T)
    assert first.argmax() == 0
    assert second.argmax() == 2
    assert second[2] > 0.99


def test_one_component_is_seen_on_its_principal_components():
    one = mixture(1, 4)
    deviations = one.scales[0]
    _, vectors = np.linalg.eigh(one.covariances[0] / np.outer(deviations, deviations))
    assert angle(projections.separating_directions(one).loadings, vectors[:, -2:]) < 1e-6


@pytest.mark.parametrize("n_components", [1, 2, 5])
def test_units_change_nothing(n_components):
    made, units = mixture(n_components, 4), np.array([1e-6, 1.0, 50.0, 1e4])
    scaled = MultivariateMixture(made.weights, made.locs * units, made.covariances * np.outer(units, units))
    first, second = (projections.separating_directions(one) for one in (made, scaled))
    np.testing.assert_allclose(second.loadings, first.loadings, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(projections.separations(scaled), projections.separations(made), rtol=1e-9)


def test_between_and_within_sum_to_the_covariance_of_the_mixture():
    made = mixture(3, 4)
    between, within = projections.between_and_within(made)
    mean = made.weights @ made.locs
    second = np.einsum("k,kij->ij", made.weights, made.covariances + made.locs[:, :, None] * made.locs[:, None, :])
    np.testing.assert_allclose(between + within, second - np.outer(mean, mean), rtol=1e-9, atol=1e-9)


def test_moves_of_one_column_are_those_of_numbers():
    """In small steps, since the middle of two scales is taken otherwise for one column."""
    generator = np.random.default_rng(0)
    locs, scales = 1e-4 * generator.normal(size=(5, 3)), 1.0 + 1e-4 * generator.random((5, 3))
    weights = np.full((5, 3), 1.0 / 3.0)
    numbers = movements.moves(Mixture(weights, locs, scales))
    columns = movements.moves(MultivariateMixture(weights, locs[..., None], scales[..., None, None] ** 2))
    np.testing.assert_allclose(columns, numbers, rtol=1e-3)


def test_moves_are_the_same_in_any_coordinates():
    generator = np.random.default_rng(3)
    path = [mixture(3, 2, seed) for seed in range(4)]
    stacked = MultivariateMixture(*map(np.stack, zip(*path, strict=True)))
    matrix = generator.normal(size=(2, 2))
    np.testing.assert_allclose(
        movements.moves(projections.projected(stacked, matrix)), movements.moves(stacked), rtol=1e-9
    )


def test_a_component_that_is_lost_moves_by_nothing_known():
    stacked = MultivariateMixture(*(np.repeat(leaf[None], 3, axis=0) for leaf in mixture(2, 2)))
    stacked.covariances[1, 0] = np.nan
    assert np.isnan(movements.moves(stacked)).all()
    assert (movements.distances_from_end(stacked) == 0.0).all()


def draws(made: MultivariateMixture, n: int) -> np.ndarray:
    generator = np.random.default_rng(5)
    labels = generator.choice(len(made.weights), p=made.weights, size=n)
    factors = np.linalg.cholesky(made.covariances)
    return made.locs[labels] + np.einsum("nij,nj->ni", factors[labels], generator.normal(size=(n, made.locs.shape[1])))


def test_distances_of_draws_follow_chi_squared():
    made = mixture(3, 4)
    data = draws(made, 4000)
    responsibilities = portable.evaluate(*made, data)[1]
    found = columns_agreement.distances(data, None, made, responsibilities, level=0.999, most=200)
    assert [one.component for one in found] == [0, 1, 2]
    for one in found:
        assert ((one.squared >= one.lower) & (one.squared <= one.upper)).mean() > 0.98


def test_distances_of_one_component_are_scipys():
    one = mixture(1, 3)
    data = draws(one, 60)
    (found,) = columns_agreement.distances(data, None, one, np.ones((1, 60)), level=0.9, most=100)
    centred = data - one.locs[0]
    squared = np.einsum("ni,ni->n", centred, np.linalg.solve(one.covariances[0], centred.T).T)
    np.testing.assert_allclose(found.squared, np.sort(squared), rtol=1e-9)
    np.testing.assert_allclose(found.expected, stats.chi2(3).ppf((np.arange(60) + 0.5) / 60), rtol=1e-9)
    # The i-th of n uniform data is Beta(i, n + 1 − i).
    np.testing.assert_allclose(stats.chi2(3).cdf(found.upper[9]), stats.beta(10, 51).ppf(0.95), rtol=1e-9)
    assert found.observations == pytest.approx(60.0)


def test_components_without_data_of_their_own_have_no_distances():
    """The second belongs to each datum a little; the third to none that is shown, of data with missing cells."""
    made = MultivariateMixture(np.array([0.9, 0.05, 0.05]), np.zeros((3, 2)), np.stack([np.eye(2)] * 3))
    data = draws(made, 300)
    responsibilities = np.repeat([[0.95], [0.05], [0.0]], 300, axis=1)
    (found,) = columns_agreement.distances(data, None, made, responsibilities, level=0.9, most=100)
    assert found.component == 0
    assert found.expected.size > 10


def test_sample_weights_are_counts():
    made = mixture(2, 2)
    data = draws(made, 40)
    counts = np.random.default_rng(6).integers(1, 4, 40)
    responsibilities = portable.evaluate(*made, data)[1]
    told = {"level": 0.95, "most": 500}
    weighted = columns_agreement.distances(data, counts.astype(float), made, responsibilities, **told)
    repeated = columns_agreement.distances(
        np.repeat(data, counts, axis=0), None, made, np.repeat(responsibilities, counts, axis=1), **told
    )
    assert [one.observations for one in weighted] == pytest.approx([one.observations for one in repeated])
    several = (
        columns_agreement.marginals(*one, made)
        for one in ((data, counts.astype(float)), (np.repeat(data, counts, axis=0), None))
    )
    for one, other in zip(*several, strict=True):
        np.testing.assert_allclose(one.after, other.after, rtol=1e-12)


def test_marginals_are_uniform_under_scipys_cdf():
    made = mixture(2, 3)
    data = draws(made, 200)
    for column, one in enumerate(columns_agreement.marginals(data, None, made)):
        parts = [
            w * stats.norm(m[column], np.sqrt(c[column, column])).cdf(np.sort(data[:, column]))
            for w, m, c in zip(*made, strict=True)
        ]
        np.testing.assert_allclose(one.fitted, sum(parts), rtol=1e-9)
        middles = (np.arange(200) + 0.5) / 200
        np.testing.assert_allclose(columns_agreement.departures(one), middles - sum(parts), atol=1e-9)


def test_the_p_value_of_columns_is_kolmogorovs_times_their_number():
    made = mixture(2, 3)
    data = draws(made, 300)
    data[:, 1] += 0.2 * made.scales[0, 1]
    distances = []
    for column in range(3):
        sites = np.sort(data[:, column])
        parts = [
            w * stats.norm(m[column], np.sqrt(c[column, column])).cdf(sites) for w, m, c in zip(*made, strict=True)
        ]
        distances.append(np.abs((np.arange(300) + 0.5) / 300 - sum(parts)).max())
    expected = 3.0 * stats.kstwobign.sf(np.sqrt(300.0) * max(distances))
    assert expected < 1.0
    assert columns_agreement.p_value(columns_agreement.marginals(data, None, made)) == pytest.approx(expected)


def test_a_mixture_that_diverged_separates_nothing():
    lost = mixture(2, 8)._replace(covariances=np.full((2, 8, 8), np.nan))
    assert projections.separations(lost).tolist() == [0.0] * 8
    assert projections.separating_columns(lost, 6).tolist() == list(range(6))
