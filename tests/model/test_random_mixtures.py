import numpy as np
import pytest
from scipy import stats

from gmm_pipeline.errors import InputError
from gmm_pipeline.model.natural import MultivariateMixture
from gmm_pipeline.model.overlap import overlap
from gmm_pipeline.model.random_mixtures import random_mixture

MODELS = ["EII", "VII", "EEI", "VEI", "EVI", "VVI", "EEE", "VEE", "EVE", "VVE", "EEV", "VEV", "EVV", "VVV"]


def average(found):
    return found.average


def maximum(found):
    return found.maximum


def drawn(
    seed=0,
    n_components=4,
    n_columns=2,
    covariance="VVV",
    eccentricity=0.9,
    least_weight=0.1,
    measure=average,
    asked=0.05,
):
    return random_mixture(
        seed,
        n_components=n_components,
        n_columns=n_columns,
        covariance=covariance,
        eccentricity=eccentricity,
        least_weight=least_weight,
        measure=measure,
        asked=asked,
    )


@pytest.mark.parametrize("measure", [average, maximum])
@pytest.mark.parametrize("asked", [1e-6, 0.01, 0.2])
@pytest.mark.parametrize(("n_components", "n_columns"), [(2, 1), (5, 1), (2, 2), (4, 5)])
def test_the_overlap_is_the_one_asked_for(measure, asked, n_components, n_columns):
    found = drawn(1, n_components, n_columns, measure=measure, asked=asked)
    assert measure(overlap(found)) == pytest.approx(asked, rel=1e-4)
    assert found.locs.shape == (n_components, n_columns)
    assert found.weights.sum() == pytest.approx(1.0)
    assert found.weights.min() >= 0.1


@pytest.mark.parametrize("n_columns", [32, 64])
def test_many_columns_overlap_as_asked(n_columns):
    """By draws: the classes that two components of equal weight give their own data."""
    found, n_draws = drawn(0, 3, n_columns, least_weight=1 / 3, measure=maximum, asked=0.05), 20_000
    random = np.random.default_rng(0)
    normals = [stats.multivariate_normal(*of) for of in zip(found.locs, found.covariances, strict=True)]
    draws = [normal.rvs(n_draws, random_state=random) for normal in normals]
    wrong = np.array(
        [[np.mean(two.logpdf(x) > one.logpdf(x)) for two in normals] for one, x in zip(normals, draws, strict=True)]
    )
    largest = np.max(wrong + wrong.T)
    assert abs(largest - 0.05) < 5 * np.sqrt(0.05 / n_draws)


@pytest.mark.parametrize("eccentricity", [0.3, 0.9, 0.999])
def test_no_component_is_more_eccentric_than_asked(eccentricity):
    eigenvalues = np.linalg.eigvalsh(drawn(n_columns=5, eccentricity=eccentricity).covariances)
    found = np.sqrt(1.0 - eigenvalues[:, 0] / eigenvalues[:, -1])
    assert np.all(found < eccentricity + 1e-9)
    assert found.max() == pytest.approx(eccentricity, rel=1e-9) or eccentricity == 0.999


def alike(values) -> bool:
    return bool(np.allclose(values, values[:1], rtol=1e-8, atol=1e-10))


@pytest.mark.parametrize("covariance", MODELS)
def test_components_share_what_the_model_says(covariance):
    """By what does not depend on how eigenvectors are ordered or signed."""
    found: MultivariateMixture = drawn(n_columns=3, covariance=covariance)
    eigenvalues = np.linalg.eigvalsh(found.covariances)
    volumes = np.prod(eigenvalues, axis=1)
    standardised = found.covariances / np.cbrt(volumes)[:, None, None]
    assert alike(volumes) == (covariance[0] == "E")
    assert alike(eigenvalues / np.cbrt(volumes)[:, None]) == (covariance[1] in "EI")
    assert np.allclose(standardised, np.eye(3)) == (covariance[1] == "I")
    is_diagonal = np.allclose(found.covariances * (1 - np.eye(3)), 0.0)
    assert is_diagonal == (covariance[2] == "I")
    # Matrices of one orientation commute.
    first, second = standardised[:2]
    assert np.allclose(first @ second, second @ first) == (covariance[2] in "EI")


def test_a_seed_is_a_mixture():
    one, same, other = drawn(3), drawn(3), drawn(4)
    for leaf, again, different in zip(one, same, other, strict=True):
        np.testing.assert_array_equal(leaf, again)
        assert not np.array_equal(leaf, different)


def test_the_largest_least_weight_makes_all_equal():
    np.testing.assert_allclose(drawn(least_weight=0.25).weights, 0.25)


def test_an_overlap_out_of_reach_is_refused():
    with pytest.raises(InputError, match=r"expected an overlap that random mixtures of 3 components and 10 columns"):
        drawn(n_components=3, n_columns=10, asked=0.9)
