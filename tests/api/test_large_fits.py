"""A fit from Python of more data than searches and starts see as they are."""

from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

import gmm_pipeline as gmm
from gmm_pipeline.records import evaluations

DATA = np.random.default_rng(4).normal([-2.0, 3.0], [1.0, 0.7], (400, 2)).ravel()
SHORT: dict[str, Any] = {"rounds": 3, "mixtures": 16, "kept": 4, "most_data": 500, "condensed_to": 100}


@pytest.fixture(scope="module")
def fit():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluations, "BLOCK", 256)
        yield gmm.fit(DATA, n_components=2, prior="flat", optimizer="squarem", restarts=2, search=SHORT)


def test_labels_and_log_likelihood_are_of_all_data(fit):
    joint = fit.weights * norm.pdf(DATA[:, None], fit.locs, fit.scales)
    np.testing.assert_array_equal(fit.labels, joint.argmax(axis=1))
    np.testing.assert_allclose(fit.responsibilities, joint / joint.sum(axis=1, keepdims=True), rtol=1e-9, atol=1e-300)
    assert fit.metrics["log_likelihood"] == pytest.approx(np.log(joint.sum(axis=1)).sum(), rel=1e-12)


def test_the_verdict_says_what_the_searches_saw(fit):
    n_condensed = fit.metrics["n_condensed"]
    assert 50 < n_condensed <= 100
    said = f"2 of 2 independent searches found this optimum in {n_condensed} groups of neighbouring observations, "
    assert any(clause.startswith(f"{said}and it was improved on all 800") for clause in fit.verdict)
