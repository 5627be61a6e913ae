"""Searches in several columns: real data with the best optima known, and one column as a special case of several."""

from pathlib import Path

import jax
import numpy as np
import optax
import pytest
from small_fits import plugin
from test_search import SEARCH

from gmm_pipeline.inference.diagnostics import evaluate
from gmm_pipeline.inference.exchange import search_all
from gmm_pipeline.inference.families.normal import NORMAL
from gmm_pipeline.inference.families.normals import normals
from gmm_pipeline.inference.fits import fit_all
from gmm_pipeline.inference.jobs import FitJob, FitPlan
from gmm_pipeline.inference.scaling import (
    Scaling,
    linear_scaling_of,
    scaling_of,
    to_fit_units,
    to_user_units,
    total_log_volume,
)
from gmm_pipeline.inference.search_calls import Problem
from gmm_pipeline.model import inits, priors
from gmm_pipeline.model.covariances import kind_of
from gmm_pipeline.model.mixture import constrain, key_of
from gmm_pipeline.model.multivariate import natural_of

pytestmark = pytest.mark.usefixtures("quickly_compiled")

REAL = Path(__file__).parents[2] / "examples" / "data"
FAITHFUL = np.loadtxt(REAL / "faithful.csv", delimiter=",", skiprows=1)
BEST_KNOWN = {
    # Of thousands of float64 starts and mclust's; the first is printed in mclust's vignette.
    ("EEE", 3): -1126.315928,
    ("VVV", 2): -1130.263960,
    ("VEI", 3): -1132.666844,
    ("VEV", 3): -1122.549392,
}


def a_job(data, model, n_components, *, seed=0, optimizer=None, family=None, scaling=None, **changes) -> FitJob:
    counts = np.ones(len(data))
    if family is None and model:
        family = normals(data.shape[1], kind_of(model))
        scaling = linear_scaling_of(data, counts, kind_of(model))
    plan = FitPlan(
        n_components=n_components,
        init=plugin(inits.kmeans, smallest_scale=0.01),
        log_prior=plugin(priors.flat),
        optimizer=optimizer or plugin(optax.adam, learning_rate=0.1),
        schedule=plugin(optax.constant_schedule, value=1.0),
        average_loss=True,
        fused=True,
        as_written=False,
        family=NORMAL if family is None else family,
    )
    settings = {
        "restarts": 2,
        "equal_scales": False,
        "scale_floor": 0.01,
        "fewest_data": 2.5,
        "tolerance": 1e-6,
        "gradient_tolerance": 1e-3,
        "halves_apart": 0.5,
        "search": SEARCH._replace(rows=2048, mixtures=24, kept=6, passes=36),
        "covariance": model,
    }
    standardised = data if scaling is None else to_fit_units(data, scaling)
    return FitJob(standardised, counts, key_of(seed), plan, 600, 20, **{**settings, **changes})


@pytest.mark.parametrize(("model", "n_components"), BEST_KNOWN)
def test_a_search_finds_the_best_known_optimum_of_old_faithful(model, n_components):
    job = a_job(FAITHFUL, model, n_components, trained=False)
    (found,) = search_all([job], 2).values()
    scaling = linear_scaling_of(FAITHFUL, np.ones(len(FAITHFUL)), kind_of(model))
    seen = evaluate(found.best.parameters, job.data, job.sample_weights, scaling)
    assert found.best.is_sound
    assert seen.log_likelihood > BEST_KNOWN[model, n_components] - 0.01


def test_searches_that_soon_agree_go_on_until_a_narrow_component_is_found():
    # With `least_rounds=0`, all four searches agree on one that is 2.1 nats lower.
    plan = SEARCH._replace(rows=2048, mixtures=48, kept=8, passes=36, patience=3.0)
    job = a_job(FAITHFUL, "VVV", 4, seed=8, trained=False, restarts=4, search=plan)
    (found,) = search_all([job], 2).values()
    scaling = linear_scaling_of(FAITHFUL, np.ones(len(FAITHFUL)), kind_of("VVV"))
    seen = evaluate(found.best.parameters, job.data, job.sample_weights, scaling)
    assert seen.log_likelihood == pytest.approx(-1103.883176, abs=1e-2)


def test_searches_go_on_for_some_rounds_for_each_component_although_they_agree():
    for least in (0, 4):
        plan = SEARCH._replace(patience=1.0, least_rounds=least)
        job = a_job(FAITHFUL, "VII", 2, trained=False, restarts=2, search=plan)
        (found,) = search_all([job], 2).values()
        assert (found.n_rounds > job.n_parameters) == (least == 4)  # of which there are fewer than 4 for each component


@pytest.mark.parametrize(("n_columns", "in_selection", "expected"), [(2, 0, 20), (32, 0, 12), (32, 12, 20)])
def test_the_components_of_a_fit_by_itself_with_dear_passes_are_not_padded(n_columns, in_selection, expected):
    data = np.random.default_rng(0).normal(size=(2048, n_columns))
    job = a_job(data, "VVV", 12, padded_to=in_selection, scaling=None, family=normals(n_columns, kind_of("VVV")))
    assert Problem(data, np.ones(len(data)), job, np.eye(n_columns), 16).padded_to == expected


def test_a_fit_of_several_columns_is_trained_to_the_optimum_of_its_search():
    (result,) = fit_all([a_job(FAITHFUL, "VVV", 2)], workers=2)
    scaling = linear_scaling_of(FAITHFUL, np.ones(len(FAITHFUL)), kind_of("VVV"))
    seen = evaluate(result.parameters, a_job(FAITHFUL, "VVV", 2).data, np.ones(len(FAITHFUL)), scaling)
    assert result.converged
    assert seen.log_likelihood == pytest.approx(BEST_KNOWN["VVV", 2], abs=0.01)
    assert len(result.steps) > 2
    losses = result.history.loss
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(("model", "equal"), [("VVV", False), ("VVI", False), ("EEI", True), ("EII", True)])
def test_one_column_is_a_special_case_of_several(model, equal):
    data = FAITHFUL[:, 1]
    of_one: Scaling = scaling_of(data, np.ones(len(data)))
    alone = a_job(data, "", 2, scaling=of_one, equal_scales=equal, trained=False)
    column = a_job(data[:, None], model, 2, trained=False)
    (one,), (other,) = search_all([alone], 1).values(), search_all([column], 1).values()
    assert column.n_parameters == alone.n_parameters
    expected = constrain(to_user_units(one.best.parameters, of_one))
    scaling = linear_scaling_of(data[:, None], np.ones(len(data)), kind_of(model))
    found = natural_of(to_user_units(other.best.parameters, scaling))
    order = np.argsort(found.locs[:, 0])
    np.testing.assert_allclose(found.weights[order], np.sort(expected.weights)[[0, 1]], atol=2e-4)
    np.testing.assert_allclose(found.locs[order, 0], np.sort(expected.locs), rtol=2e-5)
    by_loc = np.argsort(expected.locs)
    np.testing.assert_allclose(found.scales[order, 0], expected.scales[by_loc], rtol=2e-4)


def test_a_selection_of_models_derives_none_that_is_below_a_smaller_one():
    models = ("EII", "VII", "EEI", "VVI", "EEE", "VVV")
    shared = {}
    jobs = []
    for model in models:
        made = a_job(FAITHFUL, model, 2, trained=False, padded_to=2)
        first = shared.setdefault(kind_of(model), made)
        jobs.append(
            made._replace(data=first.data, sample_weights=jobs[0].sample_weights if jobs else made.sample_weights)
        )
    found = search_all(jobs, 2)
    heights = {}
    for number, job in enumerate(jobs):
        scaling = linear_scaling_of(FAITHFUL, np.ones(len(FAITHFUL)), kind_of(job.covariance))
        best = found[number].best
        heights[job.covariance] = evaluate(best.parameters, job.data, job.sample_weights, scaling).log_likelihood
    for smaller, larger in (("EII", "VII"), ("VII", "VVI"), ("EEI", "VVI"), ("VVI", "VVV"), ("EEE", "VVV")):
        assert heights[smaller] < heights[larger] + 1e-3
    assert heights["VVV"] == pytest.approx(BEST_KNOWN["VVV", 2], abs=0.01)
    assert jax.tree.leaves(found[0].best.parameters)[0].dtype == np.float64


def test_of_models_in_unlike_units_only_those_that_may_win_are_searched_in_full():
    counts, penalty = np.ones(len(FAITHFUL)), 0.5 * np.log(len(FAITHFUL))
    scalings, shared, jobs = {}, {}, []
    for model in ("EII", "VII", "EEE", "VVV"):
        kind = kind_of(model)
        scalings[model] = linear_scaling_of(FAITHFUL, counts, kind)
        made = a_job(FAITHFUL, model, 2, trained=False, padded_to=2, penalty=penalty)
        first = shared.setdefault(kind, made)
        volume = total_log_volume(scalings[model], FAITHFUL, counts)
        same = {"data": first.data, "sample_weights": (jobs or [made])[0].sample_weights}
        jobs.append(made._replace(log_volume=volume, **same))
    found = search_all(jobs, 2)
    scores = {}
    for number, job in enumerate(jobs):
        ends = evaluate(found[number].best.parameters, job.data, job.sample_weights, scalings[job.covariance])
        scores[job.covariance] = ends.log_likelihood - penalty * job.n_parameters
    whole = {job.covariance for number, job in enumerate(jobs) if found[number].n_rounds > SEARCH.screening}
    assert whole == {model for model, score in scores.items() if score > max(scores.values()) - SEARCH.margin_of(2)}
    assert "VVV" in whole and "VII" not in whole
    apart = search_all([job._replace(log_volume=None) for job in jobs], 2)
    assert apart[1].n_rounds > SEARCH.screening  # the best in its units
