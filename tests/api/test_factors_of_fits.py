"""Fits of factor analysers, from data to records: held to the planted factors and to other models."""

import json
from typing import Any

import numpy as np
import pytest
from sklearn import mixture
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score

import gmm_pipeline as gmm
from gmm_pipeline.sklearn import GaussianMixture

pytestmark = pytest.mark.usefixtures("quickly_compiled")

RANDOM = np.random.default_rng(2)
N, D, Q, K = 300, 8, 2, 2
LABELS = np.repeat([0, 1], [180, 120])
LOADINGS = 1.5 * RANDOM.normal(size=(K, D, Q))
LOCS = RANDOM.normal(size=(K, D))
DATA = LOCS[LABELS] + np.einsum("nij,nj->ni", LOADINGS[LABELS], RANDOM.normal(size=(N, Q)))
DATA += 0.6 * RANDOM.normal(size=(N, D))
QUICK: dict[str, Any] = {"prior": "flat", "restarts": 1, "figures": "none", "animation": "none", "tracking": "none"}
SHORT: dict[str, Any] = {"search": {"rounds": 3, "mixtures": 16, "kept": 4}}


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory):
    return tmp_path_factory.mktemp("factors") / "record"


@pytest.fixture(scope="module")
def chosen(record):
    selection = {"smallest": 2, "largest": 3, "covariances": ["diagonal", "factor"]}
    keys: dict[str, Any] = {
        "n_components": "auto",
        "covariance": "auto",
        "factors": Q,
        "selection": selection,
        "optimizer": "squarem",
    }
    return gmm.fit(DATA, record=record, **keys, **QUICK, **SHORT)


def test_of_data_from_factors_their_model_and_number_of_components_are_chosen(chosen):
    assert (chosen.covariance_model, len(chosen.weights)) == ("factor", K)
    assert adjusted_rand_score(LABELS, chosen.labels) > 0.98
    table = chosen.selection
    rows = table[(table["covariance"] == "factor") & (table["n_components"] == K)]
    each = D * Q - Q * (Q - 1) / 2 + D
    expected = -2.0 * rows["log_likelihood"] + (K - 1 + K * (D + each)) * np.log(N)
    np.testing.assert_allclose(rows["bic"], expected, rtol=1e-12)
    assert rows["bic"].item() == table["bic"].min()
    full = (mixture.GaussianMixture(k, n_init=2, random_state=0).fit(DATA).bic(DATA) for k in (1, 2, 3))
    assert rows["bic"].item() < min(full)


def test_loadings_and_uniquenesses_make_the_covariances(chosen, record):
    content = json.loads((record / "parameters.json").read_text())
    assert content["covariance_model"] == "factor"
    for loadings, uniquenesses in (
        (chosen.loadings, chosen.uniquenesses),
        (np.array(content["loadings"]), np.array(content["uniquenesses"])),
    ):
        together = loadings @ loadings.swapaxes(1, 2) + uniquenesses[:, :, None] * np.eye(D)
        np.testing.assert_allclose(together, chosen.covariances, rtol=1e-10, atol=1e-12)
    lengths = np.einsum("kiq,ki,kir->kqr", chosen.loadings, 1.0 / chosen.uniquenesses, chosen.loadings)
    np.testing.assert_allclose(lengths * (1 - np.eye(Q)), 0.0, atol=1e-9 * lengths.max())
    np.testing.assert_allclose(chosen.covariances, gmm.load(record).covariances)
    errors = chosen.standard_errors
    true = LOADINGS @ LOADINGS.swapaxes(1, 2) + 0.36 * np.eye(D)
    order = np.argsort(np.abs(chosen.locs[:, None] - LOCS).sum(axis=2), axis=1)[:, 0]
    assert (np.abs(chosen.covariances - true[order]) < 4.5 * errors.covariances).all()
    assert "factor (2 factors)" in repr(chosen)


def test_the_estimator_fits_factors_by_gradients(chosen):
    overrides = [f"factors={Q}", "search=none", "init=kmeans", "optimizer=adam"]
    model = GaussianMixture(K, covariance_type="factor", n_init=2, max_iter=800, overrides=overrides)
    with pytest.warns(ConvergenceWarning, match="800 steps"):
        found = model.fit(DATA)
    assert N * found.score(DATA) == pytest.approx(chosen.metrics["log_likelihood"], abs=1.0)
    assert found.covariance_model_ == "factor"
    assert found.covariances_.shape == (K, D, D)


@pytest.mark.parametrize(
    ("data", "keys", "message"),
    [
        (DATA, {"factors": 5}, "factors: expected at most 4 for 8 columns"),
        (DATA, {"factors": 0}, "factors: expected"),
        (DATA[:, :2], {}, "covariance: expected another model for 2 columns"),
        (DATA[:, 0], {}, "covariance: expected full or auto where data have one column"),
        (DATA, {"prior": "weakly_informative"}, "prior: expected flat or dirichlet with covariance=factor"),
        (DATA, {"prior": "dirichlet_process"}, "prior: expected flat or dirichlet with covariance=factor"),
        (
            np.where(np.arange(D) == np.arange(N)[:, None], np.nan, DATA),
            {"overrides": ["data.missing=marginalise"]},
            "covariance: expected another model where rows have missing cells",
        ),
    ],
)
def test_what_factors_cannot_do_is_refused(data, keys, message):
    with pytest.raises(gmm.InputError, match=message):
        gmm.fit(data, covariance="factor", n_components=2, **{**QUICK, **keys})


@pytest.mark.parametrize(
    ("data", "advice"),
    [
        (DATA[:7], "covariance=diagonal or covariance=factor, or leave"),
        (np.where((np.arange(N) % 2 == 0)[:, None] == (np.arange(3) == 0), DATA[:, :3], np.nan), "=diagonal, or leave"),
    ],
)
def test_factors_are_advised_where_they_can_be_had(data, advice):
    with pytest.raises(gmm.InputError, match=f"covariance: expected a diagonal or .* Use .*{advice}"):
        gmm.fit(data, n_components=2, **{**QUICK, "overrides": ["data.missing=marginalise"]})
