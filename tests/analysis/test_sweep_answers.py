import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gmm_pipeline.analysis import sweep_answers
from gmm_pipeline.model.mixture import Mixture
from gmm_pipeline.model.vocabulary import SAME_OPTIMUM
from gmm_pipeline.records.artifacts import History
from gmm_pipeline.records.sweeps import SweepRun

MIXTURE = Mixture(np.ones(1), np.zeros(1), np.ones(1))


def sweep_run(number: int, overrides: str, loss: float | None, *, data="ab", status="finished", k=2) -> SweepRun:
    metrics = {} if status == "failed" else {"loss": loss, "log_likelihood": None if loss is None else -loss}
    if metrics:
        metrics |= {"n_components": k, "bic": None if loss is None else 2.0 * loss + 10.0 * k}
    return SweepRun(
        number=number,
        overrides=tuple(overrides.split()),
        status=status,
        error=None,
        metrics=metrics,
        fitted=None if status == "failed" else MIXTURE,
        truth=None,
        data_name="x",
        data_digest=None if status == "failed" else data,
        unit=None,
        digest=None,
        record=str(number),
    )


LOSSES = st.lists(st.none() | st.floats(-1e3, 1e3), min_size=1, max_size=12)


@given(LOSSES, st.randoms())
def test_excess_and_hits_are_those_of_a_plain_loop_in_any_order(losses, random):
    runs = [
        sweep_run(
            number,
            f"optimizer.rate={number % 3} seed={number}",
            loss,
            status="finished" if loss is not None else "diverged",
        )
        for number, loss in enumerate(losses)
    ]
    known = [loss for loss in losses if loss is not None]
    settings = sweep_answers.settings_of(random.sample(runs, len(runs)), "loss")
    assert sorted(run.number for setting in settings for run in setting.runs) == list(range(len(runs)))
    for setting in settings:
        for run, excess in zip(setting.runs, setting.excess, strict=True):
            loss = losses[run.number]
            assert excess == (math.inf if loss is None else loss - min(known))
        mine = [losses[run.number] for run in setting.runs]
        assert setting.reached == sum(loss is not None and loss - min(known) <= SAME_OPTIMUM for loss in mine)
    # Rates differ where there are two runs.
    assert len(settings) == min(3, len(runs))
    best = [
        min((losses[run.number] for run in s.runs if losses[run.number] is not None), default=math.inf)
        for s in settings
    ]
    assert best == sorted(best)


def test_only_runs_that_minimise_the_same_loss_are_compared():
    runs = [
        sweep_run(0, "prior=flat optimizer.learning_rate=1 seed=0", 5.0),
        sweep_run(1, "prior=flat optimizer.learning_rate=2 seed=1", 3.0),
        sweep_run(2, "prior=flat optimizer=sgd init=normal schedule.alpha=3 steps=9", 4.0),
        sweep_run(3, "prior=dirichlet optimizer.learning_rate=1 seed=0", 1.0),
        sweep_run(4, "prior=flat optimizer.learning_rate=1 seed=0", 2.0, data="other"),
        sweep_run(5, "prior=flat optimizer.learning_rate=1 seed=0", 0.0, k=3),
        sweep_run(6, "prior=flat seed=7", None, status="diverged"),
        sweep_run(7, "prior=flat seed=8", None, status="failed"),
        sweep_run(8, "prior=other seed=8", None, status="diverged"),
    ]
    expected = {0: 3.0, 1: 3.0, 2: 3.0, 3: 1.0, 4: 2.0, 5: 0.0, 6: 3.0}
    assert sweep_answers.best_losses(runs) == expected


def test_settings_leave_the_seed_and_what_is_the_same_in_all_unsaid():
    runs = [sweep_run(number, f"steps=9 n_components={2 + number // 2} seed={number % 2}", 1.0) for number in range(4)]
    settings = sweep_answers.settings_of(runs, "bic")
    assert [setting.overrides for setting in settings] == [("n_components=2",), ("n_components=3",)]
    assert [setting.label for setting in sweep_answers.settings_of(runs[:2], "bic")] == [""]


def test_the_log_likelihood_is_better_when_it_is_larger():
    runs = [sweep_run(0, "a=1", 5.0), sweep_run(1, "a=2", 3.0), sweep_run(2, "a=3", None, status="diverged")]
    for objective, expected in (("log_likelihood", 3.0), ("loss", 3.0), ("bic", 26.0)):
        least, best = sweep_answers.best_of(runs, objective)
        assert (least, best.number) == (expected, 1)
    assert [sweep_answers.cost(run, "nothing") for run in runs] == [math.inf] * 3


def test_metrics_are_compared_within_the_same_data():
    runs = [
        sweep_run(number, "a=1", loss, data=data)
        for number, (loss, data) in enumerate(zip([5, 3, 9, 4], "xyxy", strict=True))
    ]
    assert sweep_answers.excess_of_same_data(runs, "bic").tolist() == [0.0, 0.0, 8.0, 2.0]
    assert not sweep_answers.same_data(runs)
    assert sweep_answers.same_data([*runs[::2], sweep_run(9, "", None, status="failed")])


@pytest.mark.parametrize("period", [2, 3, 4, 5, 8, 10])
def test_an_even_choice_takes_as_many_of_each_label_whatever_the_order_of_the_sweep(period):
    labels = [str(index % period) for index in range(1000)]
    chosen = sweep_answers.even_choice(labels, 200)
    assert np.all(np.diff(chosen) > 0)
    assert np.bincount(chosen % period).tolist() == [200 // period] * period
    # Of one label, what comes round in regular steps is met about as often too.
    found = np.bincount(sweep_answers.even_choice(["same"] * 1000, 200) % period, minlength=period)
    assert found.min() >= 0.7 * 200 / period


@given(st.lists(st.sampled_from("abc"), max_size=30), st.integers(1, 40))
def test_an_even_choice_forgets_no_label_and_leaves_small_sweeps_whole(labels, most):
    chosen = sweep_answers.even_choice(labels, most)
    assert {labels[index] for index in chosen} == set(labels)
    assert len(chosen) <= max(most, len(set(labels)))
    if most >= 3 * len(labels):
        assert chosen.tolist() == list(range(len(labels)))


@pytest.mark.parametrize("count", [1, 2, 7, 200, 1000])
def test_jitter_leaves_no_large_gap(count):
    offsets = np.sort(sweep_answers.jitter(count))
    assert offsets[0] >= -0.5 and offsets[-1] < 0.5
    # Three-gap theorem: no gap of golden-ratio points is above φ² times the mean one.
    assert np.diff(offsets, prepend=offsets[-1] - 1.0).max() <= 2.62 / count


@given(st.lists(st.floats(0.0, 10.0) | st.just(math.inf), min_size=1, max_size=9))
def test_quantiles_are_values_of_runs_even_where_some_are_infinite(values):
    column = np.array(values)[:, None]
    (median,) = sweep_answers.quantile_of_runs(column, 0.5)
    assert median == statistics.median_low(values)
    (highest,) = sweep_answers.quantile_of_runs(column, 1.0)
    assert highest == max(values)


def history(steps, losses) -> History:
    mixtures = Mixture(*(np.ones((len(steps), 1)),) * 3)
    return History(np.array(steps), np.array(losses, np.float64), mixtures)


def test_losses_between_records_and_after_the_last():
    steps = np.array([0, 5, 10, 20, 40])
    found = sweep_answers.losses_at(steps, history([0, 10, 20], [8.0, 4.0, 3.0]))
    np.testing.assert_array_equal(found, [8.0, 6.0, 4.0, 3.0, 3.0])
    found = sweep_answers.losses_at(steps, history([0, 10, 20], [8.0, np.nan, 3.0]))
    np.testing.assert_array_equal(found, [8.0, np.inf, np.inf, np.inf, np.inf])
    assert np.isinf(sweep_answers.losses_at(steps, history([0, 10], [np.nan, np.nan]))).all()


def test_a_band_counts_who_is_lost():
    histories = [history([0, 1], [9.0, 4.0]), history([0, 1], [8.0, np.nan]), history([0, 1], [7.0, 2.0])]
    band = sweep_answers.band(histories, np.array([1.0, 1.0, 2.0]))
    assert (band.n_lost, band.n_runs) == (1, 3)
    np.testing.assert_array_equal(band.middle, [7.0, 3.0])
    np.testing.assert_array_equal(band.low, [5.0, 1e-2])
    np.testing.assert_array_equal(band.high, [8.0, np.inf])


def test_a_log_likelihood_that_falls_with_the_number_of_components_is_a_missed_optimum():
    def run(number, k, log_likelihood, *, overrides="", log_prior=0.0, data="ab"):
        made = sweep_run(number, f"n_components={k} seed={number} {overrides}", -log_likelihood, k=k, data=data)
        return made._replace(metrics={**made.metrics, "log_prior": log_prior})

    rising = [run(0, 1, -100.0), run(1, 2, -90.0), run(2, 2, -95.0), run(3, 3, -90.005)]
    assert sweep_answers.falls(rising) == []
    fallen = [*rising, run(4, 4, -93.0), run(5, 5, -80.0)]
    (found,) = sweep_answers.falls(fallen)
    assert (found.smaller.number, found.larger.number, found.nats) == (1, 4, 3.0)
    # Other data, another model, or what a prior may have taken are no reason.
    assert sweep_answers.falls([*rising, run(4, 4, -93.0, data="cd")]) == []
    assert sweep_answers.falls([*rising, run(4, 4, -93.0, overrides="scales=equal")]) == []
    assert sweep_answers.falls([*rising, run(4, 4, -93.0, log_prior=-3.5)]) == []
    assert len(sweep_answers.falls([*rising, run(4, 4, -93.0, overrides="optimizer=em restarts=2")])) == 0
    assert sweep_answers.compared(rising) == rising
    # All with as many components are barred, and no smaller or larger one; a second look sees the same.
    judged = sweep_answers.compared([*fallen, run(6, 4, -99.0)])
    assert [sweep_answers.barred(one) for one in judged] == [None] * 4 + ["missed", None, "missed"]
    assert sweep_answers.compared(judged) == judged
    assert [(fall.larger.number, fall.nats) for fall in sweep_answers.falls(judged)] == [(4, 3.0)]


@pytest.mark.parametrize("reason", ["coincident", "degenerate", "saddle"])
def test_what_bars_a_run_keeps_it_out_of_comparisons(reason):
    good, bad = sweep_run(0, "n_components=2", 5.0), sweep_run(1, "n_components=3", 1.0, k=3)
    bad = bad._replace(metrics={**bad.metrics, "barred": reason})
    assert sweep_answers.barred(bad) == reason
    assert sweep_answers.barred(good) is None
    assert sweep_answers.with_results([good, bad], "loss") == [good]
    assert sweep_answers.best_of([good, bad], "bic")[1] is good


def test_older_records_are_barred_by_their_degenerate_components():
    run = sweep_run(0, "n_components=2", 5.0)
    assert sweep_answers.barred(run._replace(metrics={**run.metrics, "n_degenerate": 2})) == "degenerate"
    assert sweep_answers.barred(run._replace(metrics={**run.metrics, "n_degenerate": 0})) is None
