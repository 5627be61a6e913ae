"""The command `fit`, end to end: real processes, real files, and every number of a record recomputed elsewhere."""

import json
import math
import re
import shlex
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from conftest import ROUNDING_32, ROUNDING_64, Cli, Ended, Fork
from hydra.core.override_parser.overrides_parser import OverridesParser
from pyarrow import csv, parquet
from scipy import special, stats

QUIET = ("tracking=none", "figures=none", "animation=none")
# The steps are all taken, so that the history has a known length.
SMALL = ("data.n_draws=600", "steps=300", "history_every=7", "tolerance=0")
FEW_FRAMES = ("animation.formats=[gif]", "animation.frames=4", "animation.dpi=40")
NUMBERS = ("parameters.json", "metrics.json", "restarts.json", "data.json")
RESULTS = (*NUMBERS, "history.npz", "loss.csv", "assignments.parquet")
PICTURES = [
    f"{name}.{suffix}"
    for name in ("classification", "fitted_density", "loss", "parameter_traces", "uncertainty", "weights")
    for suffix in ("png", "svg")
]
RECORDED = {*RESULTS, "assignments.csv", "config.yaml", "fit.log", "record.json", ".hydra"}


def read(path: Path) -> dict:
    """JSON as the standard has it: without NaN and Infinity."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} in {path}")

    return json.loads(path.read_text(), parse_constant=refuse)


def written(record: Path) -> set[str]:
    """What a record holds, but for the changes of a checkout that is being worked on."""
    return {path.name for path in record.iterdir()} - {"code.diff"}


def pictures(record: Path) -> set[str]:
    """The starts are drawn where they differ."""
    differ = {one["outcome"] for one in read(record / "restarts.json")["restarts"]} != {"reached"}
    return {*PICTURES, *(["restarts.png", "restarts.svg"] if differ else [])}


def mixture(record: Path) -> list[np.ndarray]:
    return [np.array(read(record / "parameters.json")[name]) for name in ("weights", "locs", "scales")]


def log_terms(data: np.ndarray, weights: np.ndarray, locs: np.ndarray, scales: np.ndarray) -> np.ndarray:
    return np.log(weights)[None, :] + stats.norm.logpdf(data[:, None], locs[None, :], scales[None, :])


def only(paths) -> Path:
    (path,) = paths
    return path


@pytest.fixture(scope="module")
def once(fork: Fork, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[Path, Ended]]:
    """A command that several tests look at the outcome of, run once; gives its folder and how it ended."""
    ran: dict[tuple[str, ...], tuple[Path, Ended]] = {}

    def run(*arguments: str) -> tuple[Path, Ended]:
        if arguments not in ran:
            folder = tmp_path_factory.mktemp("here")
            ran[arguments] = folder, fork(folder, *arguments)
        return ran[arguments]

    return run


@pytest.fixture
def tracked(once) -> tuple[Path, Ended]:
    """The main job, whole: pictures, animation, and a run in a store of its own."""
    return once("fit", *SMALL, *FEW_FRAMES)


@pytest.fixture
def record(tracked: tuple[Path, Ended]) -> Path:
    folder, finished = tracked
    assert finished.returncode == 0, finished.stderr
    return only((folder / "outputs" / "fit").iterdir())


def test_record_is_complete(record):
    assert written(record) == {*RECORDED, "figures", "animation"}
    assert {path.name for path in (record / "figures").iterdir()} == pictures(record)
    assert [path.name for path in (record / "animation").iterdir()] == ["training.gif"]
    assert not [path for path in record.rglob(".*") if path.name != ".hydra"]  # nothing half-written
    assert {path.name for path in (record / ".hydra").iterdir()} == {"config.yaml", "hydra.yaml", "overrides.yaml"}


def test_names_that_others_read(record):
    parameters, metrics = read(record / "parameters.json"), read(record / "metrics.json")
    assert all(len(parameters[name]) == 2 for name in ("weights", "locs", "scales"))
    assert parameters["locs"] == sorted(parameters["locs"])
    assert {"loss", "log_likelihood", "log_prior", "aic", "bic", "n_data", "n_parameters", "n_steps"} <= set(metrics)
    assert (metrics["n_data"], metrics["n_parameters"], metrics["n_steps"]) == (600, 5, 300)
    assert all(isinstance(metrics[name], int) for name in ("n_data", "n_parameters", "n_steps", "n_components"))


def test_metrics_are_those_of_the_parameters_and_the_data(record):
    weights, locs, scales = mixture(record)
    data = parquet.read_table(record / "assignments.parquet")["datum"].to_numpy()
    metrics = read(record / "metrics.json")
    log_likelihood = np.logaddexp.reduce(log_terms(data, weights, locs, scales), axis=1).sum()
    np.testing.assert_allclose(weights.sum(), 1.0, rtol=ROUNDING_64)
    np.testing.assert_allclose(metrics["log_likelihood"], log_likelihood, rtol=ROUNDING_64)
    np.testing.assert_allclose(
        metrics["log_prior"], stats.dirichlet.logpdf(weights / weights.sum(), [2.0, 2.0]), rtol=1e-10
    )  # near 0
    np.testing.assert_allclose(metrics["loss"], -(metrics["log_likelihood"] + metrics["log_prior"]), rtol=ROUNDING_64)
    np.testing.assert_allclose(metrics["aic"], 2 * 5 - 2 * log_likelihood, rtol=ROUNDING_64)
    np.testing.assert_allclose(metrics["bic"], 5 * np.log(600) - 2 * log_likelihood, rtol=ROUNDING_64)


def test_assignments_are_those_of_the_parameters(record):
    table = parquet.read_table(record / "assignments.parquet")
    assert table.column_names == ["datum", "label", "uncertainty", "responsibility_0", "responsibility_1"]
    data, labels, uncertainty, *columns = (column.to_numpy() for column in table.columns)
    responsibilities = np.stack(columns, axis=1)
    expected = special.softmax(log_terms(data, *mixture(record)), axis=1)
    np.testing.assert_allclose(
        responsibilities, expected, rtol=1e-9, atol=1e-15
    )  # of the order of exp(-60) in the tails
    np.testing.assert_array_equal(labels, expected.argmax(axis=1))
    np.testing.assert_allclose(uncertainty, expected.min(axis=1), rtol=1e-9, atol=1e-15)  # of two components


def test_history_begins_before_the_first_step_and_ends_at_the_answer(record):
    with np.load(record / "history.npz", allow_pickle=False) as history:
        assert history["steps"].tolist() == [*range(0, 300, 7), 300]
        assert history["losses"].shape == (44,)
        assert history["losses"][-1] == read(record / "metrics.json")["loss"]
        assert history["losses"][-1] < history["losses"][0] - 10
        table = csv.read_csv(record / "loss.csv")
        assert table["step"].to_pylist() == history["steps"].tolist()
        assert table["loss"].to_pylist() == history["losses"].tolist()
        for name, final in zip(("weights", "locs", "scales"), mixture(record), strict=True):
            assert history[name].shape == (44, 2)
            np.testing.assert_array_equal(history[name][-1], final)
        data = parquet.read_table(record / "assignments.parquet")["datum"].to_numpy()
        for entry in (0, 20):  # in float32, unlike the last
            weights, locs, scales = (history[name][entry] for name in ("weights", "locs", "scales"))
            log_likelihood = np.logaddexp.reduce(log_terms(data, weights, locs, scales), axis=1).sum()
            expected = -log_likelihood - stats.dirichlet.logpdf(weights / weights.sum(), [2.0, 2.0])
            np.testing.assert_allclose(history["losses"][entry], expected, rtol=ROUNDING_32)


def test_record_says_how_it_was_made(record):
    said = read(record / "record.json")
    assert said["status"] == "finished"
    assert said["name"] == record.name
    assert said["command"].startswith("python -m gmm_pipeline fit data.n_draws=600 steps=300")
    assert said["overrides"] == [*SMALL, *FEW_FRAMES]
    assert {"python", "platform", "versions", "device", "git", "user"} <= set(said["provenance"])
    sections = {"start_up", "load", "fit", "evaluate", "record", "figures", "animation", "tracking"}
    assert sections | {"total"} == set(said["timings"])
    # Each is rounded to the millisecond.
    assert sum(said["timings"][name] for name in sections) <= said["timings"]["total"] + 0.01


def test_run_is_in_the_store(tracked, record):
    said = read(record / "record.json")["tracking"]
    with sqlite3.connect(tracked[0] / "outputs" / "mlflow.db") as store:
        assert store.execute("select run_uuid, status from runs").fetchall() == [(said["run_id"], "FINISHED")]
        logged = dict(store.execute("select key, value from latest_metrics").fetchall())
        parameters = dict(store.execute("select key, value from params").fetchall())
    metrics = read(record / "metrics.json")
    assert {name: logged[name] for name in ("loss", "log_likelihood", "aic", "bic")} == {
        name: metrics[name] for name in ("loss", "log_likelihood", "aic", "bic")
    }
    assert parameters["optimizer.learning_rate"] == "0.1"
    assert parameters["steps"] == "300"


def test_terminal_shows_the_answer_and_where_it_lies(tracked, record):
    printed = tracked[1]
    assert "\x1b" not in printed.stdout + printed.stderr
    assert printed.stderr == ""
    assert f"record: outputs/fit/{record.name}" in printed.stdout
    assert "python -m gmm_pipeline ui" in printed.stdout
    assert f"python -m gmm_pipeline animate run=outputs/fit/{record.name}" in printed.stdout
    parameters = read(record / "parameters.json")
    for loc, error in zip(parameters["locs"], parameters["standard_errors"]["locs"], strict=True):
        assert f"{loc:.{1 - math.floor(math.log10(error))}f}" in printed.stdout.split()
    assert "prior: dirichlet (concentration=2.0)" in printed.stdout.splitlines()
    assert f"loss {read(record / 'metrics.json')['loss']:.4f}" in printed.stdout


@pytest.fixture
def again(once) -> Path:
    """The fit of `record`, in another process and folder, without tracking and animation."""
    folder, finished = once("fit", *SMALL, "tracking=none", "animation=none")
    assert finished.returncode == 0, finished.stderr
    return only((folder / "outputs" / "fit").iterdir())


def test_same_command_same_bytes(record, again):
    for name in (*RESULTS, *(f"figures/{picture}" for picture in sorted(pictures(record)))):
        assert (again / name).read_bytes() == (record / name).read_bytes(), name


def files(folder: Path) -> dict[str, bytes]:
    """All but the logs, and what Hydra says of itself and the machine."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".log"]
    found = {str(path.relative_to(folder)): path.read_bytes() for path in paths if path.name != "multirun.yaml"}
    return {name: content for name, content in found.items() if ".hydra" not in name}


def test_without_timings_whole_records_and_sweeps_have_the_same_bytes(fork: Fork, tmp_path):
    arguments = ("data=file", "data.path=x.csv", "search=none", "steps=20", "restarts=1", "timings=false", *QUIET)
    found = []
    for name in ("here", "there"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "x.csv").write_text("x\n" + "".join(f"{-1 if datum % 2 else 1}.{datum}\n" for datum in range(40)))
        assert fork(folder, "fit", "hydra.run.dir=alone", *arguments).returncode == 0
        assert fork(folder, "fit", "--multirun", "hydra.sweep.dir=many", "seed=1,2", *arguments).returncode == 0
        found.append(files(folder))
    assert found[0] == found[1]
    assert {f"{record}/record.json" for record in ("alone", "many/0", "many/1")} < set(found[0])


def test_what_is_switched_off_leaves_nothing(fork: Fork, tmp_path):
    finished = fork(tmp_path, "fit", *QUIET, "search=none", "data.n_draws=50", "steps=5", "compilation_cache=null")
    assert finished.returncode == 0
    assert [path.name for path in (tmp_path / "outputs").iterdir()] == ["fit"]
    assert written(only((tmp_path / "outputs" / "fit").iterdir())) == RECORDED
    assert "ui" not in finished.stdout.split()
    assert "animate" not in finished.stdout.split()


def test_the_name_of_a_sweep_says_nothing_to_a_single_run(fork: Fork, tmp_path):
    finished = fork(tmp_path, "fit", *QUIET, "search=none", "data.n_draws=50", "steps=5", "sweep=study")
    assert finished.returncode == 0
    assert "warning: sweep=study has no effect without --multirun.\n" in finished.stderr


RANDOM = np.random.default_rng(5)
DATA = np.concatenate([RANDOM.normal(-2, 1, 80), RANDOM.normal(4, 2, 120)])
UNITS = {"plain": (0.0, 1.0), "micro": (0.0, 1e-6), "mega": (0.0, 1e6), "shifted": (1e6, 1.0)}


def write_units(folder: Path) -> None:
    for name, (shift, factor) in UNITS.items():
        lines = [repr(float(shift + factor * datum)) for datum in DATA]
        (folder / f"{name}.csv").write_text("\n".join(["x", *lines]) + "\n")
    parquet.write_table(pa.table({"x": DATA}), folder / "plain.parquet")
    np.save(folder / "plain.npy", DATA)


@pytest.fixture(scope="module")
def units(fork: Fork, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    """Records of the same data in several units, formats and precisions."""
    files = [*(f"{name}.csv" for name in UNITS), "plain.parquet", "plain.npy"]
    arguments = (
        "fit",
        "-m",
        *QUIET,
        "data=file",
        "search=none",
        "steps=400",
        "restarts=1",
        f"data.path={','.join(files)}",
    )
    folder = tmp_path_factory.mktemp("here")
    write_units(folder)
    finished = fork(folder, *arguments, "precision=float32,float64")
    assert finished.returncode == 0, finished.stderr
    jobs = [(file, precision) for file in files for precision in ("float32", "float64")]
    sweep = only((folder / "outputs" / "sweeps").iterdir())
    return {job: sweep / str(number) for number, job in enumerate(jobs)}


# The fit sees data that differ in their last digit, or in the last six where 1e6 was added; 400 steps multiply that.
UNIT_TOLERANCE = {"float32": 1e-4, "float64": 1e-8}


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("name", ["micro", "mega", "shifted"])
def test_units_change_the_parameters_by_the_units_alone(units, name, precision):
    shift, factor = UNITS[name]
    tolerance = UNIT_TOLERANCE[precision]
    (weights, locs, scales), plain = mixture(units[f"{name}.csv", precision]), mixture(units["plain.csv", precision])
    np.testing.assert_allclose(weights, plain[0], rtol=tolerance)
    np.testing.assert_allclose((locs - shift) / factor, plain[1], rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(scales / factor, plain[2], rtol=tolerance)
    logliks = [read(units[f"{n}.csv", precision] / "metrics.json")["log_likelihood"] for n in (name, "plain")]
    np.testing.assert_allclose(logliks[0] + len(DATA) * np.log(factor), logliks[1], rtol=tolerance)


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("suffix", ["parquet", "npy"])
def test_formats_give_the_same_bytes(units, suffix, precision):
    expected, found = units["plain.csv", precision], units[f"plain.{suffix}", precision]
    assert read(found / "data.json")["digest"] == read(expected / "data.json")["digest"]
    for name in ("parameters.json", "metrics.json", "history.npz", "assignments.parquet"):
        assert (found / name).read_bytes() == (expected / name).read_bytes()


def test_precisions_agree_and_differ(units):
    single, double = (mixture(units["plain.csv", precision]) for precision in ("float32", "float64"))
    for ours, other in zip(single, double, strict=True):
        np.testing.assert_allclose(ours, other, rtol=1e-3)  # 400 steps multiply rounding
        assert (ours != other).all()
    with np.load(units["plain.csv", "float64"] / "history.npz") as history:
        weights, locs, scales = (history[name][5] for name in ("weights", "locs", "scales"))
        expected = -np.logaddexp.reduce(log_terms(DATA, weights, locs, scales), axis=1).sum()
        expected -= stats.dirichlet.logpdf(weights / weights.sum(), [2.0, 2.0])
        np.testing.assert_allclose(history["losses"][5], expected, rtol=ROUNDING_64)  # float64 from the first step on


def test_file_is_read_whole_and_in_order(units):
    np.testing.assert_array_equal(
        parquet.read_table(units["plain.csv", "float32"] / "assignments.parquet")["datum"], DATA
    )
    said = read(units["plain.csv", "float32"] / "data.json")
    assert (said["name"], said["n_data"], said["truth"]) == ("x", 200, None)  # by its column


def test_sample_weights_equal_repeated_rows(fork: Fork, tmp_path):
    times = RANDOM.integers(0, 4, len(DATA))
    csv.write_csv(pa.table({"x": DATA, "w": times}), tmp_path / "weighted.csv")
    csv.write_csv(pa.table({"x": np.repeat(DATA, times), "w": np.ones(times.sum())}), tmp_path / "repeated.csv")
    finished = fork(
        *(tmp_path, "fit", "-m", *QUIET, "data=file", "data.path=weighted.csv,repeated.csv", "data.column=x"),
        *("data.weights_column=w", "precision=float64", "search=none", "steps=300", "init.jitter=0"),
    )
    assert finished.returncode == 0, finished.stderr
    sweep = only((tmp_path / "outputs" / "sweeps").iterdir())
    weighted, repeated = (read(sweep / number / "metrics.json") for number in "01")
    assert (weighted["n_data"], repeated["n_data"]) == (200, times.sum())
    # Quantiles of weighted and of repeated data differ a little, and with them the starts; both end at the optimum.
    for name in ("log_likelihood", "aic", "bic"):
        np.testing.assert_allclose(weighted[name], repeated[name], rtol=1e-6)
    for ours, expected in zip(mixture(sweep / "0"), mixture(sweep / "1"), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-3)
    log_likelihood = times @ np.logaddexp.reduce(log_terms(DATA, *mixture(sweep / "0")), axis=1)
    np.testing.assert_allclose(weighted["log_likelihood"], log_likelihood, rtol=ROUNDING_64)
    np.testing.assert_allclose(weighted["bic"], 5 * np.log(times.sum()) - 2 * log_likelihood, rtol=ROUNDING_64)
    table = parquet.read_table(sweep / "0" / "assignments.parquet")
    np.testing.assert_array_equal(table["sample_weight"], times)


def test_sweep_leaves_a_record_a_job(fork: Fork, tmp_path):
    finished = fork(
        tmp_path, "fit", "--multirun", *QUIET, "data.n_draws=100", "steps=20", "n_components=1,2", "seed=0,1"
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr == ""
    sweep = only((tmp_path / "outputs" / "sweeps").iterdir())
    records = sorted(path.parent for path in sweep.glob("*/record.json"))
    assert [path.name for path in records] == ["0", "1", "2", "3"]
    assert [len(mixture(path)[0]) for path in records] == [1, 1, 2, 2]
    overrides = [read(path / "record.json")["overrides"][-2:] for path in records]
    assert overrides == [[f"n_components={k}", f"seed={seed}"] for k in (1, 2) for seed in (0, 1)]
    # Seeds may have one answer to the bit, since the search finds it from anywhere; their starts end elsewhere.
    assert len({(path / "restarts.json").read_bytes() for path in records}) == 4
    assert f"sweep {sweep.name}, 4 runs: 4 finished" in finished.stdout
    (goes_on,) = (line for line in finished.stdout.splitlines() if line.startswith("resume: "))
    override = OverridesParser.create().parse_override(shlex.split(goes_on)[-1])
    assert (override.key_or_group, override.value()) == ("sweep", sweep.name)
    best = min(records, key=lambda path: read(path / "metrics.json")["bic"])
    (row,) = (line.split() for line in finished.stdout.splitlines() if line.startswith("1 "))
    assert f"{read(best / 'metrics.json')['bic']:.3f}" in row


def test_tracker_that_is_down_costs_a_warning(fork: Fork, tmp_path):
    finished = fork(
        tmp_path,
        *("fit", "figures=none", "animation=none", "data.n_draws=100", "steps=20", "tracking.uri=http://127.0.0.1:9"),
    )
    assert finished.returncode == 0
    assert "Traceback" not in finished.stderr
    assert finished.stderr.startswith("warning: ")
    assert "http://127.0.0.1:9" in finished.stderr
    record = only((tmp_path / "outputs" / "fit").iterdir())
    assert read(record / "record.json")["status"] == "finished"
    assert "tracking" not in read(record / "record.json")
    assert len(mixture(record)[0]) == 2


def test_diverged_fit_fails_and_keeps_its_record(fork: Fork, tmp_path):
    finished = fork(
        *(
            tmp_path,
            "fit",
            "tracking=none",
            *FEW_FRAMES,
            "search=none",
            "data.n_draws=100",
            "steps=30",
            "optimizer=sgd",
            "schedule=constant",
        ),
        "optimizer.learning_rate=1e30",
    )
    assert finished.returncode == 1
    assert finished.stderr.startswith("error: the fit diverged")
    assert finished.stderr.count("\n") == 1
    assert "optimizer.learning_rate" in finished.stderr
    record = only((tmp_path / "outputs" / "fit").iterdir())
    assert str(record.relative_to(tmp_path)) in finished.stderr
    assert read(record / "record.json")["status"] == "diverged"
    metrics, parameters = read(record / "metrics.json"), read(record / "parameters.json")
    assert metrics["loss"] is None
    assert metrics["n_steps"] == 30
    assert None in [*parameters["weights"], *parameters["locs"], *parameters["scales"]]
    with np.load(record / "history.npz") as history:
        assert np.isfinite(history["losses"][0])
        assert not np.isfinite(history["losses"][-1])
    of_classes = {f"{name}.{suffix}" for name in ("classification", "uncertainty") for suffix in ("png", "svg")}
    assert {path.name for path in (record / "figures").iterdir()} == pictures(record) - of_classes


def test_prior_of_the_user(fork: Fork, tmp_path):
    (tmp_path / "my_priors.py").write_text(
        "def ridge(parameters, *, strength):\n    return -strength * (parameters.component_mus**2).sum()\n"
    )
    (tmp_path / "mine" / "prior").mkdir(parents=True)
    (tmp_path / "mine" / "prior" / "ridge.yaml").write_text("_target_: my_priors.ridge\nstrength: 30.0\n")
    finished = fork(
        tmp_path,
        *(
            "fit",
            "--config-dir",
            "mine",
            *QUIET,
            "prior=ridge",
            "plugins.allow=[my_priors]",
            "standardize=false",
            "search=none",
            "data.n_draws=200",
            "steps=500",
        ),
    )
    assert finished.returncode == 0, finished.stderr
    record = only((tmp_path / "outputs" / "fit").iterdir())
    metrics = read(record / "metrics.json")
    _, locs, _ = mixture(record)
    np.testing.assert_allclose(metrics["log_prior"], -30.0 * np.sum(locs**2), rtol=ROUNDING_64)
    np.testing.assert_allclose(metrics["loss"], -metrics["log_likelihood"] - metrics["log_prior"], rtol=ROUNDING_64)
    assert np.abs(locs).max() < 4.0  # pulled towards 0, from 5 in the data


def test_a_narrow_terminal_in_ascii_shows_every_digit(cli: Cli, tmp_path):
    # Seconds since 1970: two groups, a minute apart.
    times = 1_700_000_000 + np.random.default_rng(1).normal([[0.0], [60.0]], 5.0, (2, 40)).ravel()
    (tmp_path / "times.csv").write_text("\n".join(["t", *map(repr, times.tolist())]) + "\n")
    quiet = ("tracking=none", "figures=none", "animation=none", "optimizer=em", "prior=flat", "search=none")
    narrow = {"COLUMNS": "60", "FORCE_COLOR": "1", "PYTHONIOENCODING": "ascii"}
    ended = cli("fit", *quiet, "data=file", "data.path=times.csv", "data.unit=s", **narrow)
    assert ended.returncode == 0, ended.stderr
    printed = re.sub(r"\x1b\[[0-9;]*m", "", ended.stdout)
    table = [line for line in printed.splitlines() if line.strip().startswith(("component ", "0 ", "1 "))]
    assert max(map(len, table)) <= 60
    assert [line.split()[0] for line in table] == ["component", "0", "1"] * 2  # in two blocks
    assert "loc [s]" in table[0] and table[0].count("+/- s.e.") == 2
    first, second = (float(line.split()[3]) for line in table[1:3])
    assert (first, second) == pytest.approx((times[:40].mean(), times[40:].mean()), abs=0.1)
    assert "data agree with the mixture, p = " in printed
