"""Selection with the fits of the engine, from the batch to the choice."""

import json
from functools import partial

import jax
import numpy as np
import pytest
from by_em import a_job
from conftest import REAL
from sklearn.mixture import GaussianMixture
from small_fits import plugin

from gmm_pipeline.analysis import cross_validation, selection
from gmm_pipeline.analysis.likelihood_ratio import bootstrap_test, smallest_not_rejected
from gmm_pipeline.inference import batching, em, fits
from gmm_pipeline.inference.scaling import IDENTITY, Units, scaling_of, to_fit_units
from gmm_pipeline.model import inits

pytestmark = pytest.mark.usefixtures("quickly_compiled")

VARIOUS = plugin(
    inits.various, quantile=0.375, kmeans=0.375, jitter=0.5, overlap=2.0, smallest_scale=0.01, narrowest=0.05
)
KEY = jax.random.PRNGKey(5)
fit_all = partial(fits.fit_all, workers=2)


def job(data, n_components=1, **changes):
    made = a_job(data, n_components, optimizer=plugin(em.squarem), **{"fewest_data": 2.5, **changes})
    return made._replace(plan=made.plan._replace(init=VARIOUS))


@pytest.mark.parametrize(
    ("name", "restarts", "most", "winner"),
    [("galaxies", 32, 4, (3, False)), ("acidity", 8, 3, (2, True)), ("waiting", 8, 3, (2, True))],
)
def test_a_selection_by_bic_has_the_known_winner(name, restarts, most, winner):
    data = np.loadtxt(REAL / f"{name}.csv", skiprows=1)
    scaling = scaling_of(data, np.ones(len(data)))
    standardised = to_fit_units(data, scaling)
    jobs = selection.candidates_of(job(standardised, restarts=restarts), range(1, most + 1), [True, False])
    found = selection.judge(jobs, fit_all(jobs), [Units(scaling, data, standardised)] * len(jobs))
    best = selection.choose(found, "bic")
    assert best is not None
    assert (best.n_components, best.equal_scales) == winner
    for equal in (True, False):  # of nested sound fits, more components are never less likely
        chain = [one.log_likelihood for one in found if one.n_components == 1 or one.equal_scales == equal]
        assert np.all(np.diff(chain) > -1e-3)


def test_held_out_log_likelihood_equals_that_of_scikit_learn_on_the_same_folds():
    random = np.random.default_rng(7)
    data = np.concatenate([random.normal(-3, 1, 50), random.normal(3, 2, 70)]).astype(np.float32).astype(np.float64)
    ours, ones = job(data, 2), np.ones(len(data))
    folds, jobs = cross_validation.folds_of(ones, 4, KEY), cross_validation.fold_jobs(ours, 4, KEY)
    assert len({batching.program_of(one) for one in [ours, *jobs]}) == 1
    found = cross_validation.held_out(fit_all(jobs), folds, data, ones, IDENTITY)
    expected = np.zeros(4)
    for fold in range(4):
        training = data[folds != fold, None]
        theirs = GaussianMixture(2, tol=1e-10, max_iter=10000, n_init=4, reg_covar=0.0, random_state=0).fit(training)
        expected[fold] = np.sum(theirs.score_samples(data[folds == fold, None]))
    np.testing.assert_allclose(found.by_fold, expected, atol=2e-2)  # where a fit stops, the held-out data still slope


def test_the_statistic_of_the_likelihood_ratio_test_is_that_of_the_best_optima():
    """Of real data, with the fits of the engine. The level of the test is measured by `benchmarks.coverage`."""
    data = np.loadtxt(REAL / "acidity.csv", skiprows=1)
    one = job(to_fit_units(data, scaling_of(data, np.ones(len(data)))), restarts=4)
    found = bootstrap_test(one, *fit_all([one]), n_replicates=1, key=KEY, fit_all=fit_all)
    known = json.loads((REAL / "optima.json").read_text())["acidity"]
    (null,) = (row for row in known if row["n_components"] == 1)
    (two,) = (row for row in known if row["n_components"] == 2 and row["scales_are"] == "free")
    assert found.statistic == pytest.approx(2 * (two["log_likelihood"] - null["log_likelihood"]), abs=2e-3)
    assert 0.0 <= found.replicates[0] < found.statistic


def test_power_of_the_likelihood_ratio_test():
    random = np.random.default_rng(0)
    data = np.concatenate([random.normal(-3, 1, 40), random.normal(3, 1, 40)])
    jobs = [job(data, k, restarts=4) for k in (1, 2, 3)]
    found = smallest_not_rejected(jobs, fit_all(jobs), level=0.05, n_replicates=19, key=KEY, fit_all=fit_all)
    assert found.n_components == 2
    assert found.tests[0].p_value == 1 / 20
