import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gmm_pipeline.analysis.singular_bic import learning_coefficient, singular_bic

# The vignette "Gaussian Mixtures" of the authors' R package sBIC 0.2.0: galaxies, 1 to 10 components with free scales,
# φ = 1, 100 random starts each; log-likelihoods and log L as printed there.
LOG_LIKELIHOODS = [
    -240.3379, -220.2445, -203.1792, -197.4621, -190.0724, -186.8674, -185.8390, -186.7764, -184.0937, -185.8294,
]  # fmt: skip
PUBLISHED = [
    -244.7446, -231.2612, -220.8038, -219.0979, -216.4564, -216.2255, -217.5358, -220.6820, -220.2114, -224.1505,
]  # fmt: skip


def test_the_authors_galaxies():
    found = singular_bic(range(1, 11), LOG_LIKELIHOODS, 82.0, equal_scales=False)
    np.testing.assert_allclose(-0.5 * np.array(found), PUBLISHED, atol=3e-4)  # four digits each, in and out


@pytest.mark.parametrize("equal_scales", [True, False])
@pytest.mark.parametrize("n_components", [1, 2, 7])
def test_all_components_true_is_half_the_number_of_parameters(n_components, equal_scales):
    n_parameters = 2 * n_components if equal_scales else 3 * n_components - 1
    assert learning_coefficient(n_components, n_components, equal_scales=equal_scales) == n_parameters / 2


@given(st.lists(st.floats(-30.0, 0.0), min_size=1, max_size=6), st.floats(10.0, 1e6), st.booleans())
def test_scores_solve_their_equations(log_likelihoods, n_data, equal_scales):
    numbers = range(1, len(log_likelihoods) + 1)
    found = singular_bic(numbers, log_likelihoods, n_data, equal_scales=equal_scales)
    scores = [math.exp(-0.5 * score) for score in found]
    for i, (score, log_likelihood) in enumerate(zip(scores, log_likelihoods, strict=True)):
        terms = [
            math.exp(log_likelihood - learning_coefficient(i + 1, j + 1, equal_scales=equal_scales) * math.log(n_data))
            for j in range(i + 1)
        ]
        left = sum((score - term) * smaller for term, smaller in zip(terms, scores[: i + 1], strict=True))
        assert left == pytest.approx(
            0.0, abs=1e-9 * sum(score * s + t * s for t, s in zip(terms, scores, strict=False))
        )


def test_the_range_of_floats_is_no_limit():
    growing = singular_bic(range(1, 4), [-1e6, -5e5, -1e5], 1e6, equal_scales=False)
    # Where one component more gains so much, the smaller ones have no say: BIC.
    np.testing.assert_allclose(growing, [2e6 + 2 * math.log(1e6), 1e6 + 5 * math.log(1e6), 2e5 + 8 * math.log(1e6)])
    shrinking = singular_bic(range(1, 4), [-1e5, -5e5, -1e6], 1e6, equal_scales=False)
    assert np.isfinite(shrinking).all()
    # And where it loses as much, all say that one component is true: λ_i1.
    np.testing.assert_allclose(shrinking[2], 2e6 + 4 * math.log(1e6), rtol=1e-6)


def test_never_above_bic():
    found = singular_bic(range(1, 11), LOG_LIKELIHOODS, 82.0, equal_scales=False)
    bic = [(3 * k - 1) * math.log(82.0) - 2 * value for k, value in zip(range(1, 11), LOG_LIKELIHOODS, strict=True)]
    assert all(singular <= plain + 1e-9 for singular, plain in zip(found, bic, strict=True))
