"""What speaks against a fit of several columns; the oracles are SciPy's densities and the best optima known."""

# scikit-learn's loader is typed as a tuple, too.
# pyright: reportAttributeAccessIssue=false

import json

import numpy as np
import pytest
from conftest import REAL
from scipy import stats
from sklearn.datasets import load_iris
from small_fits import job, plugin

from gmm_pipeline.analysis.answers import Answer
from gmm_pipeline.analysis.columns_verdicts import climb_columns
from gmm_pipeline.analysis.doubts import Doubt, Reason, clause_of
from gmm_pipeline.analysis.estimates import Asked
from gmm_pipeline.analysis.multivariate_curvature import multivariate_curvature
from gmm_pipeline.analysis.nesting import compared
from gmm_pipeline.analysis.verdicts import coincident, doubts_of
from gmm_pipeline.analysis.wording import verdict
from gmm_pipeline.inference.families.normals import normals
from gmm_pipeline.inference.jobs import FitResult
from gmm_pipeline.inference.restarts import degenerate_components
from gmm_pipeline.inference.scaling import identity_of, linear_scaling_of, to_fit_units
from gmm_pipeline.model import priors
from gmm_pipeline.model.covariances import kind_of
from gmm_pipeline.model.multivariate import parameters_of
from gmm_pipeline.model.natural import MultivariateMixture, taken

FAITHFUL = np.loadtxt(REAL / "faithful.csv", delimiter=",", skiprows=1)
DATA = {"faithful": FAITHFUL, "iris": load_iris().data}
KNOWN = {
    (row["data"], row["model"], row["K"]): row for row in json.loads((REAL / "optima_of_columns.json").read_text())
}


def best_known(name: str, model: str, n_components: int) -> MultivariateMixture:
    row = KNOWN[name, model, n_components]
    covariances = np.array(row["covariances"])
    if covariances.ndim == 2:
        covariances = covariances[:, :, None] * np.eye(covariances.shape[1])
    covariances = np.broadcast_to(covariances, (n_components, *covariances.shape[1:]))
    return MultivariateMixture(np.array(row["weights"]), np.array(row["means"]), covariances)


def log_likelihood(mixture: MultivariateMixture, data) -> float:
    return float(
        np.log(sum(w * stats.multivariate_normal(m, s).pdf(data) for w, m, s in zip(*mixture, strict=True))).sum()
    )


def in_halves(mixture: MultivariateMixture, component: int) -> MultivariateMixture:
    found = taken(mixture, np.append(np.arange(len(mixture.weights)), component))
    found.weights[[component, -1]] /= 2.0
    return found


def a_fit(mixture: MultivariateMixture, data, model: str):
    """A job, its converged result and its data, in the units of the fit."""
    kind, n, d = kind_of(model), *data.shape
    scaling = linear_scaling_of(data, np.ones(n), kind)
    inverse, seen = np.linalg.inv(scaling.spread), to_fit_units(data, scaling)
    moved = MultivariateMixture(
        mixture.weights, (mixture.locs - scaling.centre) @ inverse.T, inverse @ mixture.covariances @ inverse.T
    )
    one = job(
        data=seen,
        covariance=model,
        family=normals(d, kind),
        n_components=len(mixture.weights),
        scale_floor=0.01,
        fewest_data=2.5,
    )._replace(sample_weights=np.ones(n))
    parameters = parameters_of(moved, kind)
    known = {"parameters": parameters, "learned": {}, "diverged": False, "converged": True}
    known |= {"degenerate": degenerate_components(one, parameters)}
    return one, FitResult(**{**dict.fromkeys(FitResult._fields), **known}), seen


@pytest.mark.parametrize("place", KNOWN, ids=lambda place: "-".join(map(str, place)))
def test_the_best_optima_known_have_no_doubts(place):
    name, model, _ = place
    fit, result, data = a_fit(best_known(*place), DATA[name], model)
    walked = place in {("faithful", "VVV", 3), ("faithful", "VII", 2), ("iris", "EEE", 2)}  # the others take minutes
    assert result.degenerate == ()
    assert doubts_of(fit, result, data, climbs=walked) == ()


@pytest.mark.parametrize("model", ["EII", "VVI", "EEE", "VVV"])
def test_halves_coincide_and_what_they_are_a_half_of_does_not(model):
    optimum = best_known("iris", model, 3)
    halves = in_halves(in_halves(optimum, 2), 0)
    fit, result, data = a_fit(taken(halves, np.array([3, 1, 2, 0, 4])), DATA["iris"], model)
    assert coincident(fit, result.parameters, data) == [(0, 2), (3, 4)]
    doubts = doubts_of(fit, result, data, climbs=False)
    assert [doubt.reason for doubt in doubts] == [Reason.COINCIDENT] * 2


@pytest.mark.parametrize("model", ["VVV", "VEE"])
def test_components_coincide_where_one_component_has_their_likelihood_by_scipy(model):
    """Pairs ever farther apart: the verdict changes where SciPy's densities of both mixtures part by 0.01 nats."""
    grid = stats.norm.ppf((np.arange(40) + 0.5) / 40)
    square = np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2) * [1.0, 3.0]
    shape = np.diag([1.0, 9.0])
    seen = []
    for apart in np.linspace(0.0, 0.4, 9):
        step = np.array([apart, 0.0])
        locs = np.array([step - 9.0, -step - 9.0, [9.0, 9.0]])
        data = np.concatenate([square + loc for loc in locs])
        pair = MultivariateMixture(np.full(3, 1 / 3), locs, np.stack([shape] * 3))
        wider = shape + np.outer(step, step) if model == "VVV" else shape
        one = MultivariateMixture(np.array([2 / 3, 1 / 3]), np.array([[-9.0] * 2, [9.0] * 2]), np.stack([wider, shape]))
        lost = log_likelihood(pair, data) - log_likelihood(one, data)
        fit, result, standardised = a_fit(pair, data, model)
        assert bool(coincident(fit, result.parameters, standardised)) == (lost <= 0.01)
        seen.append(lost <= 0.01)
    assert {*seen} == {True, False}


def test_from_a_saddle_the_log_likelihood_rises_by_no_more_than_the_best_optimum_has():
    saddle = in_halves(best_known("faithful", "VVV", 1), 0)
    fit, result, data = a_fit(saddle, FAITHFUL, "VVV")
    gain = KNOWN["faithful", "VVV", 2]["log_likelihood"] - log_likelihood(saddle, FAITHFUL)
    assert 1.0 < climb_columns(fit, result, data) <= gain
    doubts = doubts_of(fit, result, data)
    assert [doubt.reason for doubt in doubts] == [Reason.COINCIDENT, Reason.SADDLE]
    # Nothing is a saddle before it has converged, nor a walk one through degenerate mixtures.
    assert Reason.SADDLE not in {doubt.reason for doubt in doubts_of(fit, result._replace(converged=False), data)}
    assert climb_columns(fit._replace(fewest_data=150.0), result, data) == 0.0


@pytest.mark.parametrize("model", ["VVV", "VEV", "EVE"])
def test_curvature_is_that_of_scipys_log_likelihood_along_each_direction_and_steps_stay_in_the_model(model):
    """Second differences; the model is kept however far the step."""
    optimum = best_known("faithful", "VVV" if model == "VVV" else "EEE", 2)
    data = FAITHFUL / [1.0, 10.0]
    mixture = MultivariateMixture(
        optimum.weights, optimum.locs / [1.0, 10.0], optimum.covariances / np.array([[1.0, 10.0], [10.0, 100.0]])
    )
    found = multivariate_curvature(mixture, model, data, np.ones(len(data)))
    assert found is not None
    np.testing.assert_allclose(found.mixture_at(np.zeros(len(found.directions))).covariances, mixture.covariances)
    step = 1e-2
    for share, direction in zip(found.shares, found.directions.T, strict=True):
        if model == "VVV":  # the others are not at their maximum, where directions of no slope are straight
            heights = [log_likelihood(found.mixture_at(t * step * direction), data) for t in (-1, 0, 1)]
            assert -np.diff(heights, 2)[0] / step**2 == pytest.approx(share, abs=1e-3)
        covariances = found.mixture_at(30.0 * direction).covariances
        values = np.linalg.eigvalsh(covariances)
        if model == "VEV":
            np.testing.assert_allclose(values[0, 1] / values[0, 0], values[1, 1] / values[1, 0])
        if model == "EVE":
            np.testing.assert_allclose(values[0].prod(), values[1].prod())
            np.testing.assert_allclose(covariances[0] @ covariances[1], covariances[1] @ covariances[0])


@pytest.mark.parametrize(("contained", "model"), [("VVI", "VVV"), ("EII", "VVV"), ("EII", "VEV"), ("VII", "VVI")])
def test_a_mixture_of_another_model_has_its_density_under_the_prior_of_the_model_that_contains_it(contained, model):
    """Under mclust's prior, as SciPy has it, in whatever units each model standardises the data."""
    log_prior = plugin(priors.normal_inverse_wishart, shrinkage=0.01, extra_degrees_of_freedom=2.0, variance=1.0)
    good = best_known("faithful", contained, 3)
    poor = best_known("faithful", contained, 3)
    poor = poor._replace(locs=poor.locs + np.array([[0.3, 0.0], [0.0, 0.0], [0.0, 0.0]]))
    fits = [a_fit(mixture, FAITHFUL, name) for mixture, name in ((good, contained), (poor, model))]
    jobs = [one._replace(plan=one.plan._replace(log_prior=log_prior)) for one, *_ in fits]
    scalings = [linear_scaling_of(FAITHFUL, np.ones(len(FAITHFUL)), kind_of(one)) for one in (contained, model)]

    def height(mixture: MultivariateMixture) -> float:
        scatter = np.cov(FAITHFUL.T, bias=True) / 3.0
        of_locs = [
            stats.multivariate_normal(FAITHFUL.mean(axis=0), covariance / 0.01).logpdf(loc)
            for loc, covariance in zip(mixture.locs, mixture.covariances, strict=True)
        ]
        if model == "VVI":
            of_variances = stats.invgamma(2.0, scale=0.5 * np.diagonal(scatter))
            of_covariances = [of_variances.logpdf(np.diagonal(one)).sum() for one in mixture.covariances]
        else:
            of_covariances = [stats.invwishart(4.0, scatter).logpdf(one) for one in mixture.covariances]
        return log_likelihood(mixture, FAITHFUL) + sum(of_locs) + sum(of_covariances)

    found = compared(
        jobs,
        [result for _, result, _ in fits],
        scalings,
        [log_likelihood(one, FAITHFUL) for one in (good, poor)],
        [(), ()],
    )
    (doubt,) = found[1]
    assert (doubt.reason, doubt.other) == (Reason.MISSED, f"{contained} with 3 components")
    assert doubt.nats == pytest.approx(height(good) - height(poor), rel=1e-9)


def test_a_selection_names_the_larger_fit_whose_components_coincide():
    two, poor = best_known("faithful", "EEE", 2), best_known("faithful", "EEE", 2)
    poor = poor._replace(locs=poor.locs + np.array([[0.5, 0.0], [0.0, 0.0]]))
    fits = [a_fit(poor, FAITHFUL, "EEE"), a_fit(in_halves(two, 0), FAITHFUL, "EEE")]
    jobs, results, _ = zip(*fits, strict=True)
    heights = [log_likelihood(one, FAITHFUL) for one in (poor, two)]
    own = [doubts_of(*fit, climbs=False) for fit in fits]
    found = compared(jobs, results, [identity_of(2)] * 2, heights, own)
    (doubt,) = found[0]
    assert (doubt.reason, doubt.other) == (Reason.OUTDONE, "EEE with 3 components")
    assert doubt.nats == pytest.approx(heights[1] - heights[0])


def test_rows_that_are_one_value_are_reported_with_advice_for_several_columns():
    data = np.concatenate([FAITHFUL, np.tile(FAITHFUL[:1], (40, 1))])
    fit, result, seen = a_fit(best_known("faithful", "VVV", 2), data, "VVV")
    (doubt,) = doubts_of(fit, result, seen, climbs=False)
    assert doubt == Doubt(Reason.TIED, other="13%")
    assert "the same row" in clause_of(doubt, of_columns=True)
    assert "scales=equal" not in clause_of(doubt, of_columns=True)


def test_advice_is_for_several_columns_and_steps_are_for_fits_that_took_some():
    """Scales of one column are no key of a fit of several."""
    numbers = {"n_steps": 0, "gradient_norm": 0.1, "converged": False, "n_data": 40}
    mixture = MultivariateMixture(np.array([0.95, 0.05]), np.zeros((2, 2)), np.stack([np.eye(2)] * 2))
    none = dict.fromkeys(Answer._fields, ()) | {"diverged": False, "learned": {}, "searched": None}
    answer = Answer(**{**none, "degenerate": (1,), "covariance": "VVV", "metrics": numbers, "fitted": mixture})
    said, left = verdict(Asked((2,), (False,), ("VVV",), "bic", 0, 0, 0, 0.95), answer)[:2]
    assert left.startswith("not converged: as the search left it, its gradient is 0.1 standard errors long")
    assert "steps" not in left
    assert said.startswith("component 1 degenerate: at the floor of the scales in some direction")
    assert "(the weight of 2.0)" in said
    assert "covariance=tied" in said
    assert "scales=equal" not in said
    assert "scales=equal" in verdict(Asked((2,), (False,), (), "bic", 0, 0, 0, 0.95), answer._replace(covariance=""))[0]


@pytest.mark.parametrize("n_parameters", [30, 31])
def test_more_parameters_than_observations_are_told(n_parameters):
    numbers = {"n_steps": 9, "gradient_norm": 0.0, "converged": True, "n_data": 30, "n_parameters": n_parameters}
    none = dict.fromkeys(Answer._fields, ()) | {"diverged": False, "learned": {}, "searched": None}
    said = verdict(Asked((2,), (False,), ("VVV",), "bic", 0, 0, 0, 0.95), Answer(**{**none, "metrics": numbers}))
    told = [clause for clause in said if clause.startswith("31 parameters were estimated from 30 observations")]
    assert len(told) == (n_parameters > 30)
