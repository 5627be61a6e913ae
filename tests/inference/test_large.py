"""Fits of large data: condensed for searches and starts, improved on all data, in blocks."""

import jax
import numpy as np
import pytest
from sklearn.mixture import GaussianMixture

from gmm_pipeline.inference import large
from gmm_pipeline.inference.families import normal
from gmm_pipeline.inference.fits import fit
from gmm_pipeline.inference.restarts import log_posterior_at
from gmm_pipeline.model.mixture import constrain, exact
from tests.inference.test_search import SEARCH, job

RNG = np.random.default_rng(8)
MANY = RNG.permutation(np.concatenate([RNG.normal(-2.0, 1.0, 1200), RNG.normal(1.0, 0.4, 1000), RNG.normal(3, 1, 800)]))
CONDENSED = SEARCH._replace(most_data=1000, most_rows=1000, condensed_to=200)


@pytest.fixture(scope="module", autouse=True)
def short_blocks():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(large, "BLOCK", 256)
        yield


@pytest.fixture(scope="module")
def of_all():
    return job(MANY, search=CONDENSED)


@pytest.fixture(scope="module")
def answer(of_all):
    return fit(of_all)


def test_a_fit_of_condensed_data_ends_at_the_optimum_of_all_data(of_all, answer):
    data = of_all.data.astype(np.float64)[:, None]
    fitted = constrain(exact(answer.parameters))
    peer = GaussianMixture(
        3, tol=1e-10, max_iter=5000, weights_init=fitted.weights, means_init=fitted.locs[:, None],
        precisions_init=fitted.scales[:, None, None] ** -2.0,
    ).fit(data)  # fmt: skip
    reached = log_posterior_at(of_all, answer.parameters)
    assert reached == pytest.approx(len(data) * peer.score(data), abs=1e-2)
    assert answer.converged and answer.gradient_norm < of_all.gradient_tolerance
    assert 0 < answer.n_condensed <= 200
    # The optimum of condensed data is another one, by more than that.
    part = large.condensed([of_all])[0]
    assert len(part.data) == answer.n_condensed
    before = jax.tree.map(lambda leaf: leaf[-2], answer.history.parameters)
    assert log_posterior_at(of_all, before) <= reached + 1e-3


def test_the_history_goes_on_after_the_training_on_condensed_data(answer):
    assert (np.diff(answer.steps) > 0).all()
    assert answer.n_steps == answer.steps[-1] == answer.steps[-2] + 1
    assert len(answer.history.loss) == len(answer.steps)


def test_data_that_are_not_many_are_seen_as_they_are():
    of_few = job(MANY[:1000], search=CONDENSED)
    assert large.condensed([of_few])[0] is of_few
    assert large.condensed([job(MANY, search=None)])[0].data.shape == MANY.shape


def test_the_number_of_threads_changes_nothing(of_all, answer):
    part = large.condensed([of_all])[0]
    begun = answer._replace(parameters=jax.tree.map(lambda leaf: leaf[0], answer.history.parameters))
    ends = [large.improved_on_all(of_all, part, begun, None, workers) for workers in (1, 3)]
    for one, other in zip(*map(jax.tree.leaves, ends), strict=True):
        np.testing.assert_array_equal(one, other)
    assert len(ends[0].history.loss) > len(begun.history.loss) + 2
    assert ends[0].gradient_norm < of_all.gradient_tolerance


def test_passes_end_where_rounding_keeps_the_gradient_from_getting_shorter(of_all, answer):
    never_at_rest = of_all._replace(gradient_tolerance=0.0)
    part = large.condensed([never_at_rest])[0]
    ended = large.improved_on_all(never_at_rest, part, answer, None, 1)
    n_passes = len(ended.history.loss) - len(answer.history.loss)
    assert large.PATIENCE < n_passes < large.MOST_PASSES
    assert not ended.converged
    assert log_posterior_at(of_all, ended.parameters) >= log_posterior_at(of_all, answer.parameters) - 1e-3


def test_fits_of_the_same_data_share_the_condensed_ones(of_all):
    one, other = large.condensed([of_all, of_all._replace(equal_scales=True)])
    assert one.data is other.data and one.sample_weights is other.sample_weights


@pytest.mark.parametrize("data", [MANY, np.round(MANY), np.append(MANY, 1e4)], ids=["plain", "rounded", "with outlier"])
def test_groups_keep_the_number_the_mean_and_nearly_the_variance_of_the_data(data):
    values = data.astype(np.float32)
    sites, counts = normal.condensed_large(values, np.broadcast_to(np.float32(1.0), len(values)), 200)
    assert len(sites) <= 200 and counts.sum() == len(data)
    mean, spread = np.average(sites, weights=counts), float(np.std(values.astype(np.float64)))
    assert mean == pytest.approx(values.astype(np.float64).mean(), abs=1e-4 * spread)
    assert np.sqrt(np.average((sites - mean) ** 2, weights=counts)) == pytest.approx(spread, rel=1e-3)


def test_groups_of_weighted_data_and_of_narrow_clusters_are_those_of_sorting():
    values = np.concatenate([MANY, RNG.normal(0.5, 1e-4, 2000), [50.0, -40.0]])
    weights = RNG.integers(0, 4, len(values)).astype(np.float64)
    sites, counts = normal.condensed_large(values, weights, 400)
    expected_sites, expected_counts = normal.condensed(values, weights, 400)
    assert len(sites) == pytest.approx(len(expected_sites), rel=0.02)
    for power in (1, 2, 3):
        found, expected = (
            np.average(x**power, weights=c) for x, c in ((sites, counts), (expected_sites, expected_counts))
        )
        assert found == pytest.approx(expected, rel=1e-3)
    near, expected_near = (x[np.abs(x - 0.5) < 1e-3] for x in (sites, expected_sites))
    assert len(near) > 0.5 * len(expected_near) > 20
