"""What speaks against a fit; the oracles are SciPy's densities, EM in NumPy, and Hessians by finite differences."""

import itertools

import jax
import numpy as np
import pytest
from by_em import a_job, a_result, density, fit_by_em
from conftest import REAL
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from small_fits import OVER_STICKS, job, plugin

from gmm_pipeline.analysis.doubts import BARRING, Doubt, Reason, barred, clause_of
from gmm_pipeline.analysis.verdicts import _of_few_data, climb, coincident, doubts_of
from gmm_pipeline.inference.calls import fit_starts
from gmm_pipeline.inference.collapse import collapsing
from gmm_pipeline.inference.families.normals import normals
from gmm_pipeline.inference.jobs import HistoryEntry
from gmm_pipeline.model import priors
from gmm_pipeline.model.covariances import kind_of
from gmm_pipeline.model.mixture import Mixture, Parameters, constrain
from gmm_pipeline.model.splitting import merged

pytestmark = pytest.mark.usefixtures("quickly_compiled")

RANDOM = np.random.default_rng(5)
APART = np.concatenate([RANDOM.normal(-4, 1, 150), RANDOM.normal(4, 1.5, 150)])
ZERO_OR_ONE = np.repeat([0.0, 1.0], [57, 143])
SKEWED = RANDOM.lognormal(0, 1, 400)


def logs(mixture: Mixture) -> Parameters:
    return Parameters(np.log(mixture.weights), mixture.locs, np.log(mixture.scales))


def maximum(job, begin: Mixture, steps: int = 20_000):
    """EM in NumPy, to rounding."""
    weights, locs, scales = (np.asarray(leaf, float)[:, None] for leaf in begin)
    x = job.data.astype(float)
    for _ in range(steps):
        joint = weights * np.exp(-0.5 * ((x - locs) / scales) ** 2) / scales
        r = joint / joint.sum(axis=0)
        counts = r.sum(axis=1, keepdims=True)
        new_locs = (r @ x)[:, None] / counts
        squares = np.sum(r * (x - new_locs) ** 2, axis=1, keepdims=True)
        new_scales = (
            np.sqrt(squares.sum() / len(x)) * np.ones_like(scales) if job.equal_scales else np.sqrt(squares / counts)
        )
        moved = max(np.abs(new_locs - locs).max(), np.abs(new_scales - scales).max())
        weights, locs, scales = counts / len(x), new_locs, new_scales
        if moved < 1e-13:
            break
    return a_result(weights[:, 0], locs[:, 0], scales[:, 0])


def reasons(job, result) -> list[Reason]:
    return [doubt.reason for doubt in doubts_of(job, result, job.data.astype(float))]


def log_likelihood(result, data) -> float:
    return float(np.log(density(result, data.astype(float))).sum())


def alike(data, n=2):
    """The same component so many times: the mean and deviation of the data."""
    return a_result([1 / n] * n, [data.mean()] * n, [data.std()] * n)


@pytest.mark.parametrize("equal_scales", [True, False])
def test_a_maximum_of_separate_components_has_no_doubts(equal_scales):
    job = a_job(APART, equal_scales=equal_scales)
    found = maximum(job, Mixture(np.full(2, 0.5), np.array([-4.0, 4.0]), np.full(2, 1.0)))
    assert reasons(job, found) == []


@pytest.mark.parametrize("data", [ZERO_OR_ONE, SKEWED, APART], ids=["0 or 1", "skewed", "two modes"])
@pytest.mark.parametrize("equal_scales", [True, False])
def test_components_at_the_same_place_coincide(data, equal_scales):
    job = a_job(data, equal_scales=equal_scales)
    doubts = doubts_of(job, alike(data), job.data.astype(float))
    assert Doubt(Reason.COINCIDENT, (0, 1)) in doubts
    assert "components 0 and 1 coincide" in clause_of(doubts[0])


def test_three_of_four_may_coincide():
    mixture = Mixture(np.array([0.1, 0.5, 0.2, 0.2]), np.array([-4.0, 4.0, -4.0, -4.0]), np.array([1.0, 1.5, 1.0, 1.0]))
    assert coincident(a_job(APART, 4), logs(mixture), APART) == [(0, 2, 3)]


def test_coincident_spikes_at_the_floor_coincide_and_components_of_no_data_are_left_alone():
    job = a_job(np.concatenate([APART, np.zeros(60)]), 3)
    spikes = Mixture(np.array([0.1, 0.8, 0.1]), np.array([0.0, 0.0, 0.0]), np.array([0.04, 4.0, 0.04]))
    assert coincident(job, logs(spikes), job.data.astype(float)) == [(0, 2)]
    empty = Mixture(np.array([0.9, 0.1, 1e-9]), np.array([0.0, 0.0, 0.0]), np.array([4.0, 0.04, 0.04]))
    assert coincident(job, logs(empty), job.data.astype(float)) == []


@given(st.floats(0.05, 0.95), st.floats(-1, 1), st.floats(0.5, 2), st.booleans())
def test_merging_keeps_weight_and_moments(share, apart, ratio, equal_scales):
    scales = np.array([1.0, 1.0 if equal_scales else ratio, 1.0 if equal_scales else 3.0])
    mixture = Mixture(np.array([0.6 * share, 0.6 * (1 - share), 0.4]), np.array([0.0, apart, 9.0]), scales)
    one = constrain(merged(logs(mixture), 0, 1, keep_scale=equal_scales))
    np.testing.assert_allclose(one.weights, [0.6, 0.4])
    np.testing.assert_allclose(one.weights @ one.locs, mixture.weights @ mixture.locs)
    if equal_scales:
        np.testing.assert_array_equal(one.scales, 1.0)
    else:
        second = [np.sum(m.weights * (m.scales**2 + m.locs**2)) for m in (one, mixture)]
        np.testing.assert_allclose(*second)


def test_components_coincide_where_one_component_has_their_likelihood_by_scipy():
    """Pairs ever farther apart: the verdict changes where SciPy's densities of both mixtures part by 0.01 nats."""
    quantiles = stats.norm.ppf((np.arange(3000) + 0.5) / 3000)
    job = a_job(np.concatenate([quantiles - 4.5, quantiles - 3.5, quantiles + 4.0]), 3)
    seen = []
    for apart in np.linspace(0.0, 0.5, 11):
        pair = Mixture(np.full(3, 1 / 3), np.array([-4 - apart, -4 + apart, 4.0]), np.ones(3))
        two, one = (a_result(*mixture) for mixture in (pair, constrain(merged(logs(pair), 0, 1))))
        lost = log_likelihood(two, job.data) - log_likelihood(one, job.data)
        assert bool(coincident(job, logs(pair), job.data.astype(float))) == (lost <= 0.01)
        seen.append(lost <= 0.01)
    assert True in seen
    assert False in seen


def hessian(job, result) -> np.ndarray:
    """Of the log-likelihood by log odds, locs and log scales; differences of SciPy's densities."""

    def value(v):
        weight = 1 / (1 + np.exp(-v[0]))
        return log_likelihood(a_result([weight, 1 - weight], v[1:3], np.exp(v[3:])), job.data)

    weights, locs, scales = constrain(result.parameters)
    at = np.array([np.log(weights[0] / weights[1]), *locs, *np.log(scales)])
    steps = 1e-3 * np.eye(5)
    return np.array(
        [
            [sum(s * t * value(at + s * a + t * b) for s in (1, -1) for t in (1, -1)) / 4e-6 for b in steps]
            for a in steps
        ]
    )


def test_a_saddle_is_one_by_a_numerical_hessian_and_a_maximum_is_none():
    """Heavy tails: from one component twice, a narrow one and a broad one lead upward."""
    job = a_job(SKEWED)
    saddle = alike(job.data.astype(float))
    assert np.linalg.eigvalsh(hessian(job, saddle)).max() > 1.0
    height = climb(job, saddle, job.data.astype(float))
    best = maximum(job, Mixture(np.array([0.7, 0.3]), np.array([1.0, 4.0]), np.array([0.6, 3.0])))
    assert 1.0 < height <= log_likelihood(best, job.data) - log_likelihood(saddle, job.data)
    assert np.linalg.eigvalsh(hessian(job, best)).max() < 0.0
    assert climb(job, best, job.data.astype(float)) == 0.0
    assert Reason.SADDLE in reasons(job, saddle)
    assert reasons(job, best) == []


def test_where_the_hessian_vanishes_the_slope_is_found_all_the_same():
    """Light tails: the second derivative along two equal locs is 0, and the fourth leads upward."""
    job = a_job(ZERO_OR_ONE)
    assert climb(job, alike(ZERO_OR_ONE), ZERO_OR_ONE) > 1.0


def test_one_saddle_of_equal_scales():
    """Two of three components on the left of two modes, which are then not as wide as the scale that all share."""
    job = a_job(np.concatenate([RANDOM.uniform(-6, 0, 300), RANDOM.normal(9, 0.2, 100)]), 3, equal_scales=True)
    begin = Mixture(np.array([0.375, 0.375, 0.25]), np.array([-3.0, -3.0, 9.0]), np.ones(3))
    assert Reason.SADDLE in reasons(job, maximum(job, begin))


def test_a_fit_that_has_not_converged_is_at_no_saddle_yet():
    job = a_job(SKEWED)
    assert Reason.SADDLE not in reasons(job, alike(SKEWED)._replace(converged=False))


def test_of_a_prior_over_sticks_no_component_coincides():
    job = a_job(SKEWED)
    assert reasons(job._replace(plan=job.plan._replace(log_prior=OVER_STICKS)), alike(SKEWED)) == []


def test_a_component_narrower_than_rounding_is_an_artefact():
    data = np.round(RANDOM.normal(50, 10, 800) / 5) * 5
    job = a_job(data)
    at_fifty = a_result([0.8, 0.2], [50.0, 50.0], [11.0, 1.4])
    assert Doubt(Reason.ROUNDED, (1,)) in doubts_of(job, at_fifty, data)
    assert "component 1 is narrower than the rounding" in clause_of(Doubt(Reason.ROUNDED, (1,)))
    wider = a_result([0.8, 0.2], [50.0, 50.0], [11.0, 1.5])
    assert Reason.ROUNDED not in reasons(job, wider)
    # A component that is held by the floor is that already.
    assert Reason.ROUNDED not in reasons(job, at_fifty._replace(degenerate=(1,)))
    assert Reason.ROUNDED not in reasons(job, a_result([1.0], [50.0], [1.4]))


def test_a_cluster_that_is_narrower_than_rounding_with_next_to_nothing_beside_it_is_none():
    data = np.concatenate([np.round(RANDOM.normal(2.0, 0.2, 300)), np.round(RANDOM.normal(10.0, 0.2, 200))])
    assert len(np.unique(data)) > 2
    for scale in (0.1, 0.2):
        assert Reason.ROUNDED not in reasons(a_job(data), a_result([0.6, 0.4], [2.0, 10.0], [scale, scale]))


def test_data_that_float32_cannot_tell_apart_are_reported():
    data = np.concatenate([RANDOM.normal(0, 1, 300), 1.0 + RANDOM.normal(0, 1e-9, 300)])
    job = a_job(data)
    (doubt,) = [one for one in doubts_of(job, fit_by_em([job])[0], data) if one.reason == Reason.UNRESOLVED]
    assert doubt.other == "50%"
    assert "precision=float64" in clause_of(doubt)
    with jax.enable_x64(True):
        in_float64 = doubts_of(job._replace(data=data), fit_by_em([job])[0], data)
    assert all(one.reason != Reason.UNRESOLVED for one in in_float64)


def test_a_diverged_fit_is_nothing_to_judge():
    lost = a_result([0.5, 0.5], [np.nan, 0.0], [1.0, 1.0])
    assert doubts_of(a_job(APART), lost, APART) == ()
    assert doubts_of(a_job(APART), alike(APART)._replace(diverged=True), APART) == ()


def test_the_first_reason_that_bars_is_reported():
    assert barred((), (), diverged=False) is None
    assert barred((1,), (Doubt(Reason.SADDLE),), diverged=False) == Reason.DEGENERATE
    assert barred((1,), (), diverged=True) == Reason.DIVERGED
    assert barred((), (Doubt(Reason.UNRESOLVED), Doubt(Reason.OUTDONE)), diverged=False) is None
    assert barred((), (Doubt(Reason.OUTDONE), Doubt(Reason.ROUNDED), Doubt(Reason.SADDLE)), diverged=False) == "saddle"


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_words(reason):
    said = clause_of(Doubt(reason, (0, 1), 3.0, "2 components with free scales"))
    assert said
    assert reason in BARRING or "use" in said


def test_judging_a_fit_in_other_units_says_the_same():
    for unit in (1e-6, 1e6):
        data = SKEWED * unit
        assert reasons(a_job(data), alike(a_job(data).data.astype(float))) == [Reason.COINCIDENT, Reason.SADDLE]


def test_a_dirichlet_prior_is_climbed_too():
    log_prior = plugin(priors.dirichlet, concentration=2.0)
    job = a_job(SKEWED)
    job = job._replace(plan=job.plan._replace(log_prior=log_prior))
    assert climb(job, alike(SKEWED), SKEWED) > 1.0
    parameters = Parameters(np.zeros(1), np.array([SKEWED.mean()]), np.log([SKEWED.std()]))
    one = job._replace(plan=job.plan._replace(n_components=1))
    assert climb(one, alike(SKEWED, 1)._replace(parameters=parameters), SKEWED) == 0.0


SPIKE = np.concatenate([RANDOM.normal(0, 1, 300), np.full(20, 0.7)])


def narrowing(data, scales):
    """A fit of two components whose second one narrows step by step; its losses are SciPy's."""
    ends = [a_result([0.94, 0.06], [0.0, 0.7], [1.0, scale]) for scale in scales]
    leaves = [np.stack(leaf) for leaf in zip(*(end.parameters for end in ends), strict=True)]
    losses = np.array([-log_likelihood(end, data) / len(data) for end in ends])
    seen = HistoryEntry(Parameters(*leaves), {}, losses, np.zeros(len(ends)), np.zeros(len(ends), bool))
    steps = 10 * np.arange(len(ends))
    return ends[-1]._replace(steps=steps, n_steps=int(steps[-1]), history=seen, converged=False)


def test_a_component_on_its_way_to_a_spike_is_collapsing():
    job = a_job(SPIKE, scale_floor=1e-3)
    falling = np.geomspace(1.0, 0.01, 41)
    found = narrowing(SPIKE, falling)
    assert Doubt(Reason.COLLAPSING, (1,)) in doubts_of(job, found, SPIKE)
    assert barred((), doubts_of(job, found, SPIKE), diverged=False) == "collapsing"
    said = clause_of(Doubt(Reason.COLLAPSING, (1,)))
    assert said.startswith("component 1 was narrowing onto one value of the data when")
    # Not where it has converged, has stopped narrowing, or gets worse; nor with equal scales.
    assert collapsing(job, found._replace(converged=True), SPIKE) == ()
    assert collapsing(job, narrowing(SPIKE, np.append(falling, [0.01] * 41)), SPIKE) == ()
    assert collapsing(job, found._replace(history=found.history._replace(loss=-found.history.loss)), SPIKE) == ()
    assert collapsing(a_job(SPIKE, equal_scales=True), found, SPIKE) == ()
    # Nor where a prior on the scales would not let it, nor among data that differ.
    prior = plugin(priors.normal_inverse_gamma, loc=0.0, shrinkage=0.01, degrees_of_freedom=3.0, variance=1.0)
    assert collapsing(job._replace(plan=job.plan._replace(log_prior=prior)), found, SPIKE) == ()
    spread = np.concatenate([SPIKE[:300], np.linspace(0.68, 0.72, 20)])
    assert collapsing(a_job(spread), narrowing(spread, falling), spread) == ()


def test_no_ordinary_fit_whose_steps_ran_out_is_collapsing_and_what_is_ends_degenerate():
    """By the engine, ended early and late: fits of real data, and of data with a spike."""
    seen = {name: np.loadtxt(REAL / f"{name}.csv", skiprows=1) for name in ("galaxies", "acidity", "waiting")}
    seen["spike"] = np.concatenate([SPIKE[:300], np.full(40, 2.5)])
    asked = list(itertools.product(seen, (2, 4, 6), (1,), (30, 60, 300)))
    jobs = [
        a_job((seen[name] - seen[name].mean()) / seen[name].std(), k, seed=seed, steps=steps, restarts=1)
        for name, k, seed, steps in asked
    ]
    ended = dict(zip(asked, [result for (result,) in fit_starts(jobs, None, 1)], strict=True))
    assert sum(not result.converged for result in ended.values()) > len(ended) / 2
    doubtful = [one for one, job in zip(asked, jobs, strict=True) if Reason.COLLAPSING in reasons(job, ended[one])]
    assert {name for name, *_ in doubtful} == {"spike"}
    assert all(steps < 300 and ended[name, k, seed, 300].degenerate for name, k, seed, steps in doubtful)


def test_a_component_with_fewer_data_than_numbers_of_its_own_may_be_chance():
    """Of 150 data in two columns 4, where a loc and a covariance have 5 numbers, and a loc alone 2."""
    own = np.log([0.9, 0.07, 0.03]) - 1.0
    for model, prior, told in (
        ("VVV", plugin(priors.flat), True),
        ("EEE", plugin(priors.flat), False),
        ("VVV", plugin(priors.variance_penalty, strength=0.1, variance=1.0), False),
    ):
        family = normals(2, kind_of(model))
        fit = job(data=np.zeros((150, 2)), covariance=model, family=family, n_components=3, log_prior=prior)
        parameters = family.zeros(3, np.float64)._replace(log_component_weights=own)
        fit = fit._replace(sample_weights=np.ones(150))
        found = [(one.reason, one.components) for one in _of_few_data(fit, parameters, ())]
        assert found == ([(Reason.FEW, (2,))] if told else [])
        assert not [*_of_few_data(fit, parameters, {2})]
