import jax
import numpy as np
import pytest
from conftest import ROUNDING_64
from scipy import stats
from small_fits import DATA, job

from gmm_pipeline.analysis.bootstrap import natural, percentile_intervals, replicates, resampled
from gmm_pipeline.analysis.matching import in_order_of
from gmm_pipeline.analysis.uncertainty import peak_of, uncertainty
from gmm_pipeline.inference import fits
from gmm_pipeline.inference.jobs import FitResult
from gmm_pipeline.inference.scaling import IDENTITY, Scaling
from gmm_pipeline.model.mixture import Mixture, constrain

KEY = jax.random.PRNGKey(7)


@pytest.fixture(scope="module")
def result() -> FitResult:
    return fits.fit(job(steps=200))


def test_a_replicate_is_the_run_with_other_counts_begun_at_the_fit(result):
    original = job(steps=200)
    made = replicates(original, result, range(5), KEY)
    assert len(made) == 5
    for replicate in made:
        assert replicate.data is original.data
        assert (replicate.plan, replicate.steps, replicate.restarts) == (original.plan, 200, 1)
        assert replicate.begin is result.parameters
        assert replicate.sample_weights.dtype == np.float32
        assert replicate.sample_weights.sum() == len(original.data)
    assert len({replicate.sample_weights.tobytes() for replicate in made}) == 5


def test_a_replicate_depends_on_its_number_and_the_key_alone(result):
    some, many = (replicates(job(), result, range(first, 9), KEY) for first in (6, 0))
    for one, same in zip(some, many[6:], strict=True):
        np.testing.assert_array_equal(one.sample_weights, same.sample_weights)


def test_both_kinds_of_key_draw_the_same():
    old, new = (resampled(key, np.ones(20)) for key in (jax.random.PRNGKey(7), jax.random.key(7)))
    np.testing.assert_array_equal(old, new)
    assert not np.array_equal(old, resampled(jax.random.PRNGKey(8), np.ones(20)))


def test_a_replicate_that_degenerates_where_the_fit_does_not_is_no_answer(result):
    fit = result._replace(degenerate=(1,))
    for degenerate, sound in (((), True), ((1,), True), ((0,), False), ((0, 1), False)):
        assert np.isfinite(natural(result._replace(degenerate=degenerate), fit, IDENTITY)).all() == sound
    assert np.isnan(natural(result._replace(diverged=True), fit, IDENTITY)).all()


def test_replicates_are_in_the_users_units(result):
    found = natural(result, result, Scaling(100.0, 10.0))
    locs = np.asarray(result.parameters.component_mus, np.float64)
    np.testing.assert_allclose(found.locs, 100.0 + 10.0 * locs, rtol=ROUNDING_64)
    np.testing.assert_allclose(found.scales, 10.0 * constrain(result.parameters).scales, rtol=ROUNDING_64)


def test_the_errors_of_the_bootstrap_are_those_of_the_information(result):
    """Two sound ways to one quantity, which differ by the sample and the number of replicates."""
    again = fits.fit_all(replicates(job(steps=200), result, range(200), KEY))
    fitted = constrain(result.parameters)
    mixtures = [in_order_of(fitted, natural(fit, result, IDENTITY)) for fit in again]
    found = percentile_intervals(fitted, mixtures, 0.95)
    assert found.dropped == 0
    expected = uncertainty(peak_of(job(), result, DATA))
    np.testing.assert_allclose(
        np.concatenate(found.standard_errors), np.concatenate(expected.standard_errors), rtol=0.3
    )


@pytest.mark.parametrize("sample_weights", [np.ones(40), np.tile([3.0, 0.0, 1.0, 0.5, 0.0], 8)])
def test_counts_are_multinomial(sample_weights):
    n_replicates, total = 1000, sample_weights.sum()
    drawn = np.array([resampled(key, sample_weights) for key in jax.random.split(KEY, n_replicates)])
    np.testing.assert_array_equal(drawn.sum(axis=1), total)
    np.testing.assert_array_equal(drawn, np.round(drawn))
    assert not drawn[:, sample_weights == 0].any()
    variance = sample_weights * (1 - sample_weights / total)
    # Five standard errors, over forty data.
    assert np.all(np.abs(drawn.mean(axis=0) - sample_weights) <= 5 * np.sqrt(variance / n_replicates))
    never = int((drawn[:, 0] == 0).sum())
    assert stats.binomtest(never, n_replicates, (1 - sample_weights[0] / total) ** total).pvalue > 1e-6


@pytest.mark.parametrize(("sample_weights", "n_draws"), [([0.5, 1.2, 2.1], 4), ([0.1, 0.1, 0.1], 1), ([1.0, 2.5], 4)])
def test_a_total_that_is_not_whole_stays(sample_weights, n_draws):
    sample_weights = np.array(sample_weights)
    for number in range(20):
        drawn = resampled(jax.random.fold_in(KEY, number), sample_weights)
        np.testing.assert_allclose(drawn.sum(), sample_weights.sum(), rtol=ROUNDING_64)
        in_draws = drawn * n_draws / sample_weights.sum()
        np.testing.assert_allclose(in_draws, np.round(in_draws), atol=1e-9)


FITTED = Mixture(np.array([0.3, 0.7]), np.array([-2.0, 3.0]), np.array([1.0, 2.0]))


def noisy(n: int) -> list[Mixture]:
    random = np.random.default_rng(0)
    shares = 0.3 + 0.02 * random.normal(size=n)
    return [
        Mixture(
            np.array([share, 1 - share]),
            FITTED.locs + 0.1 * random.normal(size=2),
            FITTED.scales * np.exp(0.05 * random.normal(size=2)),
        )
        for share in shares
    ]


def test_percentiles_are_those_of_the_replicates_whatever_their_labels():
    ordered = noisy(301)
    turned = [Mixture(*(leaf[::-1] for leaf in m)) if number % 3 else m for number, m in enumerate(ordered)]
    found = percentile_intervals(FITTED, [in_order_of(FITTED, one) for one in turned], 0.9)
    assert (found.kept, found.dropped) == (301, 0)
    for leaf, lower, upper, errors in zip(
        zip(*ordered, strict=True), found.lower, found.upper, found.standard_errors, strict=True
    ):
        # Of 301 values the 15th and the 15th from the end have a twentieth of the rest beyond them.
        in_order = np.sort(np.stack(leaf), axis=0)
        np.testing.assert_allclose(lower, in_order[15], rtol=ROUNDING_64)
        np.testing.assert_allclose(upper, in_order[-16], rtol=ROUNDING_64)
        np.testing.assert_allclose(errors, np.stack(leaf).std(axis=0, ddof=1), rtol=1e-9)


def test_what_is_degenerate_has_no_interval_of_loc_and_scale():
    of_all = percentile_intervals(FITTED, noisy(9), 0.9)
    found = percentile_intervals(FITTED, noisy(9), 0.9, [1])
    for one, whole in zip(found[:3], of_all[:3], strict=True):
        assert np.isnan([one.locs[1], one.scales[1]]).all()
        np.testing.assert_array_equal(one.weights, whole.weights)
        np.testing.assert_array_equal(one.scales[0], whole.scales[0])


def test_what_went_wrong_is_left_out_and_counted():
    wrong = Mixture(np.array([0.3, 0.7]), np.array([np.nan, 3.0]), np.array([1.0, 2.0]))
    sound = noisy(50)
    found = percentile_intervals(FITTED, [*sound[:20], wrong, *sound[20:], wrong], 0.95)
    assert (found.kept, found.dropped) == (50, 2)
    expected = percentile_intervals(FITTED, sound, 0.95)
    np.testing.assert_array_equal(found.lower, expected.lower)
    np.testing.assert_array_equal(found.upper, expected.upper)


@pytest.mark.parametrize("n_sound", [0, 1])
def test_too_few_replicates_say_nothing(n_sound):
    found = percentile_intervals(FITTED, noisy(n_sound), 0.95)
    assert found.kept == n_sound
    assert np.isnan(found.lower).all()
    assert np.isnan(found.standard_errors).all()


def test_a_fit_that_diverged_has_no_intervals():
    nothing = Mixture(*[np.full(2, np.nan)] * 3)
    found = percentile_intervals(nothing, [in_order_of(nothing, one) for one in noisy(30)], 0.95)
    assert np.isnan(found.lower).all()
