"""How far an answer can be trusted, as the record, the terminal and the store say it; and what must not change it."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, ROUNDING_64, Ended, Fork
from hydra import compose, initialize_config_dir
from scipy import stats

from gmm_pipeline.analysis.answers import Answer, answer
from gmm_pipeline.stages import fit, loading

PICTURELESS = ("figures=none", "animation=none")
QUIET = ("tracking=none", *PICTURELESS)
NAMES = ("weights", "locs", "scales")


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def only(paths) -> Path:
    (path,) = paths
    return path


# --- what a record says ---------------------------------------------------------------------------------------------

RESAMPLED = ("search=none", "data.n_draws=200", "optimizer=squarem", "steps=100", "bootstrap=20", "level=0.9")


@pytest.fixture(scope="module")
def resampled(fork: Fork, tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], tuple[Path, Ended]]:
    """A fit with replicates, as often as it is asked for."""
    ran: dict[int, tuple[Path, Ended]] = {}

    def run(time: int) -> tuple[Path, Ended]:
        if time not in ran:
            folder = tmp_path_factory.mktemp("here")
            ended = fork(folder, "fit", *QUIET, *RESAMPLED)
            assert ended.returncode == 0, ended.stderr
            ran[time] = only((folder / "outputs/fit").iterdir()), ended
        return ran[time]

    return run


def test_parameters_have_errors_and_intervals(resampled):
    record, ended = resampled(0)
    parameters = read(record / "parameters.json")
    assert parameters["level"] == 0.9
    assert parameters["degenerate"] == []
    for one in (parameters, parameters["bootstrap"]):
        assert {"standard_errors", "lower", "upper"} <= set(one)
        for name in NAMES:
            errors, lower, upper = (np.array(one[end][name]) for end in ("standard_errors", "lower", "upper"))
            assert errors.shape == lower.shape == upper.shape == (2,)
            assert (errors > 0).all()
            assert (lower < parameters[name]).all()
            assert (upper > parameters[name]).all()
    locs, errors = np.array(parameters["locs"]), np.array(parameters["standard_errors"]["locs"])
    reach = stats.norm.ppf(0.95) * errors
    np.testing.assert_allclose(parameters["lower"]["locs"], locs - reach, rtol=ROUNDING_64)
    np.testing.assert_allclose(parameters["upper"]["locs"], locs + reach, rtol=ROUNDING_64)
    # Of components far apart: σ / √n_j; those of 20 replicates are worth a sixth of themselves.
    expected = np.array(parameters["scales"]) / np.sqrt(200 * np.array(parameters["weights"]))
    np.testing.assert_allclose(errors, expected, rtol=0.2)
    np.testing.assert_allclose(parameters["bootstrap"]["standard_errors"]["locs"], errors, rtol=0.6)
    shown = [f"{error:.2g}" for error in parameters["bootstrap"]["standard_errors"]["locs"]]
    table = ended.stdout[ended.stdout.index("± s.e.") :]
    assert all(error in table for error in shown)


def test_replicates_are_those_of_the_intervals(resampled):
    record, _ = resampled(0)
    parameters, metrics = read(record / "parameters.json"), read(record / "metrics.json")
    with np.load(record / "replicates.npz", allow_pickle=False) as replicates:
        assert set(replicates) == set(NAMES)
        lost = np.isnan(replicates["locs"]).any(axis=1)
        assert metrics["bootstrap_dropped"] == lost.sum() < 5
        for name in NAMES:
            assert replicates[name].shape == (20, 2)
            assert len(np.unique(replicates[name][~lost, 0])) > 15
            for end, share in (("lower", 0.05), ("upper", 0.95)):
                expected = np.quantile(replicates[name][~lost], share, axis=0)
                np.testing.assert_allclose(parameters["bootstrap"][end][name], expected, rtol=ROUNDING_64)


def test_every_start_is_in_the_record(resampled):
    record, ended = resampled(0)
    restarts, metrics = read(record / "restarts.json")["restarts"], read(record / "metrics.json")
    assert len(restarts) == metrics["restarts"] == 4
    assert {one["outcome"] for one in restarts} <= {"reached", "worse", "degenerate", "diverged"}
    reached = [one["log_posterior"] for one in restarts if one["outcome"] == "reached"]
    assert metrics["hit_rate"] == len(reached) / 4
    assert max(reached) - min(reached) < 0.01
    assert f"{len(reached)} of 4 starts reached the best optimum" in ended.stdout


def test_same_command_same_bytes(resampled):
    (one, _), (other, _) = resampled(0), resampled(1)
    for name in ("metrics.json", "parameters.json", "restarts.json", "replicates.npz", "history.npz"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


def test_a_fit_that_has_not_converged_says_so_wherever_it_is_seen(fork: Fork, tmp_path):
    ended = fork(tmp_path, "fit", *PICTURELESS, "search=none", "data.n_draws=100", "steps=5", "restarts=1")
    assert ended.returncode == 0, ended.stderr
    record = only((tmp_path / "outputs/fit").iterdir())
    metrics, about = read(record / "metrics.json"), read(record / "record.json")
    assert (metrics["converged"], metrics["n_steps"]) == (False, 5)
    assert metrics["gradient_norm"] > 1e-3
    assert about["status"] == "finished"
    (told,) = (line for line in about["verdict"] if "converged" in line)
    assert told.startswith("not converged in 5 steps: its gradient is ")
    assert f"{metrics['gradient_norm']:.2g} standard errors" in told
    assert told in ended.stdout
    assert "one start: whether others would reach a better optimum is unknown" in ended.stdout
    with closing(sqlite3.connect(tmp_path / "outputs/mlflow.db")) as store:
        logged = dict(store.execute("select key, value from latest_metrics").fetchall())
        (note,) = store.execute("select value from tags where key = 'mlflow.note.content'").fetchone()
    assert logged["converged"] == 0
    np.testing.assert_allclose(logged["gradient_norm"], metrics["gradient_norm"], rtol=ROUNDING_64)
    assert f"- {told}" in note


def test_a_collapse_is_flagged_and_is_never_the_best_of_a_sweep(fork: Fork, tmp_path):
    # Whole hours: a component that sits on the twenty data at 20 has any likelihood, but for the floor of its scale.
    values = [*np.random.default_rng(3).normal(0, 3, 60).round(2), *[20.0] * 20]
    (tmp_path / "ties.csv").write_text("\n".join(["x", *map(str, values)]) + "\n")
    of_file = ("data=file", "data.path=ties.csv")
    settings = (*of_file, "search=none", "init=kmeans", "prior=flat", "scale_floor=0.01", "steps=200")
    ended = fork(tmp_path, "fit", "-m", *QUIET, *settings, "n_components=1,2,5", "objective=loss", "sweep=ties")
    assert ended.returncode == 0, ended.stderr
    sweep = tmp_path / "outputs/sweeps/ties"
    one, two, five = (read(sweep / number / "metrics.json") for number in "012")
    assert one["n_degenerate"] == 0
    assert two["n_degenerate"] >= 1
    assert five["n_degenerate"] >= 1
    assert max(two["log_likelihood"], five["log_likelihood"]) > one["log_likelihood"] + 10
    parameters, about = read(sweep / "1/parameters.json"), read(sweep / "1/record.json")
    assert parameters["degenerate"] == [1]
    np.testing.assert_allclose(parameters["scales"][1], 0.01 * np.std(values), rtol=0.011)
    assert "component 1 degenerate: at the floor of the scales" in about["verdict"][0]
    assert f"(the weight of {80 * parameters['weights'][1]:,.1f})" in about["verdict"][0]
    assert "2 of them with a degenerate component, left out of comparisons" in ended.stdout
    ranked = [line.split() for line in ended.stdout.splitlines() if line.startswith(("1 ", "2 "))]
    assert [row[1] for row in ranked] == ["1"]
    ended = fork(tmp_path, "fit", *QUIET, *settings, "n_components=2")
    assert ended.returncode == 0
    assert "component 1 degenerate: at the floor of the scales" in ended.stdout


def test_em_and_squarem_reach_what_adam_reaches(fork: Fork, tmp_path):
    optimizers = ("adam", "em", "squarem")
    axes = (f"optimizer={','.join(optimizers)}", "sweep=optimizers")
    ended = fork(tmp_path, "fit", "-m", *QUIET, "data.n_draws=300", "steps=800", "restarts=2", "search.rounds=4", *axes)
    assert ended.returncode == 0, ended.stderr
    records = [tmp_path / "outputs/sweeps/optimizers" / str(number) for number in range(3)]
    metrics = [read(record / "metrics.json") for record in records]
    assert all(one["converged"] for one in metrics)
    assert all(one["n_steps"] < 800 for one in metrics[1:])
    assert metrics[2]["n_steps"] <= metrics[1]["n_steps"]
    losses = [one["loss"] for one in metrics]
    assert max(losses) - min(losses) < 1e-3
    reached = [np.array([read(record / "parameters.json")[name] for name in NAMES]) for record in records]
    for ours in reached[1:]:
        np.testing.assert_allclose(ours, reached[0], rtol=1e-2)


def test_a_dirichlet_process_reports_what_it_learned(fork: Fork, tmp_path):
    settings = (
        "prior=dirichlet_process",
        "init=quantile",
        "init.overlap=20",
        "n_components=8",
        "restarts=1",
        "search.rounds=3",
    )
    ended = fork(tmp_path, "fit", *QUIET, *settings, "data=four_modes", "data.n_draws=400", "steps=300")
    assert ended.returncode == 0, ended.stderr
    parameters = read(only((tmp_path / "outputs/fit").iterdir()) / "parameters.json")
    assert set(parameters["learned"]) == {"concentration"}
    assert 0 < parameters["learned"]["concentration"] < 8
    assert parameters["learned"]["concentration"] != 1.0  # where it starts
    assert len(parameters["weights"]) == 8
    assert parameters["degenerate"] == []  # components without data are what such a prior is for


# --- what must not change an answer ---------------------------------------------------------------------------------


@pytest.fixture
def answered(tmp_path: Path) -> Callable[..., Answer]:
    """The answers of a fit of columns of data, without the command around it."""

    def run(columns: dict[str, np.ndarray], *overrides: str) -> Answer:
        path = tmp_path / "data.csv"
        rows = zip(*(map(repr, map(float, column)) for column in columns.values()), strict=True)
        path.write_text("\n".join([",".join(columns), *map(",".join, rows)]) + "\n")
        weights = ["data.weights_column=w"] if "w" in columns else []
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            cfg = compose(
                "fit",
                ["data=file", f"data.path='{path}'", "data.column=x", *weights, "compilation_cache=null", *overrides],
            )
        job = loading.load(cfg)
        return answer(job, *fit.compute([job], {"kind": "threads", "workers": None, "devices": "all"}))

    return run


RANDOM = np.random.default_rng(11)
DATA = np.concatenate([RANDOM.normal(-2, 1, 60), RANDOM.normal(4, 2, 100)])
EXACTLY = ("precision=float64", "steps=300", "restarts=2")
# What is a density of the data changes with their unit, by n log a or twice that.
IN_NATS = {"loss": 1, "log_likelihood": -1, "aic": 2, "bic": 2, "icl": 2}
PRIOR = "prior=weakly_informative"


@pytest.mark.parametrize(("shift", "factor"), [(0.0, 1e-6), (0.0, 1e6), (1e6, 1.0)], ids=["micro", "mega", "shifted"])
def test_a_change_of_units_changes_units_alone(answered, shift, factor):
    plain = answered({"x": DATA}, *EXACTLY, PRIOR)
    changed = answered({"x": shift + factor * DATA}, *EXACTLY, PRIOR)
    assert plain.metrics["converged"]
    # Data of 1e6 have lost six digits of sixteen, and steps multiply what is left of the difference.
    tolerance = 1e-6
    assert set(changed.metrics) == set(plain.metrics)
    for name, value in plain.metrics.items():
        if value is None:
            assert changed.metrics[name] is None, name
            continue
        expected = value + IN_NATS.get(name, 0) * len(DATA) * np.log(factor)
        absolute = 1e-6 if name == "gradient_norm" else 0.0
        np.testing.assert_allclose(changed.metrics[name], expected, rtol=tolerance, atol=absolute, err_msg=name)
    for ours, theirs, moved in (
        (plain.fitted, changed.fitted, shift),
        (plain.asymptotic.standard_errors, changed.asymptotic.standard_errors, 0.0),
        (plain.asymptotic.lower, changed.asymptotic.lower, shift),
        (plain.asymptotic.upper, changed.asymptotic.upper, shift),
    ):
        np.testing.assert_allclose(theirs.weights, ours.weights, rtol=tolerance)
        np.testing.assert_allclose((theirs.locs - moved) / factor, ours.locs, rtol=tolerance, atol=1e-8)
        np.testing.assert_allclose(theirs.scales / factor, ours.scales, rtol=tolerance)
    assert [one.outcome for one in changed.restarts] == [one.outcome for one in plain.restarts]


def test_weights_of_two_are_the_data_twice(answered):
    settings = (*EXACTLY, "optimizer=squarem")
    weighted = answered({"x": DATA, "w": np.full(len(DATA), 2.0)}, *settings)
    twice = answered({"x": np.repeat(DATA, 2)}, *settings)
    once = answered({"x": DATA}, *settings)
    errors = twice.asymptotic.standard_errors
    # Both converged to within thousandths of a standard error, from starts that differ.
    for ours, theirs, error in zip(weighted.fitted, twice.fitted, errors, strict=True):
        assert (np.abs(ours - theirs) < 0.01 * error).all()
    for ours, theirs in zip(weighted.asymptotic.standard_errors, errors, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3)
    for name in ("loss", "log_likelihood", "aic", "bic", "icl"):
        np.testing.assert_allclose(weighted.metrics[name], twice.metrics[name], rtol=1e-6, err_msg=name)
    for ours, theirs in zip(once.asymptotic.standard_errors, errors, strict=True):
        np.testing.assert_allclose(ours / theirs, np.sqrt(2), rtol=0.1)  # the prior is worth a datum or two
