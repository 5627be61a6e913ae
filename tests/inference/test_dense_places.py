"""Groups of a few rows in many, which a search of a part of them does not see."""

import numpy as np
import pytest
from scipy import stats
from test_search import SEARCH
from test_search_of_columns import a_job

from gmm_pipeline.inference.families.dense_places import neighbours
from gmm_pipeline.inference.search import search
from gmm_pipeline.model.covariances import Kind
from gmm_pipeline.model.multivariate import constrain_multivariate, parameters_of
from gmm_pipeline.model.natural import MultivariateMixture

RANDOM = np.random.default_rng(2)
WIDE, FEW = RANDOM.normal(size=(4000, 3)), RANDOM.normal([1.2, -1.0, 0.8], 0.1, (25, 3))
DATA = np.concatenate([WIDE, FEW])[RANDOM.permutation(4025)]
UNITS = np.array([1.0, 1e4, 1e-4])


@pytest.mark.parametrize("units", [np.ones(3), UNITS])
def test_densities_by_neighbours_are_near_those_of_the_draws(units):
    found = neighbours(WIDE * units, np.ones(len(WIDE)), kind=Kind.FULL)
    expected = stats.norm.logpdf(found.cloud.data[found.at], 0.0, units).sum(axis=1)
    inside = expected > np.quantile(expected, 0.3)  # beyond, a ball of neighbours reaches to where they are denser
    assert np.mean(found.log_density[inside] - expected[inside]) == pytest.approx(0.0, abs=0.1)
    assert np.std(found.log_density[inside] - expected[inside]) < 0.6


@pytest.mark.parametrize(("kind", "model"), [(Kind.FULL, "VVV"), (Kind.DIAGONAL, "VEI"), (Kind.FULL, "EEE")])
def test_a_component_is_moved_to_the_group_that_a_mixture_lacks(kind, model):
    found = neighbours(DATA * UNITS, np.ones(len(DATA)), kind=kind)
    lacks = MultivariateMixture(
        np.array([0.9, 0.1]), np.zeros((2, 3)), np.diag(UNITS**2) * np.array([1, 1.2])[:, None, None]
    )
    first, second, *_ = [constrain_multivariate(one) for one in found.denser(parameters_of(lacks, kind), model)]
    for one in (first, second):  # in place of either component
        away = np.linalg.norm(one.locs / UNITS - [1.2, -1.0, 0.8], axis=1)
        assert away.min() < 0.1
        assert one.weights.sum() == pytest.approx(1.0)
        np.testing.assert_allclose(one.weights[away.argmin()], 8 / len(DATA))
        sizes = np.diagonal(one.covariances, axis1=1, axis2=2) / UNITS**2
        assert (sizes[away.argmin()] < 0.2).all() != (model[0] == "E")


def test_a_search_of_some_rows_finds_a_group_that_they_lack():
    job = a_job(DATA, "VVV", 2, restarts=2)
    whole = SEARCH._replace(rows=200, rounds=4)
    (found,) = search([job], whole)
    best = constrain_multivariate(found.best.parameters)
    assert best.weights.min() == pytest.approx(25 / 4025, rel=0.2)
    assert found.n_agreeing == 2
