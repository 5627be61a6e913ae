"""Distances of fits from the truth, against every way to pair their components."""

import itertools
import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gmm_pipeline.analysis.recovery import worst_error, worst_errors
from gmm_pipeline.model.mixture import Mixture
from gmm_pipeline.records.sweeps import SweepRun

TRUTH = Mixture(np.array([0.2, 0.3, 0.5]), np.array([-4.0, 0.0, 6.0]), np.array([1.0, 0.5, 2.0]))


def shuffled(mixture: Mixture, order) -> Mixture:
    return Mixture(*(leaf[list(order)] for leaf in mixture))


def run_of(number, fitted, truth: Mixture | None = TRUTH, status="finished", n_degenerate=0) -> SweepRun:
    metrics = {"loss": 1.0, "n_degenerate": n_degenerate}
    return SweepRun(number, (), status, None, metrics, fitted, truth, "x", "ab", None, None, str(number))


@given(order=st.permutations(range(3)), share=st.floats(0.0, 0.9))
def test_worst_parameter_counts_whatever_the_labels(order, share):
    off = TRUTH._replace(locs=TRUTH.locs + share * np.array([0.0, 0.5, 0.0]))
    np.testing.assert_allclose(worst_error(shuffled(off, order), TRUTH), share, atol=1e-12)


def test_error_is_the_least_over_all_pairings_of_near_fits():
    random = np.random.default_rng(0)
    for _ in range(50):
        fitted = Mixture(*(leaf * random.uniform(0.8, 1.2, 3) for leaf in TRUTH))
        by_hand = min(
            max(
                np.max(np.abs(one.weights - TRUTH.weights) / TRUTH.weights),
                np.max(np.abs(one.locs - TRUTH.locs) / TRUTH.scales),
                np.max(np.abs(one.scales - TRUTH.scales) / TRUTH.scales),
            )
            for one in (shuffled(fitted, order) for order in itertools.permutations(range(3)))
        )
        np.testing.assert_allclose(worst_error(fitted, TRUTH), by_hand, rtol=1e-12)


def test_another_number_of_components_is_no_recovery():
    assert worst_error(shuffled(TRUTH, [0, 1]), TRUTH) == math.inf
    assert worst_error(TRUTH, shuffled(TRUTH, [0, 1])) == math.inf


def test_runs_without_a_sound_fit_count_and_those_without_data_do_not():
    nothing = Mixture(*(np.full(3, np.nan),) * 3)
    runs = [
        run_of(0, TRUTH),
        run_of(1, nothing, status="diverged"),
        run_of(2, TRUTH, n_degenerate=1),
        run_of(3, None, truth=None, status="failed"),
    ]
    assert worst_errors(runs) == {0: 0.0, 1: math.inf, 2: math.inf}
    assert worst_errors([*runs, run_of(4, TRUTH, truth=None)]) == {}


def test_the_experiment_draws_how_often_its_mixtures_were_recovered(quick, tmp_path):
    small = ("data.seed=0,1", "data.n_draws=60,120", "data.locs=[-2,2]", "tracking=none", "animation=none")
    ended = quick("fit", "--multirun", "experiment=recovery", *small, "figures.formats=[svg]", "sweep=small")
    assert ended.returncode == 0, ended.stderr
    folder = tmp_path / "outputs" / "sweeps" / "small"
    assert "recovery" in ended.stdout
    assert (folder / "figures" / "recovery.svg").is_file()
    # What is set on the command line takes the place of what the experiment sweeps over.
    assert sorted(path.name for path in folder.iterdir() if path.name.isdigit()) == ["0", "1", "2", "3"]
