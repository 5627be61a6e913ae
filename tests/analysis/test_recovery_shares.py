"""The shares of a recovery experiment, against counts by hand and SciPy's intervals."""

import numpy as np
import pytest
from scipy.stats import binomtest
from test_recovery import TRUTH, run_of

from gmm_pipeline.analysis.recovery_shares import Line, lines_of, wilson


def drawn_from(number, overrides, n_data, overlap=0.1):
    metrics = {"n_data": n_data, "true_overlap": overlap}
    return run_of(number, TRUTH)._replace(overrides=tuple(overrides.split()), metrics=metrics)


@pytest.mark.parametrize(("hits", "tried"), [(0, 5), (5, 5), (3, 12), (49, 50), (1, 1)])
def test_intervals_are_wilsons(hits, tried):
    low, high = wilson(np.array([hits]), np.array([tried]))
    expected = binomtest(hits, tried).proportion_ci(method="wilson")
    np.testing.assert_allclose([low[0], high[0]], [expected.low, expected.high], rtol=1e-12, atol=1e-15)


def test_runs_are_counted_by_setting_and_number_of_data():
    runs, errors = [], {}
    for locs, overlap in (("[-1,1]", 0.3), ("[-2,2]", 0.05)):
        for n_data in (50, 100):
            for seed in range(4):
                number = len(runs)
                overrides = f"data.locs={locs} data.n_draws={n_data} data.seed={seed}"
                runs.append(drawn_from(number, overrides, n_data, overlap))
                errors[number] = 0.5 if overlap < 0.1 or (n_data == 100 and seed > 0) else np.inf
    near, far = lines_of(runs, errors)
    assert (near.label, far.label) == ("overlap 0.05", "overlap 0.3")
    assert near.numbers.tolist() == far.numbers.tolist() == [50, 100]
    assert (near.recovered.tolist(), far.recovered.tolist()) == ([4, 4], [0, 3])
    assert near.tried.tolist() == far.tried.tolist() == [4, 4]
    assert (near.enough, far.enough) == (50, None)
    assert not lines_of(runs, {})


def test_what_is_no_data_is_named_and_what_overlaps_alike_is_distinguished():
    fits = [
        drawn_from(n, f"prior={'flat' if n % 2 else 'dirichlet'} data.n_draws={50 + n // 2}", 50 + n // 2)
        for n in range(4)
    ]
    assert {found.label for found in lines_of(fits, dict.fromkeys(range(4), 0.0))} == {
        "overlap 0.1\nprior=flat",
        "overlap 0.1\nprior=dirichlet",
    }
    alike = [drawn_from(n, f"data.weights=[1,{n % 2}] data.n_draws={50 + n // 2}", 50 + n // 2) for n in range(4)]
    assert {found.label for found in lines_of(alike, dict.fromkeys(range(4), 0.0))} == {
        "overlap 0.1\ndata.weights=[1,0]",
        "overlap 0.1\ndata.weights=[1,1]",
    }


@pytest.mark.parametrize(
    ("shares", "enough"), [([0.2, 0.9, 0.8, 0.9, 1.0], 400), ([1.0], 100), ([0.9, 0.4], None), ([0.0, 0.9], 200)]
)
def test_enough_is_enough_from_there_on(shares, enough):
    numbers = np.arange(1, len(shares) + 1) * 100
    recovered = np.array([round(50 * share) for share in shares])
    assert Line("", 0.1, numbers, recovered, np.full(len(shares), 50)).enough == enough
