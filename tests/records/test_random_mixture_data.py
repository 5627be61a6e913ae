# Generated data always have a truth.
# pyright: reportArgumentType=false, reportCallIssue=false, reportOptionalMemberAccess=false

import numpy as np
import pytest
from scipy import stats

from gmm_pipeline.errors import InputError
from gmm_pipeline.model.natural import Mixture, MultivariateMixture, order_of
from gmm_pipeline.model.overlap import overlap
from gmm_pipeline.records.random_mixture_data import generate

SPEC = {
    "name": "made",
    "unit": None,
    "n_components": 3,
    "n_columns": 2,
    "average_overlap": 0.02,
    "maximum_overlap": None,
    "covariance": "full",
    "eccentricity": 0.9,
    "least_weight": 0.1,
    "n_draws": 3000,
    "counts": "exact",
    "seed": 0,
}


@pytest.mark.parametrize(("n_columns", "kind"), [(1, Mixture), (2, MultivariateMixture), (4, MultivariateMixture)])
def test_data_are_drawn_from_a_mixture_of_the_overlap_asked_for(n_columns, kind):
    made = generate(**{**SPEC, "n_columns": n_columns})
    assert isinstance(made.truth, kind)
    assert overlap(made.truth).average == pytest.approx(0.02, rel=1e-4)
    np.testing.assert_array_equal(order_of(made.truth), np.arange(3))
    assert made.data.shape == ((3000,) if n_columns == 1 else (3000, n_columns))
    assert made.components is not None
    columns = made.data.reshape(3000, -1)
    locs = made.truth.locs.reshape(3, -1)
    scales = made.truth.scales.reshape(3, -1)
    for k in range(3):
        own = columns[made.components == k]
        assert abs(len(own) / 3000 - made.truth.weights[k]) < 1 / 3000 + 1e-9
        # Of at most twelve tests in all.
        assert stats.kstest((own - locs[k]) / scales[k], "norm", axis=0).pvalue.min() > 1e-4


def test_the_largest_overlap_can_be_asked_for():
    made = generate(**{**SPEC, "average_overlap": None, "maximum_overlap": 0.1, "covariance": "VEI"})
    assert made.truth is not None
    assert overlap(made.truth).maximum == pytest.approx(0.1, rel=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"maximum_overlap": 0.1}, r"data\.average_overlap: expected a value for either .* but got 0\.02 and 0\.1"),
        ({"average_overlap": None}, r"data\.average_overlap: expected a value for either"),
        ({"average_overlap": 1.5}, r"data\.average_overlap: expected a number between 0 and 1, but got 1\.5"),
        ({"least_weight": 0.5}, r"data\.least_weight: expected a positive number, at most 1/3"),
        ({"eccentricity": 1}, r"data\.eccentricity: expected a number between 0 and 1, but got 1"),
        ({"least_weight": 0}, r"data\.least_weight: expected a positive number"),
        ({"n_components": 1}, r"data\.n_components: expected"),
        ({"n_columns": 0}, r"data\.n_columns: expected"),
        ({"covariance": "fulll"}, r"data\.covariance: expected a covariance model.*Did you mean full"),
        ({"counts": "some"}, r"data\.counts: expected exact or multinomial"),
    ],
)
def test_a_spec_that_cannot_be_drawn_is_refused(changes, message):
    with pytest.raises(InputError, match=message):
        generate(**{**SPEC, **changes})
