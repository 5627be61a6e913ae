"""A fit below one component, whose likelihood is known, is no optimum."""

import numpy as np
import pytest
from by_em import a_job, a_result
from scipy import stats
from small_fits import job, plugin

from gmm_pipeline.analysis.doubts import Reason, barred
from gmm_pipeline.analysis.one_component import below_one_component
from gmm_pipeline.analysis.verdicts import doubts_of
from gmm_pipeline.inference.families.normals import normals
from gmm_pipeline.model import priors
from gmm_pipeline.model.covariances import kind_of

RANDOM = np.random.default_rng(2)
DATA = np.concatenate([RANDOM.normal(-3.0, 1.0, 200), RANDOM.normal(3.0, 1.0, 200)])
COLUMNS = RANDOM.normal(size=(300, 2)) @ [[2.0, 0.5], [0.0, 1.0]]


@pytest.mark.parametrize(("scale", "is_below"), [(1.0, False), (0.1, True)])
def test_one_column(scale, is_below):
    density = 0.5 * stats.norm.pdf(DATA, -3.0, scale) + 0.5 * stats.norm.pdf(DATA, 3.0, scale)
    reached = float(np.log(density).sum())
    result = a_result([0.5, 0.5], [-3.0, 3.0], [scale, scale])
    one = stats.norm.logpdf(DATA, DATA.mean(), DATA.std()).sum()
    doubts = doubts_of(a_job(DATA, 2), result, DATA, climbs=False, reached=reached)
    found = [doubt for doubt in doubts if doubt.reason == Reason.MISSED]
    assert [doubt.nats for doubt in found] == ([pytest.approx(one - reached)] if is_below else [])
    assert (barred((), doubts, diverged=False) == Reason.MISSED) == is_below


@pytest.mark.parametrize("model", ["VII", "VVI", "VEV", "VVV"])
def test_several_columns(model):
    """By SciPy, for the normal that the model has; spheres and ellipsoids along the columns have another one."""
    mean, covariance = COLUMNS.mean(axis=0), np.cov(COLUMNS.T, bias=True)
    if model == "VII":
        covariance = np.eye(2) * np.trace(covariance) / 2.0
    elif model == "VVI":
        covariance = np.diag(np.diagonal(covariance))
    one = stats.multivariate_normal(mean, covariance).logpdf(COLUMNS).sum()
    fit = job(data=COLUMNS, covariance=model, family=normals(2, kind_of(model)))._replace(sample_weights=np.ones(300))
    result = a_result([0.5, 0.5], [0.0, 0.0], [1.0, 1.0])
    assert below_one_component(fit, result, one - 7.0, COLUMNS) == pytest.approx(7.0)
    assert below_one_component(fit, result, one, COLUMNS) == 0.0


def test_the_prior_takes_part():
    """It is the log posterior that is compared: copies of equal weights are what this prior likes best."""
    fit = a_job(DATA, 2)
    fit = fit._replace(plan=fit.plan._replace(log_prior=plugin(priors.dirichlet, concentration=3.0)))
    one = stats.norm.logpdf(DATA, DATA.mean(), DATA.std()).sum()
    for weight in (0.5, 0.01):
        result = a_result([weight, 1.0 - weight], [0.0, 0.0], [1.0, 1.0])
        gained = 2.0 * (2.0 * np.log(0.5) - np.log(weight) - np.log(1.0 - weight))
        assert below_one_component(fit, result, one - 2.0, DATA) == pytest.approx(2.0 + gained)
