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


FREE = [3 * k - 1 for k in range(1, 11)]


def test_the_authors_galaxies():
    found = singular_bic(range(1, 11), FREE, LOG_LIKELIHOODS, 82.0)
    np.testing.assert_allclose(-0.5 * np.array(found), PUBLISHED, atol=3e-4)  # four digits each, in and out


@pytest.mark.parametrize(("per_component", "shared"), [(2, 0), (1, 1), (5, 0), (2, 3), (4, 1)])
def test_the_bound_is_the_published_one(per_component, shared):
    """Free and equal scales, and VVV, EEE and EEV of two columns."""
    for i in range(1, 6):
        for j in range(1, i + 1):
            parameters_of_true = per_component * j + j - 1 + shared
            expected = 0.5 * (per_component * j + i - 1 + shared)
            assert learning_coefficient(i, j, parameters_of_true) == expected


@given(st.lists(st.floats(-30.0, 0.0), min_size=1, max_size=6), st.floats(10.0, 1e6), st.integers(1, 20))
def test_scores_solve_their_equations(log_likelihoods, n_data, per_component):
    numbers = range(1, len(log_likelihoods) + 1)
    n_parameters = [per_component * k + k - 1 for k in numbers]
    found = singular_bic(numbers, n_parameters, log_likelihoods, n_data)
    scores = [math.exp(-0.5 * score) for score in found]
    for i, (score, log_likelihood) in enumerate(zip(scores, log_likelihoods, strict=True)):
        terms = [
            math.exp(log_likelihood - learning_coefficient(i + 1, j + 1, n_parameters[j]) * math.log(n_data))
            for j in range(i + 1)
        ]
        left = sum((score - term) * smaller for term, smaller in zip(terms, scores[: i + 1], strict=True))
        assert left == pytest.approx(
            0.0, abs=1e-9 * sum(score * s + t * s for t, s in zip(terms, scores, strict=False))
        )


def test_the_range_of_floats_is_no_limit():
    growing = singular_bic(range(1, 4), FREE[:3], [-1e6, -5e5, -1e5], 1e6)
    # Where one component more gains so much, the smaller ones have no say: BIC.
    np.testing.assert_allclose(growing, [2e6 + 2 * math.log(1e6), 1e6 + 5 * math.log(1e6), 2e5 + 8 * math.log(1e6)])
    shrinking = singular_bic(range(1, 4), FREE[:3], [-1e5, -5e5, -1e6], 1e6)
    assert np.isfinite(shrinking).all()
    # And where it loses as much, all say that one component is true: λ_i1.
    np.testing.assert_allclose(shrinking[2], 2e6 + 4 * math.log(1e6), rtol=1e-6)


def test_never_above_bic():
    found = singular_bic(range(1, 11), FREE, LOG_LIKELIHOODS, 82.0)
    bic = [(3 * k - 1) * math.log(82.0) - 2 * value for k, value in zip(range(1, 11), LOG_LIKELIHOODS, strict=True)]
    assert all(singular <= plain + 1e-9 for singular, plain in zip(found, bic, strict=True))
