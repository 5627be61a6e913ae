import jax
import numpy as np
import pytest
from by_em import a_job, a_result, density, fit_by_em
from conftest import ROUNDING_64
from hypothesis import given
from hypothesis import strategies as st

from gmm_pipeline.analysis import likelihood_ratio
from gmm_pipeline.analysis.likelihood_ratio import bootstrap_test, smallest_not_rejected
from gmm_pipeline.errors import InputError
from gmm_pipeline.model.mixture import Parameters, constrain
from gmm_pipeline.model.splitting import split_component

RANDOM = np.random.default_rng(11)
ONE_MODE = RANDOM.normal(size=80)
TWO_MODES = np.concatenate([RANDOM.normal(-3, 1, 40), RANDOM.normal(3, 1, 40)])
KEY = jax.random.PRNGKey(0)
MIXTURE = Parameters(np.array([0.3, -0.5, 2.0]), np.array([-2.0, 0.0, 4.0]), np.array([0.1, -0.7, 0.9]))


def log_likelihood(result, data) -> float:
    return float(np.sum(np.log(density(result, np.asarray(data, np.float64)))))


@given(st.integers(0, 2), st.booleans())
def test_halves_have_the_same_density(component, keep_scale):
    x = np.linspace(-10, 15, 101)
    split = split_component(MIXTURE, component, keep_scale=keep_scale)
    assert len(split.component_mus) == 4
    whole, halves = (a_result(*constrain(parameters)) for parameters in (MIXTURE, split))
    np.testing.assert_allclose(density(halves, x), density(whole, x), rtol=ROUNDING_64)


@given(st.integers(0, 2), st.floats(0.0, 0.95))
def test_halves_apart_keep_mean_and_variance(component, apart):
    whole, split = constrain(MIXTURE), constrain(split_component(MIXTURE, component, apart=apart))
    (mean, second), (kept, kept_second) = (
        (np.sum(m.weights * m.locs), np.sum(m.weights * (m.scales**2 + m.locs**2))) for m in (whole, split)
    )
    np.testing.assert_allclose(kept, mean, atol=1e-12)
    np.testing.assert_allclose(kept_second, second, rtol=1e-12)
    np.testing.assert_allclose(split.locs[-1] - split.locs[component], 2 * apart * whole.scales[component], atol=1e-12)


def test_halves_of_equal_scales_have_the_same_scale():
    equal = MIXTURE._replace(log_component_scales=np.full(3, 0.4))
    np.testing.assert_array_equal(split_component(equal, 1, apart=0.5, keep_scale=True).log_component_scales, 0.4)


def test_parameters_keep_their_precision():
    single = Parameters(*(leaf.astype(np.float32) for leaf in MIXTURE))
    assert {leaf.dtype.name for leaf in split_component(single, 0, apart=0.5)} == {"float32"}


def test_two_modes_are_not_one():
    job = a_job(TWO_MODES, 1)
    (fitted,) = fit_by_em([job])
    found = bootstrap_test(job, fitted, n_replicates=19, key=KEY, fit_all=fit_by_em)
    (two,) = fit_by_em([job._replace(plan=job.plan._replace(n_components=2))])
    expected = 2 * (log_likelihood(two, job.data) - log_likelihood(fitted, job.data))
    assert found.statistic == pytest.approx(expected, rel=1e-4)
    assert found.p_value == 1 / 20
    assert found.replicates.shape == (19,)
    assert np.all(found.replicates >= 0)
    assert found.n_failed == 0


def test_one_mode_is_not_two():
    job = a_job(ONE_MODE, 1)
    found = bootstrap_test(job, *fit_by_em([job]), n_replicates=19, key=KEY, fit_all=fit_by_em)
    assert found.p_value == (1 + np.sum(found.replicates >= found.statistic)) / 20
    assert found.p_value > 0.1


def test_the_same_key_gives_the_same_test():
    job = a_job(ONE_MODE, 1)
    first, again, other = (
        bootstrap_test(job, *fit_by_em([job]), n_replicates=4, key=jax.random.PRNGKey(seed), fit_all=fit_by_em)
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first.replicates, again.replicates)
    assert not np.array_equal(first.replicates, other.replicates)


def test_a_failed_search_for_more_components_is_counted_and_its_statistic_zero():
    def no_more_than_one(jobs):
        found = fit_by_em([job._replace(plan=job.plan._replace(n_components=1), begin=None) for job in jobs])
        poor = a_result([0.5, 0.5], [50.0, 60.0], [1.0, 1.0])
        lost = a_result([0.5, 0.5], [0.0, np.nan], [1.0, 1.0], diverged=True)
        spike = a_result([0.5, 0.5], [0.0, ONE_MODE[0]], [1.0, 1e-9], degenerate=(1,))
        worse = {0: poor, 1: lost, 2: spike}
        return [
            result if job.plan.n_components == 1 else worse[index % 3]
            for index, (job, result) in enumerate(zip(jobs, found, strict=True))
        ]

    job = a_job(ONE_MODE, 1)
    found = bootstrap_test(job, *fit_by_em([job]), n_replicates=5, key=KEY, fit_all=no_more_than_one)
    assert found.statistic == 0.0
    np.testing.assert_array_equal(found.replicates, 0.0)
    assert (found.p_value, found.n_refitted, found.n_improved, found.n_missed) == (1.0, 5, 0, 5)
    assert found.least_p_value == pytest.approx(1 / 6)


def test_replicates_that_more_starts_improve_take_their_new_place():
    """The larger fits of each second replicate fail at first."""
    job = a_job(TWO_MODES, 1, restarts=2)
    (fitted,) = fit_by_em([job])
    poor = a_result([0.5, 0.5], [50.0, 60.0], [1.0, 1.0])

    seen = set()

    def fails_at_first(jobs):
        whose = {data: place for place, data in enumerate(dict.fromkeys(one.data.tobytes() for one in jobs))}
        again = seen & whose.keys() if jobs[0].plan.n_components == 2 else set()
        seen.update(whose if jobs[0].plan.n_components == 2 else ())
        return [
            poor
            if one.plan.n_components == 2 and not again and len(whose) > 1 and whose[one.data.tobytes()] % 2
            else result
            for one, result in zip(jobs, fit_by_em(jobs), strict=True)
        ]

    found, whole = (
        bootstrap_test(job, fitted, n_replicates=6, key=KEY, fit_all=fit_all) for fit_all in (fails_at_first, fit_by_em)
    )
    assert (found.n_improved, found.n_missed, whole.n_improved, whole.n_missed) == (3, 0, 0, 0)
    # The fits of these tests end within some hundredths of their optimum.
    np.testing.assert_allclose(found.replicates, whole.replicates, atol=0.1)
    assert found.p_value == whole.p_value == 1 / 7


def test_replicates_without_a_sound_fit_are_left_out():
    job = a_job(TWO_MODES, 1)
    (fitted,) = fit_by_em([job])

    def every_other_null_diverges(jobs):
        found = fit_by_em(jobs)
        if len(jobs) != 2 * 6 or jobs[0].plan.n_components != 1:
            return found
        return [result._replace(diverged=index % 2 == 0) for index, result in enumerate(found)]

    found = bootstrap_test(job, fitted, n_replicates=6, key=KEY, fit_all=every_other_null_diverges)
    assert found.n_failed == 3
    assert found.p_value == 1 / 4


def test_fits_of_replicates_start_as_the_observed_ones_do_and_from_the_truth():
    calls = []

    def remember(jobs):
        calls.append(list(jobs))
        return fit_by_em(jobs)

    job = a_job(TWO_MODES, 2, equal_scales=True, restarts=3)
    (fitted,) = fit_by_em([job])
    bootstrap_test(job, fitted, n_replicates=4, key=KEY, fit_all=remember)
    nulls, larger, again = calls
    observed, alternatives = larger[:3], larger[3:]
    assert all(one.data is job.data for one in observed)
    # The data are searched as each replicate is, once: a test that looked longer at them would reject too often.
    assert {one.data.tobytes() for one in again} <= {one.data.tobytes() for one in alternatives}
    assert [one.begin is None for one in observed] == [True, False, False]
    assert [one.restarts for one in observed] == [3, 1, 1]
    assert [one.plan.n_components for one in nulls] == [2] * 8
    assert [one.begin is None for one in nulls] == [True] * 4 + [False] * 4
    np.testing.assert_allclose(nulls[-1].begin.component_mus, fitted.parameters.component_mus, rtol=1e-6)
    assert len(alternatives) == 4 * 3
    for one in (*observed, *alternatives):
        assert one.plan.n_components == 3
        assert one.equal_scales
        if one.begin is not None:
            assert {leaf.dtype for leaf in one.begin} == {job.data.dtype}
            assert np.ptp(one.begin.log_component_scales) < 1e-6
    for one in (*nulls, *alternatives):
        assert one.data.shape == job.data.shape
        assert one.data.dtype == job.data.dtype
    # Each replicate has data and a key of its own, and its fits share them.
    assert len({one.data.tobytes() for one in (*nulls, *alternatives)}) == 4
    assert len({np.asarray(one.key).tobytes() for one in nulls[:4]}) == 4


def test_replicates_are_drawn_from_the_fit():
    job = a_job(np.repeat(TWO_MODES, 50), 2)
    drawn = likelihood_ratio._replicates(job, a_result([0.25, 0.75], [-3.0, 5.0], [0.5, 2.0]), 5, KEY)
    assert drawn.shape == (5, 4000)
    left = drawn < -1.0
    assert left.mean() == pytest.approx(0.25, abs=5 * np.sqrt(0.25 * 0.75 / 20000))
    assert drawn.mean() == pytest.approx(3.0, abs=5 * np.sqrt((0.25 * 36.25 + 0.75 * 4.0 + 12.0) / 20000))


def test_counts_are_as_many_data():
    counts = np.random.default_rng(2).integers(0, 3, len(TWO_MODES))
    counted, repeated = a_job(TWO_MODES, 1, sample_weights=counts), a_job(np.repeat(TWO_MODES, counts), 1)
    first, second = (
        bootstrap_test(job, *fit_by_em([job]), n_replicates=3, key=KEY, fit_all=fit_by_em)
        for job in (counted, repeated)
    )
    assert first.statistic == pytest.approx(second.statistic, rel=1e-4)
    np.testing.assert_allclose(first.replicates, second.replicates, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("data", "expected"), [(ONE_MODE, 1), (TWO_MODES, 2)])
def test_the_smallest_number_that_is_not_rejected(data, expected):
    jobs = [a_job(data, k) for k in (1, 2, 3)]
    found = smallest_not_rejected(jobs, fit_by_em(jobs), level=0.1, n_replicates=9, key=KEY, fit_all=fit_by_em)
    assert found.n_components == expected
    assert [test.n_components for test in found.tests] == list(range(1, expected + 1))
    assert not found.all_rejected


def test_where_all_are_rejected_the_largest_sound_one():
    jobs = [a_job(TWO_MODES, k) for k in (1, 2)]
    results = fit_by_em(jobs)
    found = smallest_not_rejected(jobs, results, level=0.1, n_replicates=9, key=KEY, fit_all=fit_by_em)
    assert (found.n_components, found.all_rejected, len(found.tests)) == (2, True, 1)
    collapsed = [results[0], results[1]._replace(degenerate=(1,))]
    found = smallest_not_rejected(jobs, collapsed, level=0.1, n_replicates=9, key=KEY, fit_all=fit_by_em)
    assert (found.n_components, found.all_rejected) == (1, True)


def test_what_cannot_be_tested_is_refused():
    job = a_job(ONE_MODE, 1)
    (fitted,) = fit_by_em([job])
    with pytest.raises(InputError, match="replicates: expected 1 or more"):
        bootstrap_test(job, fitted, n_replicates=0, key=KEY, fit_all=fit_by_em)
    with pytest.raises(InputError, match="neither diverged nor collapsed"):
        bootstrap_test(job, fitted._replace(degenerate=(0,)), n_replicates=9, key=KEY, fit_all=fit_by_em)
    with pytest.raises(InputError, match="consecutive numbers of components to test"):
        jobs = [a_job(ONE_MODE, k) for k in (1, 3)]
        smallest_not_rejected(jobs, fit_by_em(jobs), level=0.1, n_replicates=9, key=KEY, fit_all=fit_by_em)
