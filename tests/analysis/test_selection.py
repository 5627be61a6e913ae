import json
import math

import numpy as np
import pytest
from by_em import a_job, a_result, density, fit_by_em, of_scikit_learn
from conftest import REAL, ROUNDING_64
from scipy import special
from sklearn.mixture import GaussianMixture

from gmm_pipeline.analysis import cross_validation, selection
from gmm_pipeline.analysis.selection import Candidate
from gmm_pipeline.analysis.singular_bic import singular_bic
from gmm_pipeline.errors import InputError
from gmm_pipeline.inference import diagnostics
from gmm_pipeline.inference.parameterization import number_of_parameters
from gmm_pipeline.inference.scaling import IDENTITY, Scaling, Units, scaling_of, to_fit_units
from gmm_pipeline.model.mixture import constrain

RANDOM = np.random.default_rng(5)
DATA = np.concatenate([RANDOM.normal(-2, 1, 60), RANDOM.normal(3, 2, 90)])
ONES = np.ones(len(DATA))


def candidate(n_components=2, log_likelihood=-100.0, *, equal_scales=False, **changes) -> Candidate:
    n_parameters = number_of_parameters(n_components, equal_scales=equal_scales)
    known = selection.criteria(log_likelihood, n_parameters, 100.0, 0.0)
    made = Candidate(
        n_components=n_components,
        equal_scales=equal_scales,
        n_parameters=n_parameters,
        log_likelihood=log_likelihood,
        aic=known["aic"],
        bic=known["bic"],
        icl=known["icl"],
        sbic=None,
        held_out=None,
        held_out_error=None,
        held_out_gap_error=None,
        degenerate=(),
        diverged=False,
        converged=True,
    )
    return made._replace(**changes)


@pytest.mark.parametrize("n_components", [1, 2, 3])
def test_criteria_equal_scikit_learn_and_a_double_loop(n_components):
    sklearn = GaussianMixture(n_components, random_state=0).fit(DATA[:, None])
    result = of_scikit_learn(sklearn)
    weights, locs, scales = constrain(result.parameters)
    (found,) = selection.judge([a_job(DATA, n_components)], [result], [Units(IDENTITY, DATA, DATA)])
    np.testing.assert_allclose(found.aic, sklearn.aic(DATA[:, None]), rtol=1e-9)
    np.testing.assert_allclose(found.bic, sklearn.bic(DATA[:, None]), rtol=1e-9)
    undecided = 0.0
    for datum in DATA:
        shares = [w * np.exp(-0.5 * ((datum - m) / s) ** 2) / s for w, m, s in zip(weights, locs, scales, strict=True)]
        for share in shares:
            undecided -= share / sum(shares) * np.log(share / sum(shares))
    np.testing.assert_allclose(found.icl - found.bic, 2 * undecided, rtol=1e-9, atol=1e-9)


def test_entropy_of_certain_and_of_absent_components_is_finite():
    certain = np.tile([1.0, 0.0], (len(DATA), 1))
    assert diagnostics.entropy_of(certain, ONES) == 0.0
    equal = np.full((len(DATA), 4), 0.25)
    np.testing.assert_allclose(diagnostics.entropy_of(equal, 3 * ONES), 3 * len(DATA) * np.log(4), rtol=ROUNDING_64)


@pytest.mark.parametrize(
    ("name", "n_data", "winner"),
    [("galaxies", 82, (3, False)), ("acidity", 155, (2, True)), ("waiting", 272, (2, True))],
)
def test_bic_chooses_the_known_winners(name, n_data, winner):
    rows = json.loads((REAL / "optima.json").read_text())[name]
    candidates = []
    for row in rows:
        equal = row["scales_are"] == "equal"
        n_parameters = number_of_parameters(row["n_components"], equal_scales=equal)
        assert n_parameters == row["n_parameters"]
        known = selection.criteria(row["log_likelihood"], n_parameters, float(n_data), 0.0)
        assert known["bic"] == pytest.approx(row["bic"], abs=1e-4)
        candidates.append(candidate(row["n_components"], row["log_likelihood"], equal_scales=equal, **known))
    best = selection.choose(candidates, "bic")
    assert best is not None
    assert (best.n_components, best.equal_scales) == winner


def test_the_best_of_the_sound_ones():
    sound = candidate(2, -100.0)
    collapsed = candidate(3, -50.0, degenerate=(1,))
    diverged = candidate(4, -10.0, diverged=True)
    lost = candidate(4, math.nan, aic=math.nan, bic=math.nan)
    worse = candidate(3, -99.9)
    for criterion in ("aic", "bic", "icl"):
        assert selection.choose([collapsed, worse, diverged, sound, lost], criterion) is sound
    assert selection.choose([collapsed, diverged, lost], "bic") is None
    assert selection.choose([], "bic") is None
    assert [selection.problem(one) for one in (sound, collapsed, diverged, lost)] == [
        None,
        "degenerate",
        "diverged",
        "diverged",
    ]


def test_more_is_better_of_held_out_log_likelihood_alone():
    low, high = candidate(2, held_out=-120.0, bic=1.0), candidate(3, held_out=-110.0, bic=2.0)
    assert selection.choose([low, high], "held_out") is high
    assert selection.choose([low, high], "bic") is low
    assert selection.choose([candidate(), candidate(held_out=math.nan)], "held_out") is None


def test_of_two_as_good_the_simpler_one():
    assert selection.choose([candidate(3, bic=5.0), candidate(2, bic=5.0)], "bic") == candidate(2, bic=5.0)


def test_an_unknown_criterion_is_refused():
    with pytest.raises(InputError, match="criterion: expected one of aic, bic, icl, sbic, held_out"):
        selection.choose([candidate()], "dic")


def test_one_component_is_a_candidate_once():
    jobs = selection.candidates_of(a_job(DATA), [3, 1, 2, 2], [False, True])
    assert [(job.plan.n_components, job.equal_scales) for job in jobs] == [
        (1, False),
        (2, False),
        (2, True),
        (3, False),
        (3, True),
    ]
    assert all(job.data is jobs[0].data for job in jobs)


@pytest.mark.parametrize(("numbers", "kinds"), [([], [True]), ([0, 1], [True]), ([1], [])])
def test_nothing_to_choose_from_is_refused(numbers, kinds):
    with pytest.raises(InputError, match="n_components: expected numbers of components to choose from"):
        selection.candidates_of(a_job(DATA), numbers, kinds)


def test_candidates_are_judged_in_the_users_units():
    scaling = scaling_of(DATA, ONES)
    data = to_fit_units(DATA, scaling)
    jobs = selection.candidates_of(a_job(data), [1, 2], [False])
    found = selection.judge(jobs, fit_by_em(jobs), [Units(scaling, DATA, data)] * len(jobs))
    assert found[0].log_likelihood == pytest.approx(
        float(np.sum(-0.5 * ((DATA - DATA.mean()) / DATA.std()) ** 2 - np.log(DATA.std() * np.sqrt(2 * np.pi)))),
        rel=1e-6,
    )
    assert found[0].sbic == pytest.approx(found[0].bic)
    assert found[1].sbic is not None
    assert found[1].sbic < found[1].bic
    # Of other units the criteria differ by the same constant, and so the differences not at all.
    metres = selection.judge(
        jobs,
        fit_by_em(jobs),
        [Units(Scaling(1000 * scaling.centre, 1000 * scaling.spread), 1000 * DATA, data)] * len(jobs),
    )
    for criterion in ("aic", "bic", "icl", "sbic"):
        gap = selection.score(found[1], criterion) - selection.score(found[0], criterion)
        other = selection.score(metres[1], criterion) - selection.score(metres[0], criterion)
        assert other == pytest.approx(gap, rel=1e-9)


def test_counts_count_as_often_as_the_data_they_stand_for():
    counts = np.random.default_rng(1).integers(0, 4, len(DATA))
    result = a_result([0.4, 0.6], [-2.0, 3.0], [1.0, 2.0])
    (counted,) = selection.judge(
        [a_job(DATA, sample_weights=counts)],
        [result],
        [Units(IDENTITY, DATA, DATA)],
    )
    repeated = np.repeat(DATA, counts)
    (whole,) = selection.judge([a_job(repeated)], [result], [Units(IDENTITY, repeated, repeated)])
    for criterion in ("aic", "bic", "icl"):
        assert selection.score(counted, criterion) == pytest.approx(selection.score(whole, criterion), rel=1e-9)


def test_a_candidate_that_is_not_sound_has_no_part_in_singular_bic():
    jobs = selection.candidates_of(a_job(DATA), [1, 2, 3], [True, False])
    results = fit_by_em(jobs)
    without = [job.plan.n_components == 2 for job in jobs]
    broken = [result._replace(degenerate=(0,)) if out else result for result, out in zip(results, without, strict=True)]
    found = selection.judge(jobs, broken, [Units(IDENTITY, DATA, DATA)] * len(jobs))
    assert [one.sbic is None for one in found] == without
    kept = [index for index, out in enumerate(without) if not out]
    fewer = selection.judge(
        [jobs[i] for i in kept],
        [results[i] for i in kept],
        [Units(IDENTITY, DATA, DATA)] * len(kept),
    )
    assert [found[i].sbic for i in kept] == [one.sbic for one in fewer]


def test_each_covariance_model_has_a_chain_of_its_own_that_one_component_starts():
    """Of two columns: 5 parameters of a normal; EEE shares 3 of them."""
    (one,) = selection.judge([a_job(DATA)], [fit_by_em([a_job(DATA)])[0]], [Units(IDENTITY, DATA, DATA)])
    chains = {"EEE": ([5, 8, 11], [-90.0, -80.0, -79.0]), "VVV": ([5, 11, 17], [-90.0, -75.0, -74.0])}
    rows = [one._replace(n_components=1, covariance="EEE", n_parameters=5, log_likelihood=-90.0, degenerate=())]
    for model, (n_parameters, found) in chains.items():
        numbers = zip((2, 3), n_parameters[1:], found[1:], strict=True)
        rows += [
            rows[0]._replace(n_components=k, covariance=model, n_parameters=p, log_likelihood=value)
            for k, p, value in numbers
        ]
    scores = [row.sbic for row in selection._with_singular_bic(rows, 100.0)]
    expected = [singular_bic([1, 2, 3], *chain, 100.0) for chain in chains.values()]
    assert scores == [*expected[0], *expected[1][1:]]


def test_held_out_log_likelihood_has_the_error_of_its_gap_to_the_best():
    jobs = selection.candidates_of(a_job(DATA), [1, 2], [False])
    folds = cross_validation.folds_of(jobs[0].sample_weights, 5, jobs[0].key)
    seen = []
    for job in jobs:
        results = fit_by_em(cross_validation.fold_jobs(job, 5, job.key))
        seen.append(cross_validation.held_out(results, folds, DATA, ONES, IDENTITY))
    found = selection.judge(jobs, fit_by_em(jobs), [Units(IDENTITY, DATA, DATA)] * len(jobs), seen)
    assert selection.choose(found, "held_out") is found[1]
    assert found[1].held_out_gap_error == 0.0
    other = found[0]
    gaps = seen[0].log_densities - seen[1].log_densities
    assert other.held_out_gap_error == pytest.approx(np.sqrt(len(DATA)) * gaps.std(ddof=1))
    assert other.held_out == pytest.approx(float(np.sum(seen[0].log_densities)))
    assert other.held_out_error is not None
    assert other.held_out_error > 0.0


def test_the_helpers_of_these_tests_agree_with_scikit_learn():
    (found,) = fit_by_em([a_job(DATA, 2)])
    sklearn = GaussianMixture(2, tol=1e-9, max_iter=5000, random_state=0).fit(DATA[:, None])
    np.testing.assert_allclose(np.log(density(found, DATA)), sklearn.score_samples(DATA[:, None]), atol=0.05)
    assert special.logsumexp(found.parameters.log_component_weights) == pytest.approx(0.0)
