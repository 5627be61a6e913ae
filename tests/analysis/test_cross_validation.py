import jax
import jax.numpy as jnp
import numpy as np
import pytest
from by_em import a_job, a_result, density, fit_by_em, of_scikit_learn
from hypothesis import given
from hypothesis import strategies as st
from sklearn.mixture import GaussianMixture
from small_fits import plugin

from gmm_pipeline.analysis import cross_validation
from gmm_pipeline.errors import InputError
from gmm_pipeline.inference.scaling import IDENTITY, scaling_of, to_fit_units, to_user_units
from gmm_pipeline.model import inits

RANDOM = np.random.default_rng(7)
DATA = np.concatenate([RANDOM.normal(-3, 1, 50), RANDOM.normal(3, 2, 70)]).astype(np.float32).astype(np.float64)
ONES = np.ones(len(DATA))
KEY = jax.random.PRNGKey(3)


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0, 5.0]), min_size=2, max_size=40), st.integers(2, 12), st.integers(0, 99))
def test_folds_share_the_data_out_evenly(sample_weights, n_folds, seed):
    weights = np.array(sample_weights)
    n_counted = int(np.sum(weights > 0))
    if n_folds > n_counted:
        with pytest.raises(InputError, match=f"folds: expected from 2 to {n_counted}, the number of observations"):
            cross_validation.folds_of(weights, n_folds, jax.random.PRNGKey(seed))
        return
    folds = cross_validation.folds_of(weights, n_folds, jax.random.PRNGKey(seed))
    np.testing.assert_array_equal(folds == -1, weights == 0)
    sizes = np.bincount(folds[folds >= 0], minlength=n_folds)
    assert len(sizes) == n_folds
    assert np.ptp(sizes) <= 1
    np.testing.assert_array_equal(folds, cross_validation.folds_of(weights, n_folds, jax.random.PRNGKey(seed)))


def test_folds_are_random():
    folds = [cross_validation.folds_of(ONES, 5, jax.random.PRNGKey(seed)) for seed in range(2)]
    assert not np.array_equal(folds[0], folds[1])
    assert len(np.unique(folds[0][:20])) == 5


@pytest.mark.parametrize("n_folds", [-1, 0, 1, 121])
def test_a_number_of_folds_that_is_none_is_refused(n_folds):
    with pytest.raises(InputError, match="folds: expected from 2 to 120"):
        cross_validation.fold_jobs(a_job(DATA), n_folds, KEY)


def test_training_data_that_are_all_the_same_are_refused():
    with pytest.raises(InputError, match="expected at least two different values in each training set"):
        cross_validation.fold_jobs(a_job([1.0, 1.0, 1.0, 2.0]), 4, KEY)
    assert len(cross_validation.fold_jobs(a_job([1.0, 1.0, 2.0, 2.0]), 4, KEY)) == 4


def test_each_fit_leaves_its_fold_out_and_nothing_else():
    weights = np.random.default_rng(0).integers(0, 3, len(DATA))
    job = a_job(DATA, sample_weights=weights)
    folds, jobs = cross_validation.folds_of(job.sample_weights, 7, KEY), cross_validation.fold_jobs(job, 7, KEY)
    assert len({tuple(np.asarray(one.key).tolist()) for one in jobs}) == 7
    for fold, one in enumerate(jobs):
        np.testing.assert_array_equal(one.sample_weights, np.where(folds == fold, 0, weights))
        assert one.sample_weights.dtype == job.sample_weights.dtype
        assert one.data is job.data
        assert one.plan is job.plan
    # Each datum is left out once.
    np.testing.assert_array_equal(sum(job.sample_weights - one.sample_weights for one in jobs), weights)


@pytest.mark.parametrize(
    "init", [plugin(inits.kmeans, smallest_scale=0.05), plugin(inits.quantile, jitter=0.5, overlap=2.0)]
)
@pytest.mark.parametrize("n_components", [1, 4])
def test_starts_know_data_of_weight_zero(init, n_components):
    # A far outlier that does not count: a start that saw it would lie there.
    data, weights = jnp.append(DATA, 1e4), jnp.append(ONES, 0.0)
    for key in jax.random.split(KEY, 20):
        start = init(key, data, weights, n_components)
        assert all(np.isfinite(leaf).all() for leaf in start)
        assert np.max(start.component_mus) <= DATA.max()
        assert np.max(start.log_component_scales) < np.log(2.1 * DATA.std())


def test_each_datum_is_judged_by_the_fit_that_left_it_out():
    scaling = scaling_of(DATA, ONES)
    data = to_fit_units(DATA, scaling)
    counts = np.random.default_rng(0).integers(0, 3, len(DATA)).astype(float)
    job = a_job(data, sample_weights=counts)
    folds, results = (
        cross_validation.folds_of(job.sample_weights, 5, KEY),
        fit_by_em(cross_validation.fold_jobs(job, 5, KEY)),
    )
    found = cross_validation.held_out(results, folds, data, counts, scaling)
    in_user_units = [result._replace(parameters=to_user_units(result.parameters, scaling)) for result in results]
    expected = np.array(
        [np.log(density(in_user_units[fold], DATA[i : i + 1])[0]) if fold >= 0 else 0.0 for i, fold in enumerate(folds)]
    )
    np.testing.assert_allclose(found.log_densities, expected, rtol=1e-9)
    np.testing.assert_allclose(found.log_likelihood, np.sum(counts * expected), rtol=1e-9)
    np.testing.assert_allclose(found.by_fold, [np.sum((counts * expected)[folds == fold]) for fold in range(5)])
    repeated = np.repeat(expected, counts.astype(int))
    np.testing.assert_allclose(found.standard_error, np.sqrt(len(repeated)) * repeated.std(ddof=1))


def test_equal_to_scikit_learn_trained_on_the_same_folds():
    folds = cross_validation.folds_of(ONES, 4, KEY)
    results, expected = [], np.zeros(len(DATA))
    for fold in range(4):
        sklearn = GaussianMixture(2, random_state=0).fit(DATA[folds != fold, None])
        expected[folds == fold] = sklearn.score_samples(DATA[folds == fold, None])
        results.append(of_scikit_learn(sklearn))
    found = cross_validation.held_out(results, folds, DATA, ONES, IDENTITY)
    np.testing.assert_allclose(found.log_densities, expected, rtol=1e-9)


def test_one_fold_that_diverged_leaves_no_held_out_log_likelihood():
    folds = cross_validation.folds_of(ONES, 2, KEY)
    sound = a_result([0.4, 0.6], [-3.0, 3.0], [1.0, 2.0], degenerate=(1,))
    lost = a_result([1.0, 1.0], [np.nan, 3.0], [1.0, 2.0], diverged=True)
    found = cross_validation.held_out([sound, lost], folds, DATA, ONES, IDENTITY)
    assert np.isnan(found.log_likelihood)
    assert np.isnan(found.standard_error)
    assert np.isfinite(found.by_fold[0])
    assert found.n_degenerate == 1


def test_far_data_are_finite():
    far = a_result([1.0], [0.0], [1e-3])
    found = cross_validation.held_out([far, far], cross_validation.folds_of(ONES, 2, KEY), 100 * DATA, ONES, IDENTITY)
    assert np.isfinite(found.log_likelihood)


def test_no_gap_to_oneself():
    folds = cross_validation.folds_of(ONES, 2, KEY)
    one = cross_validation.held_out([a_result([1.0], [0.0], [4.0])] * 2, folds, DATA, ONES, IDENTITY)
    other = cross_validation.held_out([a_result([1.0], [1.0], [4.0])] * 2, folds, DATA, ONES, IDENTITY)
    assert cross_validation.standard_error_of_gap(one, one, ONES) == 0.0
    gap = cross_validation.standard_error_of_gap(one, other, ONES)
    assert gap == pytest.approx(np.sqrt(len(DATA)) * np.std(one.log_densities - other.log_densities, ddof=1))
    assert gap < one.standard_error
