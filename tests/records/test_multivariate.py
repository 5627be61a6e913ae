"""Draws of several columns, held to SciPy's normal distribution."""

from typing import Any

import jax
import numpy as np
import pytest
from conftest import ROUNDING_64
from scipy import stats

from gmm_pipeline.errors import InputError
from gmm_pipeline.model.natural import MultivariateMixture
from gmm_pipeline.records import datasets, multivariate

SPEC: dict[str, Any] = {
    "name": "spec",
    "unit": None,
    "columns": [],
    "weights": [2, 10, 1],
    "locs": [[3.0, 0.0, 1.0], [-5.0, 20.0, 100.0], [20.0, 0.0, 0.0]],
    "covariances": [[[1.0, 0.9, 0.0], [0.9, 1.0, 0.3], [0.0, 0.3, 2.0]], [4.0, 1.0, 0.25], 0.5],
    "n_draws": 2600,
    "counts": "exact",
    "seed": 3,
}
COVARIANCES = np.array([np.diag([4.0, 1.0, 0.25]), SPEC["covariances"][0], np.eye(3) / 2])
ORDER = [1, 0, 2]  # of decreasing weight


@pytest.fixture(scope="module", params=["exact", "multinomial"])
def drawn(request):
    return multivariate.generate(**{**SPEC, "counts": request.param})


def test_the_distribution_of_each_component(drawn):
    for component in range(3):
        draws = drawn.data[drawn.components == component]
        loc = np.array(SPEC["locs"])[ORDER[component]]
        whitened = np.linalg.solve(np.linalg.cholesky(COVARIANCES[component]), (draws - loc).T)
        assert stats.kstest((whitened**2).sum(axis=0), stats.chi2(3).cdf).pvalue > 1e-3
        for direction in (*np.eye(3), [1, 1, 1], [1, -1, 0], [0, 2, -1]):
            projected = stats.norm(loc @ direction, np.sqrt(direction @ COVARIANCES[component] @ direction))
            assert stats.kstest(draws @ direction, projected.cdf).pvalue > 1e-3


def test_counts(drawn):
    counts, expected = np.bincount(drawn.components), 200 * np.array([10, 2, 1])
    if "exact" in drawn.source:
        assert counts.tolist() == expected.tolist()
    else:
        assert stats.chisquare(counts, expected).pvalue > 1e-3
        assert counts.tolist() != expected.tolist()


def test_the_truth_is_ordered_by_weight(drawn):
    assert isinstance(drawn.truth, MultivariateMixture)
    np.testing.assert_allclose(drawn.truth.weights, np.array([10, 2, 1]) / 13, rtol=ROUNDING_64)
    np.testing.assert_array_equal(drawn.truth.locs, np.array(SPEC["locs"])[ORDER])
    np.testing.assert_array_equal(drawn.truth.covariances, COVARIANCES)
    assert (drawn.columns, drawn.column, drawn.data.shape) == (("x1", "x2", "x3"), None, (2600, 3))


def test_data_are_a_function_of_their_spec_alone(drawn):
    spec = {**SPEC, "counts": "exact" if "exact" in drawn.source else "multinomial"}
    with jax.enable_x64(True):
        np.testing.assert_array_equal(multivariate.generate(**spec).data, drawn.data)
    other = multivariate.generate(**{**spec, "seed": 4})
    assert other.digest != drawn.digest == multivariate.generate(**{**spec, "columns": ["a", "b", "c"]}).digest
    np.testing.assert_array_equal(drawn.data, drawn.data.astype(np.float32))


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("locs", [1.0, 2.0, 3.0], r"data\.locs: .*a list of rows"),
        ("locs", [[1.0], [2.0], [3.0]], r"two or more finite numbers"),
        ("locs", [[1.0, 2.0], [2.0, 1.0], [3.0]], r"data\.locs: .*\[3\.0\]\]"),
        ("locs", [[1.0, 2.0], [2.0, float("nan")], [3.0, 4.0]], r"data\.locs"),
        ("weights", [1, 2], r"data\.weights: expected 3 positive numbers"),
        ("weights", [1, 2, 0], r"data\.weights"),
        ("covariances", [1.0, 2.0], r"data\.covariances: expected a list of 3"),
        ("covariances", [1.0, 2.0, -1.0], r"for component 2 .* but got -1.0, which is not positive definite"),
        ("covariances", [1.0, [1.0, 1.0], 2.0], r"for component 1 a variance, 3 variances"),
        ("covariances", [np.eye(3).tolist(), 1, np.eye(2).tolist()], r"for component 2 .* 3 rows and columns"),
        ("covariances", [[[1, 0.5, 0], [0.4, 1, 0], [0, 0, 1]], 1, 1], "component 0 .*, which is not symmetric"),
        ("covariances", [1, [[1, 2, 0], [2, 1, 0], [0, 0, 1]], 1], "component 1 .*, which is not positive definite"),
        ("covariances", [1, 1, "full"], r"component 2 .* but got full\."),
        ("columns", ["a", "b"], r"data\.columns: expected 3 different names"),
        ("columns", ["a", "b", "a"], r"data\.columns: expected 3 different names, .* but got a, b, a"),
        ("counts", "some", r"data\.counts: expected exact or multinomial"),
        ("n_draws", 1, r"data\.n_draws"),
        ("locs", [[1e39, 0, 0], [0, 0, 0], [0, 0, 0]], "draws that are not"),
        ("covariances", [1e-30, 1e-30, 1e-30], None),
    ],
)
def test_what_is_no_spec_is_refused(key, value, says):
    spec = {**SPEC, "n_draws": 26, key: value}
    if says is None:
        spec |= {"locs": [[5.0, 1.0, 2.0]] * 3}
        says = "data.locs and data.covariances: .* 26 rows that are all 5"
    with pytest.raises(InputError, match=says):
        multivariate.generate(**spec)


def test_its_data_can_be_described_and_fitted(drawn):
    described = datasets.describe(drawn)
    assert (described["columns"], described["column"]) == (["x1", "x2", "x3"], None)
    assert described["truth"]["covariances"] == COVARIANCES.tolist()
    datasets.check_can_be_fitted(drawn, "spec")
    assert datasets.why_singular(drawn) == ""
