"""Overlap in several columns: against SciPy's distributions and quadrature, the closed form of one, and draws."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import integrate, stats

from gmm_pipeline.model.natural import Mixture, MultivariateMixture, taken
from gmm_pipeline.model.overlap import overlap
from gmm_pipeline.model.quadratic_forms import ACCURACY, chance_of_positive


def random_mixture(random, n_components: int, n_columns: int, spread: float = 2.0) -> MultivariateMixture:
    factors = random.normal(size=(n_components, n_columns, n_columns + 1))
    return MultivariateMixture(
        random.dirichlet(np.full(n_components, 3.0)),
        spread * random.normal(size=(n_components, n_columns)),
        factors @ np.swapaxes(factors, -2, -1),
    )


def numbers(low: float, high: float):
    return arrays(np.float64, 3, elements=st.floats(low, high))


@given(numbers(0.05, 1), numbers(-5, 5), numbers(0.2, 5))
def test_one_column_has_the_closed_form_of_one_dimension(weights, locs, scales):
    one = Mixture(weights / weights.sum(), locs, scales)
    found = overlap(MultivariateMixture(one.weights, locs[:, None], scales[:, None, None] ** 2))
    np.testing.assert_allclose(found.misclassification, overlap(one).misclassification, atol=ACCURACY)


def test_small_chances_of_one_dimension_keep_their_digits():
    one = Mixture(np.array([0.3, 0.7]), np.array([0.0, 30.0]), np.array([1.0, 2.0]))
    found = overlap(MultivariateMixture(one.weights, one.locs[:, None], one.scales[:, None, None] ** 2))
    np.testing.assert_allclose(found.misclassification, overlap(one).misclassification, rtol=1e-9)
    assert 0.0 < found.maximum < 1e-20


@pytest.mark.parametrize("n_columns", [2, 3, 10])
@pytest.mark.parametrize(("factor", "shift"), [(2.0, 0.0), (-0.5, 1.0), (-1e-6, 3.0)])
def test_equal_squares_have_scipys_noncentral_chi_square(n_columns, factor, shift):
    """a Σ (z_l + h)² + c > 0."""
    a, h = np.full((5, n_columns), factor), np.full((5, n_columns), shift)
    limits = np.linspace(0.2, 3.0, 5) * n_columns * (1.0 + shift**2)
    found = chance_of_positive(a, 2.0 * a * h, np.sum(a * h**2, axis=1) - factor * limits)
    below = stats.ncx2.cdf(limits, n_columns, n_columns * shift**2 + 1e-300)
    np.testing.assert_allclose(found, 1.0 - below if factor > 0 else below, rtol=0, atol=1e-9)


def by_quadrature(a: np.ndarray, b: np.ndarray, c: float) -> float:
    """Of two squares: over the first normal, with the roots in the second."""

    def given_first(z: float) -> float:
        rest = a[0] * z * z + b[0] * z + c
        roots = np.roots([a[1], b[1], rest])
        below, above = np.sort(roots.real) if abs(roots[0].imag) < 1e-12 else (0.0, 0.0)
        inside = stats.norm.cdf(above) - stats.norm.cdf(below)
        return float(stats.norm.pdf(z) * (1.0 - inside if a[1] > 0 else inside))

    return sum(integrate.quad(given_first, low, low + 1.0, epsabs=1e-10)[0] for low in np.arange(-8.0, 8.0))


FORMS = [
    ([0.9, -0.4], [1.0, 0.5], -0.3),
    ([0.9, 0.4], [-3.0, 0.5], 0.2),
    ([-2.0, -0.1], [0.1, 4.0], 1.5),
    ([1e-3, 0.8], [2.0, -0.3], -1.0),  # nearly linear in one
    ([1e-3, -0.8], [2.0, -0.3], 3.0),
    ([-0.07, 2e-4], [0.01, 0.5], 0.068),
    ([1.0, -1.0], [0.0, 0.0], 0.0),
]


@pytest.mark.parametrize("form", FORMS)
def test_chances_equal_quadrature(form):
    a, b, c = np.array(form[0]), np.array(form[1]), form[2]
    np.testing.assert_allclose(
        chance_of_positive(a[None], b[None], np.array([c])), by_quadrature(a, b, c), rtol=0, atol=1e-7
    )


@pytest.mark.parametrize("n_columns", [2, 3, 8])
def test_chances_equal_shares_of_draws(n_columns):
    """Of forms that range from all but linear to all but certain, which few paths suit at once."""
    random, n_forms, n_draws = np.random.default_rng(n_columns), 400, 10_000
    shape = (n_forms, n_columns)
    ratios = np.exp(random.normal(size=shape) * random.choice([1e-8, 1e-3, 0.1, 1.0, 3.0], size=(n_forms, 1)))
    gaps = random.normal(size=shape) * random.choice([0.0, 0.01, 1.0, 5.0], size=(n_forms, 1))
    a, b, c = 1.0 - ratios, -2.0 * ratios * gaps, np.sum(np.log(ratios) - ratios * gaps**2, axis=1)
    found = chance_of_positive(a, b, c)
    z = random.normal(size=(n_draws, n_columns))
    shares = np.mean(z**2 @ a.T + z @ b.T + c > 0, axis=0)
    # Five standard errors, over 400 forms, and a few draws for shares near none or all.
    allowed = 5 * np.sqrt(found * (1 - found) / n_draws) + 5 / n_draws
    assert np.all(np.abs(shares - found) < allowed)


def test_overlap_equals_shares_of_draws():
    random, n_draws = np.random.default_rng(0), 20_000
    mixture = random_mixture(random, 4, 3)
    found = overlap(mixture).misclassification
    normals = [stats.multivariate_normal(*of) for of in zip(mixture.locs, mixture.covariances, strict=True)]
    for i in range(4):
        draws = normals[i].rvs(n_draws, random_state=random)
        joint = np.stack([np.log(w) + normal.logpdf(draws) for w, normal in zip(mixture.weights, normals, strict=True)])
        shares = np.mean(joint > joint[i], axis=1)
        shares[i] = 1.0
        allowed = 4 * np.sqrt(found[i] * (1 - found[i]) / n_draws) + 4 / n_draws
        assert np.all(np.abs(shares - found[i]) < allowed)


def test_no_affine_map_and_no_order_matters():
    random = np.random.default_rng(1)
    mixture, matrix = random_mixture(random, 5, 4), random.normal(size=(4, 4))
    expected = overlap(mixture)
    moved = MultivariateMixture(mixture.weights, mixture.locs @ matrix.T + 7.0, matrix @ mixture.covariances @ matrix.T)
    np.testing.assert_allclose(overlap(moved).misclassification, expected.misclassification, atol=1e-7)
    order = np.array([3, 0, 4, 1, 2])
    turned = overlap(taken(mixture, order)).misclassification
    np.testing.assert_allclose(turned, expected.misclassification[np.ix_(order, order)], atol=1e-12)


def test_equal_covariances_have_a_closed_form():
    mixture = random_mixture(np.random.default_rng(2), 2, 3)
    equal = mixture._replace(covariances=np.stack([mixture.covariances[0]] * 2))
    gap = equal.locs[1] - equal.locs[0]
    distance = np.sqrt(gap @ np.linalg.solve(equal.covariances[0], gap))
    odds = np.log(equal.weights[1] / equal.weights[0])
    np.testing.assert_allclose(
        overlap(equal).misclassification[0, 1], stats.norm.cdf(-distance / 2 + odds / distance), rtol=1e-9
    )


def test_components_alike_overlap_wholly():
    one = random_mixture(np.random.default_rng(3), 1, 3)
    alike = taken(one, np.array([0, 0]))._replace(weights=np.array([0.5, 0.5]))
    assert overlap(alike).misclassification[0, 1] == 0.5
    lighter = overlap(alike._replace(weights=np.array([1 / 3, 2 / 3])))
    assert (lighter.misclassification[0, 1], lighter.misclassification[1, 0]) == (1.0, 0.0)
    assert lighter.maximum == 1.0


def test_a_rule_that_never_or_always_holds_is_sure():
    wide = MultivariateMixture(np.array([1e-6, 1.0]), np.zeros((2, 2)), np.stack([0.25 * np.eye(2), np.eye(2)]))
    assert overlap(wide).misclassification.tolist() == [[1.0, 1.0], [0.0, 1.0]]


@pytest.mark.parametrize("covariance", [np.full((2, 2), np.nan), np.zeros((2, 2)), np.diag([1.0, -1.0])])
def test_what_went_wrong_says_so_and_raises_nothing(covariance):
    mixture = random_mixture(np.random.default_rng(4), 3, 2)
    wrong = overlap(mixture._replace(covariances=np.stack([covariance, *mixture.covariances[1:]])))
    assert np.isnan(wrong.maximum)
    assert np.isnan(wrong.pairwise[0, 1:]).all()
    assert np.isfinite(wrong.pairwise[1, 2])


def test_a_single_component_overlaps_with_nothing():
    found = overlap(random_mixture(np.random.default_rng(5), 1, 2))
    assert (found.maximum, found.average, found.misclassification.tolist()) == (0.0, 0.0, [[1.0]])
