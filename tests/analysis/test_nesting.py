"""What candidates say of each other; their likelihoods are by SciPy."""

import numpy as np
import pytest
from by_em import a_job, a_result, density, fit_by_em
from small_fits import plugin

from gmm_pipeline.analysis import estimates, selection
from gmm_pipeline.analysis.doubts import Doubt, Reason
from gmm_pipeline.analysis.nesting import compared
from gmm_pipeline.inference.scaling import IDENTITY, Units
from gmm_pipeline.model import priors

RANDOM = np.random.default_rng(13)
DATA = np.concatenate([RANDOM.normal(-4, 1, 150), RANDOM.normal(4, 1, 150)])
ONE = a_result([1.0], [DATA.mean()], [DATA.std()])
TWO = a_result([0.5, 0.5], [-4.0, 4.0], [1.0, 1.0])


def doubts(pairs, given=None):
    jobs, results = zip(*pairs, strict=True)
    known = [float(np.log(density(result, job.data.astype(float))).sum()) for job, result in pairs]
    found = compared(jobs, results, [IDENTITY] * len(jobs), known, given or [()] * len(pairs))
    return [tuple((doubt.reason, doubt.other) for doubt in of_one) for of_one in found], known, found


def test_optima_that_grow_with_their_number_say_nothing():
    jobs = selection.candidates_of(a_job(DATA), [1, 2], [True, False])
    found, _, _ = doubts([(job, {1: ONE, 2: TWO}[job.plan.n_components]) for job in jobs[:2]])
    assert found == [(), ()]


def test_a_fit_below_a_mixture_that_it_contains_has_missed():
    poor = a_result([0.4, 0.2, 0.4], [-1.0, 0.0, 1.0], [4.0, 4.0, 4.0])
    found, known, whole = doubts(
        [(a_job(DATA, 1), ONE), (a_job(DATA, 2, equal_scales=True), TWO), (a_job(DATA, 3), poor)]
    )
    assert found == [(), (), ((Reason.MISSED, "2 components with equal scales"),)]
    assert whole[2][0].nats == whole[2][0].of_likelihood == pytest.approx(known[1] - known[2])


def test_free_scales_are_not_contained_in_equal_ones():
    wide = a_result([0.5, 0.5], [-4.0, 4.0], [2.0, 2.0])
    found, _, _ = doubts(
        [(a_job(DATA, 2), TWO), (a_job(DATA, 3, equal_scales=True), a_result([1 / 3] * 3, [-4.0, 0.0, 4.0], [2.0] * 3))]
    )
    assert found == [(), ()]
    found, _, _ = doubts([(a_job(DATA, 2, equal_scales=True), TWO), (a_job(DATA, 2), wide)])
    assert found[1] == ((Reason.MISSED, "2 components with equal scales"),)


def test_the_likelihood_of_a_smaller_mixture_is_redundant():
    halves = a_result([0.5, 0.25, 0.25], [-4.0, 4.0, 4.0], [1.0, 1.0, 1.0])
    found, _, _ = doubts([(a_job(DATA, 2, equal_scales=True), TWO), (a_job(DATA, 2), TWO), (a_job(DATA, 3), halves)])
    assert found[0] == ()
    assert found[1] == found[2] == ((Reason.REDUNDANT, "2 components with equal scales"),)


def test_where_components_of_a_better_fit_coincide_the_smaller_model_is_outdone():
    halves = a_result([0.5, 0.25, 0.25], [-4.0, 4.0, 4.0], [1.0, 1.0, 1.0])
    poor = a_result([0.5, 0.5], [-1.0, 1.0], [4.0, 4.0])
    pairs = [(a_job(DATA, 2), poor), (a_job(DATA, 3), halves)]
    found, known, whole = doubts(pairs, [(), (Doubt(Reason.COINCIDENT, (1, 2)),)])
    assert found[0] == ((Reason.OUTDONE, "3 components with free scales"),)
    assert whole[0][0].nats == pytest.approx(known[1] - known[0])


def test_collapsed_and_diverged_fits_are_neither_judged_nor_witnesses():
    collapsed = TWO._replace(degenerate=(0,))
    lost = a_result([0.5, 0.5], [np.nan, 0.0], [1.0, 1.0], diverged=True)
    poor = a_result([0.4, 0.2, 0.4], [-1.0, 0.0, 1.0], [4.0, 4.0, 4.0])
    for unsound in (collapsed, lost):
        found, _, _ = doubts([(a_job(DATA, 2), unsound), (a_job(DATA, 3), poor)])
        assert found == [(), ()]


def test_a_prior_may_take_likelihood_from_more_components():
    """With many data added to each weight, an uneven mixture of three is best a little below the two it contains."""
    job = a_job(DATA, 2)
    log_prior = plugin(priors.dirichlet, concentration=30.0)
    jobs = [
        a_job(DATA, number)._replace(plan=job.plan._replace(n_components=number, log_prior=log_prior))
        for number in (2, 3)
    ]
    halves = a_result([0.48, 0.27, 0.25], [-4.0, 4.0, 4.0], [1.0, 1.0, 1.0])
    found, known, _ = doubts(list(zip(jobs, (TWO, halves), strict=True)))
    assert known[1] < known[0] - 0.01
    assert found[1] == ((Reason.REDUNDANT, "2 components with free scales"),)
    flat = [one._replace(plan=one.plan._replace(log_prior=job.plan.log_prior)) for one in jobs]
    found, _, _ = doubts(list(zip(flat, (TWO, halves), strict=True)))
    assert found[1] == ((Reason.MISSED, "2 components with free scales"),)


def test_halves_with_too_few_data_contain_nothing():
    few = np.array([-4.0, -4.2, 3.8, 4.0])
    pairs = [(a_job(few, 1, fewest_data=2.5), a_result([1.0], [few.mean()], [few.std()]))]
    pairs.append((a_job(few, 2, fewest_data=2.5), a_result([0.5, 0.5], [-1.0, 1.0], [9.0, 9.0])))
    found, known, _ = doubts(pairs)
    assert known[1] < known[0] - 0.01
    assert found[1] == ((Reason.REDUNDANT, "1 component"),)


def test_no_criterion_chooses_what_is_barred():
    jobs = [a_job(DATA, 2), a_job(DATA, 3)]
    poor = a_result([0.4, 0.2, 0.4], [-1.0, 0.0, 1.0], [4.0, 4.0, 4.0], converged=False)
    found = selection.judge(jobs, [TWO, poor], [Units(IDENTITY, DATA, DATA)] * len(jobs))
    best_by_luck = found[1]._replace(icl=-1e9, held_out=1e9)
    for criterion in ("icl", "held_out"):
        sound = found[0]._replace(held_out=0.0)
        assert selection.choose([sound, best_by_luck], criterion) is sound
    assert selection.problem(found[1]) == "missed"
    assert found[1].sbic is not None


def test_a_choice_at_the_edge_and_searches_that_missed_are_reported():
    jobs = selection.candidates_of(a_job(DATA), [2, 3], [False])
    poor = a_result([0.4, 0.2, 0.4], [-1.0, 0.0, 1.0], [4.0, 4.0, 4.0])
    found = selection.judge(jobs, [TWO, poor], [Units(IDENTITY, DATA, DATA)] * len(jobs))
    assert selection.remarks(found, 0, "bic") == [
        "2 components are the fewest that were tried: lower selection.smallest"
    ]
    # Where the score would be lower, had it what it missed.
    near = found[1]._replace(bic=found[0].bic + 1.0)
    missed = selection.remarks([found[0], near], 0, "bic")[1]
    assert missed.startswith("a better optimum of 3 components with free scales (by ")
    assert "so the choice may be wrong" in missed
    # Nats of the prior count for no criterion.
    of_prior = near._replace(doubts=tuple(doubt._replace(of_likelihood=0.1) for doubt in near.doubts))
    assert len(selection.remarks([found[0], of_prior], 0, "bic")) == 1
    assert selection.remarks(found, 0, "held_out")[1] == missed
    assert "3 components are the most" in selection.remarks(found, 1, "bic")[0]
    one, two = (
        candidate._replace(doubts=())
        for candidate in selection.judge([a_job(DATA, 1), jobs[0]], [ONE, TWO], [Units(IDENTITY, DATA, DATA)] * 2)
    )
    assert selection.remarks([one, two, found[1]._replace(doubts=())], 1, "bic") == []


def test_selections_of_converged_fits_have_no_doubts():
    jobs = selection.candidates_of(a_job(DATA), [1, 2], [True, False])
    found = selection.judge(jobs, fit_by_em(jobs), [Units(IDENTITY, DATA, DATA)] * len(jobs))
    assert [candidate.doubts for candidate in found] == [()] * 3


def test_where_nothing_may_be_chosen_no_collapse_is_chosen_either():
    jobs = [a_job(DATA, 2), a_job(DATA, 3)]
    twice = a_result([0.5, 0.5], [DATA.mean()] * 2, [DATA.std()] * 2)
    collapsed = a_result([0.4, 0.3, 0.3], [-4.0, 4.0, DATA[0]], [1.0, 1.0, 1e-3], degenerate=(2,))
    both = selection.judge(jobs, [twice, collapsed], [Units(IDENTITY, DATA, DATA)] * len(jobs))
    found = [one._replace(bic=bic) for one, bic in zip(both, (9.0, 5.0), strict=True)]
    assert selection.choose(found, "bic") is None
    assert estimates.best_of(found, "bic") == 0
    assert estimates.best_of([found[1]], "bic") == 0
