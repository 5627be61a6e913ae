from pathlib import Path

import pytest

from gmm_pipeline.analysis.sweep_answers import compared
from gmm_pipeline.records.sweeps import Manifest, ManifestRun, SweepRun
from gmm_pipeline.stages import sweep_summary


def sweep_run(
    number: int,
    overrides: str,
    bic: float | None,
    *,
    loss: float | None = 1.0,
    k=2,
    data="ab",
    status="finished",
    error=None,
):
    metrics = {"bic": bic, "aic": bic, "loss": loss, "log_likelihood": loss and -loss, "n_components": k}
    return SweepRun(
        number=number,
        overrides=tuple(overrides.split()),
        status=status,
        error=error,
        metrics={} if status == "failed" else metrics,
        fitted=None,
        truth=None,
        data_name="x",
        data_digest=data,
        unit=None,
        digest=None,
        record=str(number),
    )


def told(capsys, runs, objective="bic", missing=0, tables=(), pictures=()) -> str:
    asked = [ManifestRun(run.number, run.overrides, None) for run in runs]
    asked += [ManifestRun(1000 + number, (), None) for number in range(missing)]
    manifest = Manifest("0" * 32, "study", "fit", "2026-01-01T00:00:00+00:00", objective, asked)
    sweep_summary.print_summary(
        manifest,
        runs,
        Path.cwd() / "outputs" / "sweeps" / "study",
        objective=objective,
        resume_command="fit -m sweep=study",
        tables=tables,
        pictures=pictures,
    )
    return capsys.readouterr().out


def by_count(*bics: float) -> list[SweepRun]:
    return [sweep_run(k, f"n_components={k}", bic, k=k) for k, bic in enumerate(bics, start=1)]


@pytest.mark.parametrize(
    ("gap", "words"),
    [
        (0.5, "not worth more than a bare mention"),
        (5.0, "positive evidence against it"),
        (9.5, ": strong evidence against it"),
        (14.25, "very strong evidence against it"),
    ],
)
def test_a_difference_of_bic_is_put_in_words(capsys, gap, words):
    out = told(capsys, by_count(500.0, 100.0, 100.0 + gap))
    assert f"BIC is lowest at n_components=2; the next, n_components=3, is {gap:.1f} higher" in out
    assert words in out
    assert "Kass & Raftery 1995" in out


def test_aic_has_words_of_its_own(capsys):
    out = told(capsys, by_count(500.0, 100.0, 105.0), objective="aic")
    assert "AIC is lowest at n_components=2" in out and "Burnham & Anderson 2002" in out
    assert "considerably less support" in out


def test_a_likelihood_is_better_when_higher_and_no_judge_of_components(capsys):
    runs = [sweep_run(k, f"n_components={k}", 0.0, loss=10.0 / k, k=k) for k in (1, 2)]
    out = told(capsys, runs, objective="log_likelihood")
    assert "Log-likelihood is highest at n_components=2; the next, n_components=1, is 5.0 lower" in out
    assert "objective=bic" in out


def test_seeds_that_reached_the_best_are_counted(capsys):
    runs = [sweep_run(seed, f"seed={seed}", 100.0, loss=5.0 + (seed >= 6)) for seed in range(8)]
    out = told(capsys, [*runs, sweep_run(8, "seed=8", None, loss=None, status="diverged")])
    assert "6 of 9 seeds reached the best loss within 0.01 nats." in out
    out = told(capsys, runs[5:])
    assert "1 of 3 seeds reached the best loss" in out and "try more seeds" in out


def test_ways_to_fit_are_no_evidence(capsys):
    runs = [sweep_run(0, "rate=1", 100.0), sweep_run(1, "rate=2", 100.5), sweep_run(2, "rate=3", 100.0005)]
    out = told(capsys, runs[:2])
    assert "BIC is lowest with rate=1; the next, rate=2, is 0.5 higher" in out and "Raftery" not in out
    assert "the next, rate=3, is as good" in told(capsys, runs)


def test_different_data_are_not_compared(capsys):
    out = told(capsys, [sweep_run(0, "data=a", 100.0, data="a"), sweep_run(1, "data=b", 50.0, data="b")])
    assert "2 data sets: BIC of different data cannot be compared" in out
    assert "lowest" not in out


def test_the_best_few_stand_in_order_with_what_was_set(capsys):
    out = told(capsys, by_count(70.0, 10.0, 30.0, 20.0, 60.0, 40.0, 50.0))
    rows = [line.split() for line in out.splitlines() if line[:1].isdigit()]
    assert [row[:3] for row in rows] == [
        ["1", "2", "10.000"],
        ["2", "4", "20.000"],
        ["3", "3", "30.000"],
        ["4", "6", "40.000"],
        ["5", "7", "50.000"],
    ]
    assert "and 2 more" in out


def test_long_keys_and_many_columns_lose_no_digit(capsys):
    key = "optimizer.some_long_name_of_a_hyperparameter"
    runs = [sweep_run(n, f"{key}={n} another.long_name_of_a_key={n}", 1234567.125 + n) for n in range(2)]
    out = told(capsys, runs)
    assert "1234567.125" in out and key in out and "…" not in out


def test_failures_are_told_with_their_reason_and_where_the_rest_is(capsys):
    runs = [sweep_run(n, f"seed={n} steps=5", None, status="failed", error=f"reason {n}") for n in range(13)]
    runs[1] = sweep_run(1, "seed=1 steps=5", None, loss=None, status="diverged")
    out = told(capsys, runs, tables=[Path.cwd() / "t" / "sweep.parquet", Path.cwd() / "t" / "sweep.csv"], missing=4)
    assert "17 runs: 1 diverged, 12 failed, 4 not run" in out
    assert "run 0 (seed=0) failed: reason 0" in out
    assert "run 1 (seed=1) diverged: its loss or parameters are not finite" in out
    assert "reason 9" in out and "reason 10" not in out
    assert "and 3 more, in t/sweep.csv" in out
    assert "table: t/sweep.parquet and t/sweep.csv" in out
    assert "fit what is missing or failed: fit -m sweep=study" in out


def test_a_whole_sweep_needs_no_command_to_resume(capsys):
    out = told(capsys, by_count(3.0, 2.0), pictures=[Path.cwd() / "f" / name for name in ("a.png", "a.svg", "b.png")])
    assert "2 runs: 2 finished\n" in out
    assert "pictures: f (a, b)" in out
    assert "missing" not in out and "failed" not in out


def test_a_metric_that_no_run_has_is_said(capsys):
    assert "No finished run has a finite nothing" in told(capsys, by_count(3.0, 2.0), objective="nothing")


def test_brackets_are_no_markup(capsys):
    out = told(capsys, [sweep_run(n, f"data.locs=[{n},2]", 100.0 + n, error=None) for n in range(2)])
    assert "[0,2]" in out


def test_a_best_number_at_the_edge_is_told(capsys):
    assert "n_components=3 is the most that the sweep tried: try more." in told(capsys, by_count(30.0, 20.0, 10.0))
    assert "the sweep tried" not in told(capsys, by_count(30.0, 10.0, 20.0))
    assert "the sweep tried" not in told(capsys, by_count(10.0, 20.0, 30.0))  # no fewer than one
    assert "n_components=2 is the fewest that the sweep tried: try fewer." in told(
        capsys, by_count(9.0, 10.0, 30.0)[1:]
    )
    assert "the sweep tried" not in told(capsys, by_count(30.0, 20.0, 10.0), objective="loss")
    assert "the sweep tried" not in told(capsys, by_count(30.0, 20.0, 10.0), missing=3)  # more may come


def test_numbers_that_a_run_chose_of_are_not_those_that_the_sweep_tried(capsys):
    chose = sweep_run(0, "n_components=auto", 10.0, k=3)
    said = told(capsys, [chose, sweep_run(1, "n_components=4", 17.0, k=4)])
    assert "the sweep tried" not in said
    assert "the next" not in said
    assert "see its selection" in said


def test_a_log_likelihood_that_falls_is_told(capsys):
    runs = [
        run._replace(metrics={**run.metrics, "log_prior": 0.0, "log_likelihood": value})
        for run, value in zip(by_count(30.0, 10.0, 20.0), (-9.0, -5.0, -7.5), strict=True)
    ]
    said = told(capsys, compared(runs))
    assert "falls from n_components=2 (run 2) to n_components=3 (run 3) by 2.5 nats" in said
    assert "1 of them below a mixture that the model contains, left out of comparisons" in said
    assert "the next, n_components=1," in said
    assert "is the most that the sweep tried" not in said
    assert "falls" not in told(capsys, runs[:2])


def test_what_falls_is_not_the_best_by_any_objective(capsys):
    """A prior, or how much components overlap, may favour a fit whose likelihood says that it missed its optimum."""
    runs = [
        run._replace(metrics={**run.metrics, "log_prior": 0.0, "log_likelihood": value})
        for run, value in zip(by_count(30.0, 10.0), (-5.0, -7.5), strict=True)
    ]
    assert "lowest at n_components=2" in told(capsys, runs)
    said = told(capsys, compared(runs))
    assert "2 (run 2) by 2.5 nats" in said
    assert "lowest at" not in said


def test_what_bars_runs_is_counted_by_reason(capsys):
    runs = by_count(30.0, 10.0, 5.0, 6.0, 7.0)
    reasons = (None, None, "coincident", "degenerate", "coincident")
    runs = [run._replace(metrics={**run.metrics, "barred": why}) for run, why in zip(runs, reasons, strict=True)]
    said = told(capsys, runs)
    assert "2 of them with components that coincide, left out of comparisons" in said
    assert "1 of them with a degenerate component, left out of comparisons" in said
    assert "lowest at n_components=2" in said
