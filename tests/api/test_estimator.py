"""The scikit-learn estimator: scikit-learn's own checks, and its `GaussianMixture` as the oracle."""

import pickle
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn.mixture as theirs
from conftest import ROOT, ROUNDING_64
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture._gaussian_mixture import _compute_precision_cholesky
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

import gmm_pipeline as gmm
from gmm_pipeline.model.given_starts import given, relative_to
from gmm_pipeline.model.multivariate_inits import Cloud
from gmm_pipeline.model.natural import MultivariateMixture
from gmm_pipeline.sklearn import GaussianMixture
from gmm_pipeline.sklearn.parameters import cholesky_of_precisions, matrices_of, shaped

pytestmark = pytest.mark.usefixtures("quickly_compiled")

TABLE = pd.read_csv(ROOT / "examples" / "data" / "faithful.csv")
ROWS = TABLE.to_numpy(np.float64)
TYPES = ("full", "tied", "diag", "spherical")
EM: Any = {"overrides": ("search=none", "optimizer=em", "init=quantile", "init.jitter=0"), "n_init": 1}
"""The cheapest fit: one start that no order of the data changes, without a search."""
START: Any = {"weights_init": [0.3, 0.7], "means_init": [[4.0, 75.0], [2.5, 60.0]]}
PRECISIONS = np.array([[[4.0, 0.01], [0.01, 0.02]], [[2.0, -0.02], [-0.02, 0.01]]])

CHECKED = GaussianMixture(2, covariance_type="spherical", **EM)
"""Spherical, which compiles fastest; the benchmark has all types."""
OF_BENCHMARK = (
    # Data of more shapes, each with programs of its own.
    *("check_dtype_object", "check_estimators_dtypes", "check_estimators_overwrite_params", "check_fit_score_takes_y"),
    *("check_fit2d_1feature", "check_fit_check_is_fitted", "check_fit_idempotent"),
    *("check_n_features_in_after_fitting", "check_positive_only_tag_during_fit"),
    # Tests check the types of arguments.
    "check_do_not_raise_errors_in_init_or_set_params",
)
"""Checks that `benchmarks/sklearn_tests.py` runs beside the others."""
ALL: Any = estimator_checks_generator(CHECKED)
CHECKS = [check for _, check in ALL if check.func.__name__ not in OF_BENCHMARK]


@pytest.fixture(scope="module")
def two() -> Any:
    return GaussianMixture(2, random_state=0, **EM).fit(ROWS)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.func.__name__)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
def test_the_checks_of_scikit_learn(check: Callable[..., None]) -> None:
    check(clone(CHECKED))


def test_a_fit_is_where_theirs_stays(two: Any) -> None:
    same: Any = theirs.GaussianMixture(
        2, tol=1e-12, reg_covar=0.0, max_iter=500, weights_init=two.weights_, means_init=two.means_,
        precisions_init=two.precisions_,
    ).fit(ROWS)  # fmt: skip
    assert same.lower_bound_ == pytest.approx(two.lower_bound_, abs=1e-9)
    assert_allclose(two.means_, same.means_, rtol=1e-4)  # fits stop at 0.001 standard errors
    same.weights_, same.means_, same.precisions_cholesky_ = two.weights_, two.means_, two.precisions_cholesky_
    far = np.vstack([ROWS, [[50.0, -300.0]]])
    assert_allclose(two.score_samples(far), same.score_samples(far), rtol=1e-11)
    assert_allclose(two.predict_proba(ROWS), same.predict_proba(ROWS), atol=1e-11)
    assert_array_equal(two.predict(ROWS), same.predict(ROWS))
    for ours, other in ((two.bic, same.bic), (two.aic, same.aic), (two.score, same.score)):
        assert ours(ROWS) == pytest.approx(other(ROWS), rel=ROUNDING_64)
    assert two.lower_bound_ == pytest.approx(two.score(ROWS), rel=ROUNDING_64)


@pytest.mark.parametrize("columns", [1, 2])
@pytest.mark.parametrize("weight", [False, True])
def test_a_given_start_is_where_it_begins(columns: int, weight: bool) -> None:
    start: Any = {"weights_init": START["weights_init"], "means_init": np.array(START["means_init"])[:, -columns:]}
    start["precisions_init"] = PRECISIONS[:, -columns:, -columns:]
    rows = ROWS[:, -columns:]
    counts = np.tile([1, 2, 0, 1], 68)
    with pytest.warns(ConvergenceWarning):
        same: Any = theirs.GaussianMixture(2, tol=0.0, reg_covar=0.0, max_iter=1, **start)
        same.fit(rows.repeat(counts, axis=0) if weight else rows)
    with pytest.warns(ConvergenceWarning, match="max_iter"):
        ours: Any = GaussianMixture(2, max_iter=1, **start, **EM).fit(rows, sample_weight=counts if weight else None)
    order = np.argsort(ours.weights_), np.argsort(same.weights_)
    for name in ("weights_", "means_", "covariances_"):
        assert_allclose(
            getattr(ours, name)[order[0]], getattr(same, name)[order[1]], rtol=1e-5 if columns == 1 else 1e-9
        )


def test_a_warm_start_goes_on_where_the_last_fit_ended() -> None:
    # Squared extrapolation would begin again, EM does not.
    warm = GaussianMixture(2, max_iter=3, warm_start=True, **START, **EM)
    with pytest.warns(ConvergenceWarning):
        at_once = GaussianMixture(2, max_iter=6, **START, **EM).fit(ROWS)
        warm.fit(ROWS).fit(ROWS)
    assert_allclose(warm.means_, at_once.means_, rtol=1e-9)
    with pytest.raises(gmm.InputError, match="n_components: expected 2 components of 2 columns"):
        warm.set_params(n_components=3).fit(ROWS)


@pytest.mark.parametrize("kept", [(True, True), (False, True), (True, False)])
def test_a_start_is_the_same_in_all_units(kept: tuple[bool, bool]) -> None:
    random = np.random.default_rng(0)
    factor = np.tril(random.uniform(0.5, 2.0, (2, 2)))
    counts = random.uniform(0.1, 2.0, len(ROWS))
    locs, covariances = np.array(START["means_init"]), np.linalg.inv(PRECISIONS)
    relative = relative_to(Cloud.of(ROWS, counts), locs, covariances if kept[1] else None)
    numbers = dict(zip(("locs", "covariances"), relative, strict=True))
    weights = START["weights_init"] if kept[0] else None
    found = []
    for data in (ROWS, (ROWS - 7.0) @ factor.T):
        found.append(given(None, data, counts, 2, weights=weights, smallest_scale=0.01, **numbers))
    own, moved = found
    assert isinstance(own, MultivariateMixture)
    assert isinstance(moved, MultivariateMixture)
    assert_allclose(own.locs, locs, rtol=1e-12)
    assert_allclose(moved.locs, (locs - 7.0) @ factor.T, rtol=1e-10)
    assert_allclose(moved.covariances, factor @ own.covariances @ factor.T, rtol=1e-9)
    assert_allclose(moved.weights, own.weights, rtol=1e-12)
    if kept[1]:
        assert_allclose(own.covariances, covariances, rtol=1e-9)


@pytest.mark.parametrize("covariance_type", TYPES)
def test_arrays_have_the_shapes_of_scikit_learn(covariance_type: str) -> None:
    own = np.linalg.inv(PRECISIONS)
    covariances = {
        "full": own,
        "tied": own[:1].repeat(2, axis=0),
        "diag": own * np.eye(2),
        "spherical": own[:, :1, :1] * np.eye(2),
    }[covariance_type]
    expected = _compute_precision_cholesky(shaped(covariances, covariance_type), covariance_type)
    assert_allclose(shaped(cholesky_of_precisions(covariances), covariance_type), expected, rtol=1e-12, atol=1e-15)
    again = matrices_of(shaped(covariances, covariance_type), covariance_type, 2, 2)
    assert_array_equal(again, covariances)


def test_the_bits_are_those_of_a_fit() -> None:
    waiting = TABLE[["waiting"]]
    ours: Any = GaussianMixture("auto", random_state=3, overrides=["selection.largest=2", *EM["overrides"]]).fit(
        waiting
    )
    same = gmm.fit(
        TABLE["waiting"], n_components="auto", prior="flat", seed=3,
        overrides=["selection.largest=2", "selection.scales=[free]", *EM["overrides"]],
    )  # fmt: skip
    assert_array_equal(ours.means_[:, 0], same.locs)
    assert_array_equal(ours.standard_errors_.scales, same.standard_errors.scales)
    assert (ours.verdict_, ours.metrics_["bic"]) == (same.verdict, same.metrics["bic"])
    assert ours.bic(waiting) == pytest.approx(same.metrics["bic"], rel=1e-9)
    assert ours.n_components_ == 2
    assert ours.covariance_model_ == "V"
    assert ours.selection_["n_components"].tolist() == [1, 2]
    assert list(ours.feature_names_in_) == ["waiting"]


def test_of_one_column_auto_compares_scales() -> None:
    ours: Any = GaussianMixture(2, covariance_type="auto", **EM).fit(TABLE[["waiting"]])
    assert ours.selection_[["n_components", "scales"]].values.tolist() == [[2, "equal"], [2, "free"]]
    assert ours.covariances_.shape == (2, 1, 1)


def test_it_pickles_as_plain_arrays(two: Any) -> None:
    written = pickle.dumps(two)
    assert b"jax" not in written
    again = pickle.loads(written)  # noqa: S301
    assert_array_equal(again.score_samples(ROWS), two.score_samples(ROWS))
    cloned: Any = clone(two)
    assert not hasattr(cloned, "mixture_")
    assert cloned.get_params() == two.get_params()


def test_it_is_a_step_of_a_pipeline_and_of_a_search() -> None:
    pipeline = make_pipeline(StandardScaler(), GaussianMixture(random_state=0, **EM)).set_output(transform="pandas")
    everything = np.arange(len(TABLE))  # so that all fits share one program
    search = GridSearchCV(pipeline, {"gaussianmixture__n_components": [1, 2]}, cv=[(everything, everything)]).fit(TABLE)
    assert search.best_params_ == {"gaussianmixture__n_components": 2}
    best = search.best_estimator_[-1]
    assert list(best.feature_names_in_) == list(TABLE.columns)
    assert search.score(TABLE) == pytest.approx(best.lower_bound_, rel=ROUNDING_64)


def test_draws_come_with_their_components(two: Any) -> None:
    drawn, components = two.sample(40_000)
    assert_array_equal(two.sample(40_000)[0], drawn)
    for k in range(2):
        own = drawn[components == k]
        n = len(own)
        assert n == pytest.approx(40_000 * two.weights_[k], abs=5 * 100)
        errors = np.sqrt(np.diagonal(two.covariances_[k]) / n)
        assert (np.abs(own.mean(axis=0) - two.means_[k]) < 5 * errors).all()
    with pytest.raises(gmm.InputError, match="n_samples"):
        two.sample(0)


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ({"n_init": 0}, "n_init: expected"),
        ({"max_iter": 0}, "max_iter: expected"),
        ({"n_init": 0}, r"n_init: expected a whole number .*n_init(?!.*restarts)"),
        ({"tol": -1.0}, "tol: expected"),
        ({"covariance_type": "ful"}, "covariance_type: expected a covariance model.*Did you mean full"),
        ({"random_state": "one"}, "seed a numpy.random.RandomState"),
        ({"n_components": 0}, "n_components: expected"),
        ({"overrides": ["steps=0"]}, "steps: expected"),
        ({"tol": -1.0}, "tol: expected a finite number, 0 or more, but got -1.0"),
        ({"weights_init": [1.0]}, "means_init: expected means"),
        ({"means_init": [[1.0, 2.0], [2.0, 3.0]]}, "n_components: expected 2 components of 2 columns.* got 1 of 2"),
        ({"means_init": [[1.0], [2.0], [3.0]]}, re.escape("means_init: expected finite numbers of shape (1, 2)")),
        ({"means_init": [[1.0, 2.0]], "weights_init": [0.5]}, "weights_init: expected positive numbers that sum to 1"),
        ({"means_init": [[1.0, 2.0]], "precisions_init": [[[1.0, 2.0], [2.0, 1.0]]]}, "precisions_init: expected"),
    ],
)
def test_a_wrong_parameter_is_named(given_: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        GaussianMixture(**given_).fit(ROWS)


@pytest.mark.parametrize(("kind", "model", "shape"), [("full", "VVI", (1, 6, 6)), ("tied", "EEI", (6, 6))])
def test_fewer_rows_than_columns_are_fitted_by_diagonal_covariances(
    kind: str, model: str, shape: tuple[int, ...]
) -> None:
    rows = np.random.default_rng(0).normal(size=(5, 6))
    with pytest.warns(UserWarning, match=f"5 rows of 6 columns .*{kind}.* the model {model}"):
        ours: Any = GaussianMixture(covariance_type=kind, **EM).fit(rows)
    assert ours.covariance_model_ == model
    assert ours.covariances_.shape == shape
    np.testing.assert_allclose(ours.covariances_.reshape(6, 6), np.diag(rows.var(axis=0)), rtol=1e-6, atol=1e-12)


def test_columns_that_determine_no_full_covariance_are_refused() -> None:
    with pytest.raises(gmm.InputError, match=r"covariance_type: .*but got 'full'\. Use covariance_type=diagonal"):
        GaussianMixture().fit(np.column_stack([ROWS, ROWS.sum(axis=1)]))


def test_a_noise_component_is_refused() -> None:
    with pytest.raises(gmm.InputError, match=r"overrides: expected no noise component.*but got noise=box"):
        GaussianMixture(**{**EM, "overrides": [*EM["overrides"], "noise=box", "nonsense=1"]}).fit(ROWS)


def test_a_tolerance_of_zero_never_stops() -> None:
    with pytest.warns(ConvergenceWarning):
        ours: Any = GaussianMixture(2, tol=0.0, max_iter=300, random_state=0, **EM).fit(ROWS)
    assert (ours.n_iter_, ours.converged_) == (300, False)
