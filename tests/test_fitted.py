"""The notebook's door against SciPy, scikit-learn, quadrature and one datum at a time."""

import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import made_records
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from conftest import ROUNDING_64
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, special, stats
from sklearn.mixture import GaussianMixture

import gmm_pipeline
from gmm_pipeline import density, fitted, labels, load, log_density, responsibilities, sample
from gmm_pipeline.errors import InputError
from gmm_pipeline.model.mixture import Mixture
from gmm_pipeline.model.natural import MultivariateMixture
from gmm_pipeline.model.portable import CHUNK
from gmm_pipeline.records import artifacts
from gmm_pipeline.records.files import write_json

MIXTURE = Mixture(np.array([0.1, 0.6, 0.3]), np.array([-5.0, 0.5, 8.0]), np.array([2.0, 0.7, 1.5]))
DATA = np.concatenate([np.linspace(-30.0, 30.0, 121), [-1e4, 1e4]])
FINITE = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def mixtures(draw):
    k = draw(st.integers(1, 5))
    weights = np.array(draw(st.lists(st.floats(0.0, 1.0), min_size=k, max_size=k)))
    weights = weights / weights.sum() if weights.sum() > 0 else np.full(k, 1.0 / k)
    locs = draw(st.lists(st.floats(-1e9, 1e9), min_size=k, max_size=k))
    scales = draw(st.lists(st.floats(1e-9, 1e9), min_size=k, max_size=k))
    return Mixture(weights, np.array(locs), np.array(scales))


def by_scipy() -> tuple[np.ndarray, np.ndarray]:
    """Log densities and responsibilities, a datum and a component at a time."""
    joint = np.array(
        [
            [np.log(weight) + stats.norm.logpdf(datum, loc, scale) for weight, loc, scale in zip(*MIXTURE, strict=True)]
            for datum in DATA
        ]
    )
    total = np.array([special.logsumexp(row) for row in joint])
    return total, np.array([np.exp(row - whole) for row, whole in zip(joint, total, strict=True)])


def test_everything_equals_a_double_loop_over_scipy():
    expected, expected_responsibilities = by_scipy()
    np.testing.assert_allclose(log_density(MIXTURE, DATA), expected, rtol=ROUNDING_64)
    np.testing.assert_allclose(density(MIXTURE, DATA), np.exp(expected), rtol=1e-10)  # exp of −1e2 loses two digits
    # A responsibility of e^−1e7 is 0, and one of e^−700 has lost three digits to its exponent.
    np.testing.assert_allclose(responsibilities(MIXTURE, DATA), expected_responsibilities, rtol=1e-9, atol=1e-300)
    np.testing.assert_array_equal(labels(MIXTURE, DATA), np.argmax(expected_responsibilities, axis=1))


def test_everything_equals_scikit_learn():
    peer = GaussianMixture(3)
    peer.weights_, peer.means_, peer.covariances_ = (
        MIXTURE.weights,
        MIXTURE.locs[:, None],
        MIXTURE.scales[:, None, None] ** 2,
    )
    peer.precisions_cholesky_ = 1.0 / MIXTURE.scales[:, None, None]
    column = DATA[:, None]
    np.testing.assert_allclose(log_density(MIXTURE, DATA), peer.score_samples(column), rtol=1e-10)
    np.testing.assert_allclose(responsibilities(MIXTURE, DATA), peer.predict_proba(column), rtol=1e-9, atol=1e-300)
    np.testing.assert_array_equal(labels(MIXTURE, DATA), peer.predict(column))


def test_the_density_integrates_to_one():
    found, _ = integrate.quad(lambda x: density(MIXTURE, [x])[0], -40, 40, points=MIXTURE.locs.tolist())
    assert found == pytest.approx(1.0, rel=1e-8)  # what the quadrature promises


OF_COLUMNS = MultivariateMixture(
    np.array([0.1, 0.6, 0.3]),
    np.array([[-5.0, 2.0], [0.5, 0.0], [8.0, -3.0]]),
    np.array([[[4.0, 1.5], [1.5, 1.0]], [[0.5, 0.0], [0.0, 2.0]], [[2.0, -1.0], [-1.0, 1.0]]]),
)
ROWS = np.stack(np.meshgrid(np.linspace(-20.0, 20.0, 9), [-7.0, 0.0, 4.5]), axis=-1).reshape(-1, 2)


def test_several_columns_equal_scikit_learn_and_scipy():
    peer = GaussianMixture(3)
    peer.weights_, peer.means_, peer.covariances_ = OF_COLUMNS
    peer.precisions_cholesky_ = np.linalg.cholesky(np.linalg.inv(OF_COLUMNS.covariances))
    for rows in (ROWS, ROWS.tolist(), pd.DataFrame(ROWS)):
        np.testing.assert_allclose(log_density(OF_COLUMNS, rows), peer.score_samples(ROWS), rtol=1e-10)
    np.testing.assert_allclose(responsibilities(OF_COLUMNS, ROWS), peer.predict_proba(ROWS), rtol=1e-9, atol=1e-300)
    np.testing.assert_array_equal(labels(OF_COLUMNS, ROWS), peer.predict(ROWS))
    joint = [w * stats.multivariate_normal(loc, c).pdf(ROWS) for w, loc, c in zip(*OF_COLUMNS, strict=True)]
    np.testing.assert_allclose(density(OF_COLUMNS, ROWS), np.sum(joint, axis=0), rtol=1e-9)
    assert log_density(OF_COLUMNS, []).shape == (0,) and responsibilities(OF_COLUMNS, np.empty((0, 2))).shape == (0, 3)


def test_one_column_of_several_equals_one_column():
    alone = MultivariateMixture(MIXTURE.weights, MIXTURE.locs[:, None], MIXTURE.scales[:, None, None] ** 2)
    np.testing.assert_allclose(log_density(alone, DATA[:, None]), log_density(MIXTURE, DATA), rtol=1e-10)
    far = np.array([1e200, -1e200, 1e308])
    assert log_density(alone, far[:, None]).tolist() == 3 * [-np.inf]
    np.testing.assert_array_equal(responsibilities(alone, far[:, None]), responsibilities(MIXTURE, far))


def test_draws_of_several_columns_are_those_of_the_mixture():
    n = 40_000
    draws = sample(OF_COLUMNS, n, seed=3)
    mean = OF_COLUMNS.weights @ OF_COLUMNS.locs
    second = np.einsum("k,kij->ij", OF_COLUMNS.weights, OF_COLUMNS.covariances) + np.einsum(
        "k,ki,kj->ij", OF_COLUMNS.weights, OF_COLUMNS.locs, OF_COLUMNS.locs
    )
    errors = draws[:, :, None] * draws[:, None, :] - second
    # five standard errors
    assert (np.abs(draws.mean(axis=0) - mean) < 5 * draws.std(axis=0) / np.sqrt(n)).all()
    assert (np.abs(errors.mean(axis=0)) < 5 * errors.std(axis=0) / np.sqrt(n)).all()
    assert sample(OF_COLUMNS, 0, seed=3).shape == (0, 2)


@pytest.mark.parametrize(
    ("data", "came"),
    [
        ([1.0, 2.0], "an array of shape (2,)"),
        (np.zeros((4, 3)), "an array of shape (4, 3)"),
        ([[1.0, 2.0], [np.nan, 1.0]], "1 that are missing, NaN or infinite, the first at index 1"),
        ([["1", "2"]], "str"),
    ],
)
def test_rows_that_are_no_numbers_are_refused(data, came):
    with pytest.raises(InputError, match="data: expected rows of 2 finite numbers, as in the fit, but got") as caught:
        log_density(OF_COLUMNS, data)
    assert came in caught.value.came


@pytest.mark.parametrize(
    ("change", "came"),
    [
        ({"locs": np.zeros(3)}, "shapes (3,), (3,) and (3, 2, 2)"),
        ({"covariances": np.ones((3, 2))}, "shapes (3,), (3, 2) and (3, 2)"),
        ({"covariances": np.full((3, 2, 2), np.nan)}, "covariances with nan"),
        ({"covariances": np.ones((3, 2, 2))}, "component 0 is not positive definite"),
        ({"covariances": np.tile([[1.0, 0.5], [0.0, 1.0]], (3, 1, 1))}, "component 0 is not symmetric"),
    ],
)
def test_what_is_no_mixture_of_several_columns_is_refused(change, came):
    mixture: Any = SimpleNamespace(**(OF_COLUMNS._asdict() | change))
    with pytest.raises(InputError, match="positive definite covariances, but got") as caught:
        log_density(mixture, ROWS)
    assert came in caught.value.came


@given(mixtures(), st.lists(FINITE, min_size=1, max_size=5))
def test_any_finite_datum_has_responsibilities_that_sum_to_one(mixture, data):
    found = responsibilities(mixture, data)
    np.testing.assert_allclose(found.sum(axis=1), 1.0, rtol=ROUNDING_64)
    assert (found[:, mixture.weights == 0] == 0).all()
    assert not np.isnan(log_density(mixture, data)).any()


@given(mixtures(), st.lists(FINITE, min_size=2, max_size=5))
def test_data_are_judged_one_by_one(mixture, data):
    one_by_one = [log_density(mixture, [datum])[0] for datum in data]
    np.testing.assert_array_equal(log_density(mixture, data), one_by_one)


def test_beyond_the_squares_of_float64_the_nearest_in_standard_deviations_is_responsible():
    assert log_density(MIXTURE, [1e200]).tolist() == [-np.inf]
    assert responsibilities(MIXTURE, [1e200, -1e200, -1e308]).tolist() == 3 * [[1.0, 0.0, 0.0]]
    assert labels(MIXTURE, [1e100, 1e200]).tolist() == [0, 0]


def test_data_longer_than_a_chunk_are_whole():
    data = np.random.default_rng(1).normal(size=2 * CHUNK + 3) * 9
    chosen = [0, CHUNK - 1, CHUNK, 2 * CHUNK - 1, 2 * CHUNK, 2 * CHUNK + 2]
    for ask in (log_density, responsibilities, labels):
        found = ask(MIXTURE, data)
        assert len(found) == len(data)
        np.testing.assert_array_equal(found[chosen], ask(MIXTURE, data[chosen]))


@pytest.mark.parametrize(
    "kind",
    [
        list,
        tuple,
        np.float32,
        pd.Series,
        pa.array,
        lambda data: np.ma.array(data, mask=False),
        lambda data: data[::-1][::-1],
    ],
)
def test_data_are_anything_one_dimensional_that_holds_numbers(kind):
    data = [-2.5, 0.0, 7.25]  # exact in float32
    np.testing.assert_array_equal(log_density(MIXTURE, kind(data)), log_density(MIXTURE, np.array(data)))
    assert log_density(MIXTURE, kind([-2, 0, 7])).dtype == np.float64


def test_no_data_have_no_answers():
    assert log_density(MIXTURE, []).shape == density(MIXTURE, []).shape == labels(MIXTURE, []).shape == (0,)
    assert responsibilities(MIXTURE, []).shape == (0, 3)


@pytest.mark.parametrize("ask", [log_density, density, responsibilities, labels])
@pytest.mark.parametrize(
    ("data", "came"),
    [
        (1.5, "an array of shape ()"),
        ([[1.0, 2.0]], "an array of shape (1, 2)"),
        ([[1.0], [2.0, 3.0]], "inhomogeneous"),
        ([1.0, np.nan], "1 that are missing, NaN or infinite, the first at index 1"),
        ([-np.inf, 1.0], "the first at index 0"),
        (np.ma.array([1.0, 2.0], mask=[False, True]), "the first at index 1"),
        (["1", "2"], "str"),
        ([1.0, None], "float 1.0"),
        ([1j], "complex128"),
        ([True, False], "bool"),
    ],
)
def test_data_that_are_no_numbers_are_refused(ask, data, came):
    with pytest.raises(InputError, match="data: expected finite numbers in one dimension, but got") as caught:
        ask(MIXTURE, data)
    assert came in caught.value.came


@pytest.mark.parametrize(
    ("change", "came"),
    [
        ({"weights": [0.5, 0.5]}, "shapes (2,), (3,) and (3,)"),
        ({"weights": [1.0, 2.0, 3.0]}, "weights that sum to 6"),
        ({"weights": [1.5, -0.5, 0.0]}, "weights with -0.5"),
        ({"weights": [np.nan, 0.5, 0.5]}, "weights with nan"),
        ({"locs": [0.0, np.inf, 1.0]}, "locs with inf"),
        ({"scales": [1.0, 0.0, 1.0]}, "scales with 0"),
        ({"scales": ["wide", 1.0, 1.0]}, "could not convert"),
        ({"weights": [], "locs": [], "scales": []}, "shapes (0,), (0,) and (0,)"),
    ],
)
def test_what_is_no_mixture_is_refused(change, came):
    mixture: Any = SimpleNamespace(**(MIXTURE._asdict() | change))
    with pytest.raises(InputError, match="mixture: expected weights") as caught:
        log_density(mixture, [1.0])
    assert came in caught.value.came


def test_a_path_is_no_mixture():
    path: Any = "outputs/fit/mine"
    with pytest.raises(InputError, match=r"mixture: .*A fit, or its mixture, is one"):
        log_density(path, [1.0])


def test_draws_are_those_of_the_mixture():
    n = 40_000
    draws = sample(MIXTURE, n, seed=3)
    mean = MIXTURE.weights @ MIXTURE.locs
    variance = MIXTURE.weights @ (MIXTURE.scales**2 + MIXTURE.locs**2) - mean**2
    assert abs(draws.mean() - mean) < 5 * np.sqrt(variance / n)  # five standard errors

    def cdf(x):
        return stats.norm.cdf(x[:, None], MIXTURE.locs, MIXTURE.scales) @ MIXTURE.weights

    assert stats.kstest(draws, cdf).pvalue > 1e-6


def test_draws_are_decided_by_the_seed():
    np.testing.assert_array_equal(sample(MIXTURE, 10, seed=3), sample(MIXTURE, 10, seed=3))
    assert not np.array_equal(sample(MIXTURE, 10, seed=3), sample(MIXTURE, 10, seed=4))
    assert sample(MIXTURE, 0, seed=3).shape == (0,)


def test_numbers_of_draws_and_seeds_are_not_negative():
    with pytest.raises(InputError, match="n: expected a whole number, 0 or more, but got -1"):
        sample(MIXTURE, -1, seed=0)
    with pytest.raises(InputError, match="seed: expected a whole number, 0 or more, but got -1"):
        sample(MIXTURE, 3, seed=-1)


@pytest.mark.parametrize("wrong", [1.5, "3", None])
def test_numbers_of_draws_and_seeds_are_whole(wrong):
    with pytest.raises(InputError, match="seed: expected a whole number"):
        fitted._whole("seed", wrong)


@pytest.fixture
def record(tmp_path):
    return made_records.write_run(tmp_path / "outputs" / "fit" / "mine")


def test_a_record_is_loaded_by_its_folder_or_as_the_latest(record):
    for found in (load(record), load(str(record)), load("latest", outputs_dir=record.parents[1])):
        assert found.record == record
        for values, expected in zip(found.mixture, made_records.TRUTH, strict=True):
            np.testing.assert_array_equal(values, expected)
        np.testing.assert_array_equal(found.labels, made_records.draws(300)[1])
        np.testing.assert_array_equal(labels(found, made_records.TRUTH.locs), [0, 1])


@pytest.mark.parametrize("status", ["diverged", "failed"])
def test_a_run_without_a_result_is_refused(record, status):
    write_json(record / artifacts.RECORD, {"status": status, "error": "not finite"})
    with pytest.raises(InputError, match=rf"run: expected a run that finished, but got .*\({status}: not finite\)"):
        load(record)


def test_a_damaged_record_is_refused(record):
    (record / artifacts.PARAMETERS).write_text('{"weights": [1')
    with pytest.raises(InputError, match=r"parameters\.json: expected a file of a whole record"):
        load(record)
    (record / artifacts.PARAMETERS).write_text('{"weights": [1]}')
    with pytest.raises(InputError, match=r"parameters\.json: expected a file of a whole record"):
        load(record)


def test_what_is_no_record_is_refused(record, tmp_path):
    with pytest.raises(InputError, match="but got none"):
        load("latest", outputs_dir=tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"run: expected the folder of a record, .* Did you mean .*mine\?"):
        load(record.with_name("mne"), outputs_dir=record.parents[1])
    write_json(tmp_path / "study" / "sweep.json", {})
    with pytest.raises(InputError, match=r"That is a sweep; name one of its runs, such as .*study/0"):
        load(tmp_path / "study")


def test_an_id_wants_a_store_that_is_there(tmp_path):
    with pytest.raises(InputError, match=r"tracking\.uri: .*mlflow\.db, which does not exist"):
        load("0123456789abcdef" * 2, outputs_dir=tmp_path)
    assert not any(tmp_path.iterdir())


def test_the_door_has_what_it_says():
    assert {name for name in gmm_pipeline.__all__ if callable(getattr(gmm_pipeline, name))} == set(gmm_pipeline.__all__)
    assert set(gmm_pipeline.__all__) <= set(dir(gmm_pipeline))
    assert all(getattr(gmm_pipeline, name).__doc__ for name in gmm_pipeline.__all__)
    with pytest.raises(AttributeError, match="nothing"):
        gmm_pipeline.nothing  # noqa: B018


IMPORTS = """
import sys
import gmm_pipeline
assert not {"numpy", "jax", "mlflow", "hydra"} & set(sys.modules), "import"
from gmm_pipeline import density
class mixture: weights, locs, scales = [1.0], [0.0], [1.0]
assert abs(density(mixture, [0.0])[0] - 0.3989422804014327) < 1e-15
assert not {"jax", "mlflow", "hydra", "matplotlib"} & set(sys.modules), "use"
"""


def test_importing_imports_nothing_heavy():
    finished = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
