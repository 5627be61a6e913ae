"""`n_components=auto`: every candidate is in the record, the criterion has its way, and all are one program."""

import csv
import json
import re
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from conftest import ROOT, ROUNDING_64, Ended, Fork
from hydra import compose, initialize_config_dir
from pyarrow import parquet

from gmm_pipeline.analysis import cross_validation, estimates
from gmm_pipeline.analysis.singular_bic import singular_bic
from gmm_pipeline.inference import batching
from gmm_pipeline.stages import loading

QUIET = ("tracking=none", "figures=none", "animation=none")
# EM converges in a few steps, and the modes of 200 data are far enough apart for every criterion.
SMALL = ("data.n_draws=200", "optimizer=squarem", "steps=200", "restarts=2")
AUTO = ("n_components=auto", "selection.largest=3")
Selected = Callable[..., tuple[Path, Ended]]


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def rows_of(record: Path) -> list[dict[str, str]]:
    with (record / "selection.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def numbers(rows: list[dict[str, str]], name: str) -> np.ndarray:
    return np.array([float(row[name]) if row[name] not in ("", "null") else np.nan for row in rows])


def chosen_of(record: Path) -> dict[str, str]:
    (row,) = (row for row in rows_of(record) if row["chosen"] == "true")
    return row


@pytest.fixture(scope="module")
def selected(fork: Fork, tmp_path_factory: pytest.TempPathFactory) -> Selected:
    """A selection, run once: its record and how it ended."""
    ran: dict[tuple[str, ...], tuple[Path, Ended]] = {}

    def run(*arguments: str) -> tuple[Path, Ended]:
        if arguments not in ran:
            folder = tmp_path_factory.mktemp("here")
            ended = fork(folder, "fit", *QUIET, *SMALL, *AUTO, *arguments)
            assert ended.returncode == 0, ended.stderr
            (record,) = (folder / "outputs/fit").iterdir()
            ran[arguments] = record, ended
        return ran[arguments]

    return run


def test_bic_chooses_the_number_that_made_the_data(selected):
    record, _ = selected("criterion=bic")
    rows, metrics = rows_of(record), read(record / "metrics.json")
    assert metrics["n_components"] == len(read(record / "parameters.json")["weights"]) == 2
    assert len(rows) == 5
    assert {(row["n_components"], row["scales"]) for row in rows[1:]} == set(product("23", ("free", "equal")))
    assert rows[0]["n_components"] == "1"
    log_likelihoods, n_parameters = numbers(rows, "log_likelihood"), numbers(rows, "n_parameters")
    assert sorted(n_parameters) == [2, 4, 5, 6, 8]
    np.testing.assert_allclose(numbers(rows, "bic"), n_parameters * np.log(200) - 2 * log_likelihoods, rtol=ROUNDING_64)
    np.testing.assert_allclose(numbers(rows, "aic"), 2 * n_parameters - 2 * log_likelihoods, rtol=ROUNDING_64)
    assert (numbers(rows, "icl") >= numbers(rows, "bic")).all()


def test_what_was_chosen_is_the_answer_of_the_record(selected):
    record, _ = selected("criterion=bic")
    chosen, metrics, parameters = chosen_of(record), read(record / "metrics.json"), read(record / "parameters.json")
    for name in ("log_likelihood", "aic", "bic", "icl", "sbic", "n_parameters", "n_components"):
        np.testing.assert_allclose(float(chosen[name]), metrics[name], rtol=ROUNDING_64, err_msg=name)
    sound = [row for row in rows_of(record) if row["degenerate"] == "0"]
    assert float(chosen["bic"]) == min(numbers(sound, "bic"))
    assert chosen["scales"] == parameters["scales_are"]
    assert len(set(parameters["scales"])) == (1 if chosen["scales"] == "equal" else 2)


def test_the_table_marks_what_was_chosen(selected):
    record, ended = selected("criterion=bic")
    chosen = chosen_of(record)
    (marked,) = (line.split() for line in ended.stdout.splitlines() if line.startswith("*"))
    assert marked[1:3] == [chosen["n_components"], chosen["scales"]]
    assert f"{float(chosen['bic']):.3f}" in marked
    header = next(line.split() for line in ended.stdout.splitlines() if "n_components" in line and "bic" in line)
    assert header[:4] == ["n_components", "scales", "log_likelihood", "bic"]  # the criterion is the first
    listed = re.findall(r"^\*? +(\d) +(free|equal) ", ended.stdout, re.MULTILINE)
    assert listed == [(row["n_components"], row["scales"]) for row in rows_of(record)]


def test_folds_choose_what_predicts_data_left_out_best(selected):
    record, ended = selected("criterion=held_out", "folds=3", "selection.scales=[free]")
    rows, metrics = rows_of(record), read(record / "metrics.json")
    assert [row["n_components"] for row in rows] == ["1", "2", "3"]
    held_out = numbers(rows, "held_out")
    assert np.isfinite(held_out).all()
    assert held_out[1] > held_out[0] + 10
    sound = [row for row in rows if row["degenerate"] == "0"]
    chosen = chosen_of(record)
    assert float(chosen["held_out"]) == max(numbers(sound, "held_out"))
    assert (metrics["held_out"], metrics["held_out_error"]) == (
        float(chosen["held_out"]),
        float(chosen["held_out_error"]),
    )
    assert float(chosen["held_out_gap_error"]) == 0.0
    assert metrics["held_out"] < metrics["log_likelihood"]
    assert f"held-out log-likelihood {metrics['held_out']:.3f}" in ended.stdout


def test_likelihood_ratio_chooses_the_smallest_number_that_is_not_rejected(selected):
    record, ended = selected("criterion=likelihood_ratio", "likelihood_ratio=19", "level=0.9")
    rows, metrics = rows_of(record), read(record / "metrics.json")
    assert [(row["n_components"], row["scales"]) for row in rows] == [("1", "free"), ("2", "free"), ("3", "free")]
    p_values = numbers(rows, "p_value")
    assert p_values[0] == 0.05  # one of twenty, the least there is
    assert p_values[1] > 0.1
    assert np.isnan(p_values[2])
    assert chosen_of(record)["n_components"] == "2"
    assert metrics["p_value"] == p_values[1]
    told = [line for line in read(record / "record.json")["verdict"] if line.startswith("likelihood-ratio test")]
    assert [line.split(":")[0] for line in told] == [
        f"likelihood-ratio test of {k} against {k + 1} components" for k in (1, 2)
    ]
    assert all(line in ended.stdout for line in told)


def test_runs_of_a_sweep_choose_each(fork: Fork, tmp_path):
    ended = fork(tmp_path, "fit", "-m", *QUIET, *SMALL, *AUTO, "selection.scales=[free]", "seed=0,1", "sweep=chosen")
    assert ended.returncode == 0, ended.stderr
    sweep = tmp_path / "outputs/sweeps/chosen"
    for number in "01":
        assert read(sweep / number / "metrics.json")["n_components"] == 2
        assert len(rows_of(sweep / number)) == 3
        assert chosen_of(sweep / number)["n_components"] == "2"
    table = parquet.read_table(sweep / "sweep.parquet")
    assert table["n_components"].to_pylist() == [2, 2]
    assert "2 finished" in ended.stdout


LARGEST_2 = "selection.largest=2"


def job_of(*overrides: str) -> estimates.Job:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return loading.load(compose("fit", [*overrides, "compilation_cache=null"]))


@pytest.mark.parametrize("prior", ["dirichlet", "weakly_informative", "dirichlet_process"])
def test_a_selection_is_one_program(prior):
    job = job_of("n_components=auto", f"prior={prior}", "data.n_draws=300", "steps=100", "folds=4")
    candidates = estimates.candidates_of(job)
    assert len(candidates) == 17
    assert {(one.plan.n_components, one.equal_scales) for one in candidates[1:]} == set(
        product(range(2, 10), (True, False))
    )
    folds = [one for fit in candidates for one in cross_validation.fold_jobs(fit, 4, jax.random.PRNGKey(1))]
    assert len({batching.program_of(one) for one in (*candidates, *folds)}) == 1


def test_one_component_has_the_units_of_the_model_that_it_is_fitted_with():
    models = ("covariance=auto", "selection.covariances=[EEV,VEV]")
    one, two = estimates.candidates_of(job_of("data=three_clusters", "prior=flat", *models, "n_components=auto"))[:2]
    assert (one.covariance, two.covariance) == ("EEE", "EEV")
    np.testing.assert_allclose(np.cov(one.data.T, bias=True), np.eye(2), atol=ROUNDING_64)
    assert np.trace(np.cov(two.data.T, bias=True)) == pytest.approx(2.0)  # by one factor, which keeps orientations
    assert not np.allclose(np.cov(two.data.T, bias=True), np.eye(2), atol=0.1)


def test_more_components_than_distinct_data_are_not_tried(tmp_path):
    (tmp_path / "x.csv").write_text("x\n" + "\n".join(map(str, [1, 2, 2, 3, 4, 4, 4])) + "\n")
    job = job_of("data=file", f"data.path='{tmp_path}/x.csv'", "n_components=auto")
    assert job.asked.numbers == (1, 2, 3, 4)
    assert max(one.plan.n_components for one in estimates.candidates_of(job)) == 4


def test_bounds_may_name_one_number_and_then_nothing_is_chosen(fork: Fork, tmp_path):
    bounds = ("selection.smallest=2", "selection.largest=2", "selection.scales=[equal]")
    ended = fork(tmp_path, "fit", *QUIET, *SMALL, "n_components=auto", *bounds)
    assert ended.returncode == 0, ended.stderr
    (record,) = (tmp_path / "outputs/fit").iterdir()
    assert not (record / "selection.csv").exists()
    parameters = read(record / "parameters.json")
    assert parameters["scales_are"] == "equal"
    assert len(parameters["scales"]) == 2
    assert len(set(parameters["scales"])) == 1


def test_a_smallest_number_that_collapses_is_not_tested_but_said(fork: Fork, tmp_path):
    (tmp_path / "x.csv").write_text("x\n" + "1\n" * 20 + "5\n" * 20 + "7.5\n" * 3)
    ended = fork(
        *(tmp_path, "fit", *QUIET, "data=file", "data.path=x.csv", "prior=flat", "steps=300", "n_components=auto"),
        *("selection.smallest=3", "selection.largest=4", "criterion=likelihood_ratio"),
        "likelihood_ratio=19",
    )
    assert ended.returncode == 0, ended.stderr
    assert "degenerate: at the floor of the scales" in ended.stdout


def test_where_the_chosen_fit_turns_out_degenerate_the_next_best_is_the_answer(monkeypatch):
    job = job_of("data=two_modes", "data.n_draws=300", "prior=flat", "steps=100", "n_components=auto", LARGEST_2)
    whole = estimates.fit_all

    def degenerate_if_trained(fits, **given):
        results = whole(fits, **given)
        return [
            one._replace(degenerate=(1,)) if fit.trained and fit.plan.n_components == 2 else one
            for fit, one in zip(fits, results, strict=True)
        ]

    monkeypatch.setattr(estimates, "fit_all", degenerate_if_trained)
    (found,) = estimates.estimate([job])
    assert [one.degenerate for one in found.candidates] == [(), (1,), (1,)]
    assert found.candidates[found.chosen].n_components == found.fit.plan.n_components == 1
    assert found.result.degenerate == ()


def test_where_the_chosen_fit_turns_out_better_all_candidates_are_compared_with_it_again(monkeypatch):
    job = job_of("data=two_modes", "data.n_draws=300", "prior=flat", "steps=100", "n_components=auto", LARGEST_2)
    whole = estimates.fit_all

    def short_unless_trained(fits, **given):
        results = whole(fits, **given)
        moved = [one.parameters._replace(component_mus=one.parameters.component_mus + 0.1) for one in results]
        return [
            one if fit.trained else one._replace(parameters=there)
            for fit, one, there in zip(fits, results, moved, strict=True)
        ]

    monkeypatch.setattr(estimates, "fit_all", short_unless_trained)
    (found,) = estimates.estimate([job])
    chosen = found.candidates[found.chosen]
    chain = [found.candidates[0], chosen]
    counts, sizes = [one.n_components for one in chain], [one.n_parameters for one in chain]
    expected = singular_bic(counts, sizes, [one.log_likelihood for one in chain], 300.0)
    np.testing.assert_allclose([one.sbic or 0.0 for one in chain], expected, rtol=1e-12)
    assert chosen.n_components == found.fit.plan.n_components == 2
