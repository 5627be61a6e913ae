"""The command `rerun`: the same bits in another process, or what differs and why it may; variations and origins."""

import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from conftest import Ended, Quick

from gmm_pipeline.records import artifacts
from gmm_pipeline.records.comparison import Comparison, compare
from gmm_pipeline.records.files import read_columns, write_columns, write_json
from gmm_pipeline.records.json_files import read_json
from gmm_pipeline.stages.loading import WITHOUT_EFFECT
from gmm_pipeline.stages.rerun_arguments import _key

QUIET = ("figures=none", "animation=none", "tracking=none")
SMALL = ("search=none", "steps=12", "data.n_draws=60", "restarts=2", "n_components=2")
EM = "prior=flat optimizer=em precision=float64 threefry_partitionable=false restarts=2 steps=12"
OF_FILE = "data=file data.path=mine/own.csv data.truth=mine/truth.json"
"""`benchmarks.reruns` has all kinds of runs, in processes that share nothing; here each program is compiled once."""
ADAM = ("schedule=constant", "optimizer.learning_rate=0.1")
OF_A_SWEEP = ("search=none", "schedule=constant", "optimizer.learning_rate=0.1,1e30", "seed=0,1")
FINISHED, DIVERGED = "0", "2"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("reruns")
    (made / "mine").mkdir()
    data = np.random.default_rng(1).normal([[-3.0], [4.0]], size=(2, 30)).ravel()
    (made / "mine" / "own.csv").write_text("\n".join(["x", *map(repr, data.tolist())]))
    truth = {"weights": [0.5, 0.5], "locs": [-3, 4], "scales": [1, 1]}
    (made / "mine" / "truth.json").write_text(json.dumps(truth))
    return made


@pytest.fixture
def fitted(quick: Quick, folder: Path) -> Path:
    """The record of a fit to a column of a file, for all tests."""
    found = folder / "outputs" / "fit" / "em"
    if not found.exists():
        words = [*EM.split(), *OF_FILE.split(), "hydra.run.dir=outputs/fit/em"]
        ended = quick("fit", *QUIET, *words, cwd=folder)
        assert ended.returncode == 0, ended.stderr
    return found


@pytest.fixture
def swept(quick: Quick, folder: Path) -> Path:
    """A sweep of two runs that end well and two that diverge."""
    found = folder / "outputs" / "sweeps" / "s"
    if not found.exists():
        ended = quick("fit", "-m", *QUIET, *SMALL, *OF_A_SWEEP, "sweep=s", cwd=folder)
        assert ended.returncode == 1, ended.stderr
    return found


def record_of(ended: Ended, folder: Path) -> Path:
    (line,) = (line for line in ended.stdout.splitlines() if line.startswith("record: "))
    return folder / line.removeprefix("record: ")


def assert_same_bits(before: Path, now: Path) -> None:
    there = [name for name in artifacts.RESULTS if (before / name).exists()]
    assert len(there) >= 5
    for name in there:
        assert (now / name).read_bytes() == (before / name).read_bytes(), name


def test_a_run_gives_the_same_bits_again(quick: Quick, fitted, folder):
    before = fitted
    ended = quick("rerun", "run=outputs/fit/em", cwd=folder)
    assert ended.returncode == 0, ended.stderr + ended.stdout
    now = record_of(ended, folder)
    assert now.parent == folder / "outputs" / "rerun"
    assert_same_bits(before, now)
    n_files = sum((before / name).exists() for name in artifacts.RESULTS)
    assert f"reproduced: the same bits as outputs/fit/em, in {n_files} files" in ended.stdout
    said = read_json(now / artifacts.COMPARISON)
    assert (said["same"], said["differences"], said["circumstances"]) == (True, [], [])
    about, about_before = (read_json(record / artifacts.RECORD) for record in (now, before))
    assert about["origin"] == {"record": str(before), "run_id": None, "digests": about_before["digests"]}
    assert about["command"] == "python -m gmm_pipeline rerun run=outputs/fit/em"
    assert about["digests"] == about_before["digests"]
    assert not (now / artifacts.FIGURES).exists()
    assert "tracking" not in about


@pytest.mark.parametrize(("number", "status"), [(FINISHED, "finished"), (DIVERGED, "diverged")])
def test_a_run_of_a_sweep_is_run_again_alone(quick: Quick, swept, folder, number, status):
    ended = quick("rerun", f"run=outputs/sweeps/s/{number}", cwd=folder)
    assert ended.returncode == 0, ended.stderr
    now = record_of(ended, folder)
    assert_same_bits(swept / number, now)
    assert [read_json(one / artifacts.RECORD)["status"] for one in (swept / number, now)] == [status, status]


def test_data_are_found_from_another_folder(quick: Quick, fitted, folder, tmp_path):
    before = fitted
    ended = quick("rerun", f"run={before}", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    now = record_of(ended, tmp_path)
    assert yaml.safe_load((now / "config.yaml").read_text())["data"]["truth"] == str(folder / "mine" / "truth.json")
    assert_same_bits(before, now)


def test_what_is_not_reproduced_is_said_with_exit_code_1(quick: Quick, fitted, folder, tmp_path):
    before = shutil.copytree(fitted, folder / "outputs" / "fit" / "changed")
    data = (folder / "mine" / "own.csv").read_text().splitlines()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "own.csv").write_text("\n".join([*data[:-1], "5.25"]))
    shutil.copy(folder / "mine" / "truth.json", tmp_path / "mine")
    ended = quick("rerun", f"run={before}", cwd=tmp_path)
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: not reproduced: ")
    assert ended.stderr.count("\n") == 1
    assert f"data changed: {tmp_path / 'mine' / 'own.csv'}" in ended.stdout
    said = read_json(record_of(ended, tmp_path) / artifacts.COMPARISON)
    assert not said["same"]
    by_key = {(one["file"], one["key"]): one for one in said["differences"]}
    moved = by_key["assignments.parquet", "datum"]
    assert (moved["n_values"], moved["n_different"]) == (60, 1)
    assert moved["largest_absolute"] == pytest.approx(abs(5.25 - float(data[-1])))
    assert [one["what"] for one in said["circumstances"]] == ["data"]


def test_a_variation_is_a_fit_that_names_its_origin(quick: Quick, folder, swept):
    before = swept / FINISHED
    words = ("run=outputs/sweeps/s/0", "steps=6", "optimizer=em", "prior=flat")
    ended = quick("rerun", *words, *QUIET, cwd=folder)
    assert ended.returncode == 0, ended.stderr
    now = record_of(ended, folder)
    assert now.parent == folder / "outputs" / "fit"
    config, config_before = (yaml.safe_load((one / "config.yaml").read_text()) for one in (now, before))
    assert config["steps"] == 6
    assert config["optimizer"] == {"_target_": "gmm_pipeline.inference.em.em"}
    unchanged = set(config) - {"steps", "history_every", "optimizer", "prior", "schedule", "config", "sweep"}
    assert {key: config[key] for key in unchanged} == {key: config_before[key] for key in unchanged}
    about = read_json(now / artifacts.RECORD)
    assert about["origin"]["record"] == str(before)
    assert about["command"].startswith("python -m gmm_pipeline fit config=outputs/sweeps/s/0/config.yaml steps=6")
    (told,) = (line for line in ended.stdout.splitlines() if line.startswith("variation of outputs/sweeps/s/0"))
    assert "steps 12 → 6" in told
    assert "optimizer._target_ optax.adam → gmm_pipeline.inference.em.em" in told
    assert not (now / artifacts.COMPARISON).exists()
    again = quick("rerun", f"run={now.relative_to(folder)}", cwd=folder)
    assert again.returncode == 0, again.stderr


def test_a_run_that_only_mlflow_has(quick: Quick, folder, tmp_path):
    words = (*SMALL, *ADAM)
    ended = quick("fit", *QUIET[:2], *words, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    record = record_of(ended, tmp_path)
    run_id = read_json(record / artifacts.RECORD)["tracking"]["run_id"]
    hidden = record.rename(tmp_path / "hidden")
    ended = quick("rerun", f"run={run_id}", "tracking=mlflow", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    now = record_of(ended, tmp_path)
    assert now.parent == tmp_path / "outputs" / "rerun"
    assert_same_bits(hidden, now)
    assert read_json(now / artifacts.RECORD)["origin"]["run_id"] == run_id
    with sqlite3.connect(tmp_path / "outputs" / "mlflow.db") as store:
        tags = store.execute("select value from tags where key = 'gmm_pipeline.origin'").fetchall()
    assert tags == [(run_id,)]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("run=outputs/fit/me", "error: run: expected the folder of a record, with a record.json, but got outputs/fit"),
        ("run=outputs/fit/failed", "error: run: expected a run with a result, but got outputs/fit/failed, which fail"),
        ("run=outputs/fit/bare", "error: run: expected a record with its config.yaml, but got outputs/fit/bare"),
        ("run=outputs/fit/em stepz=5", "Did you mean steps"),
        ("run=outputs/fit/em optimizer=sdg", "error: optimizer: expected one of adabelief, "),
        ("run=outputs/fit/em config=a.yaml", "error: config: expected run=RECORD, but got config"),
        ("run=outputs/fit/em seed=1,2 --multirun", "error: --multirun: expected one run, but got a sweep"),
        ("outputs_dir=nowhere", "error: run: expected a record under nowhere, but got none"),
    ],
)
def test_what_cannot_be_run_again(quick: Quick, fitted, folder, arguments, says):
    for name, about in {"failed": {"status": "failed", "error": "why"}, "bare": {"status": "finished"}}.items():
        write_json(folder / "outputs" / "fit" / name / artifacts.RECORD, about)
    before = set(folder.glob("outputs/*/*"))
    ended = quick("rerun", *arguments.split(), cwd=folder)
    assert says in ended.stderr
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)
    assert set(folder.glob("outputs/*/*")) == before


@pytest.mark.parametrize(
    ("word", "key"),
    [
        ("steps=5", "steps"),
        ("optimizer.learning_rate=0.1", "optimizer"),
        ("+data.path=a=b", "data"),
        ("++prior@here=flat", "prior"),
        ("~experiment", "experiment"),
        ("tracking.uri=sqlite:///x.db", "tracking"),
        ("--multirun", ""),
        ("job", ""),
    ],
)
def test_the_key_that_a_word_sets(word, key):
    assert _key(word) == key


# What a comparison says, of copies of a record that are edited.


@pytest.fixture
def pair(fitted, tmp_path) -> tuple[Path, Path]:
    return tuple(Path(shutil.copytree(fitted, tmp_path / name)) for name in ("before", "now"))  # pyright: ignore


def edited(record: Path, **changes: Any) -> None:
    """The record with other values in its `record.json`, and the digests of its results as they are now."""
    about = read_json(record / artifacts.RECORD)
    about["digests"]["results"] = artifacts.digests_of(record)
    write_json(record / artifacts.RECORD, about | changes)


def compared(pair: tuple[Path, Path]) -> Comparison:
    return compare(*pair, WITHOUT_EFFECT)


def test_a_unit_in_the_last_place_is_seen(pair):
    parameters = read_json(pair[0] / artifacts.PARAMETERS)
    parameters["locs"][1] = np.nextafter(parameters["locs"][1], np.inf)
    write_json(pair[0] / artifacts.PARAMETERS, parameters)
    edited(pair[0])
    found = compared(pair)
    assert [name for name, same in found.files.items() if not same] == [artifacts.PARAMETERS]
    (one,) = found.differences
    assert (one.file, one.key, one.n_values, one.n_different) == ("parameters.json", "locs", 2, 1)
    assert one.largest_ulps == 1
    assert one.largest_absolute == np.spacing(parameters["locs"][1])
    assert one.largest_relative == pytest.approx(one.largest_absolute / parameters["locs"][1])
    assert found.circumstances == []


def test_labels_histories_and_words_are_compared(pair):
    assignments = pair[1] / artifacts.ASSIGNMENTS
    columns = {name: column.to_numpy().copy() for name, column in read_columns(assignments).items()}
    columns["label"][:3] = 1 - columns["label"][:3]
    write_columns(assignments, columns)
    history = artifacts.read_history(pair[1] / artifacts.HISTORY)
    artifacts.write_history(pair[1] / artifacts.HISTORY, history._replace(losses=history.losses[1:]))
    restarts = read_json(pair[1] / artifacts.RESTARTS)
    restarts["restarts"][0]["outcome"] = "degenerate"
    write_json(pair[1] / artifacts.RESTARTS, restarts)
    found = {(one.file, one.key): one for one in compared(pair).differences}
    assert set(found) == {
        ("assignments.parquet", "label"),
        ("history.npz", "losses"),
        ("restarts.json", "restarts.outcome"),
    }
    of_labels = found["assignments.parquet", "label"]
    assert (of_labels.n_different, of_labels.n_values, of_labels.largest_ulps) == (3, 60, None)
    assert "values, now" in found["history.npz", "losses"].note
    assert found["restarts.json", "restarts.outcome"].note.endswith("→ degenerate")


def test_tables_of_candidates_are_compared(pair):
    columns = {"n_components": np.array([1, 2]), "scales": ["free", "free"], "bic": np.array([8.5, np.nan])}
    for record, bic in zip(pair, (8.5, 8.25), strict=True):
        columns["bic"][0] = bic
        write_columns(record / artifacts.SELECTION, columns)
        edited(record)
    (one,) = compared(pair).differences
    assert (one.file, one.key, one.n_different, one.largest_absolute) == ("selection.csv", "bic", 1, 0.25)


def test_what_was_not_the_same_is_named(pair):
    about = read_json(pair[0] / artifacts.RECORD)
    made = about["provenance"]
    made["versions"]["jax"] = "0.0.1"
    made["git"] = {"commit": "0" * 40, "dirty": False, "diff": None}
    made["cpu"]["model"] = "abacus"
    made["jax"]["settings"]["enable_x64"] = not made["jax"]["settings"]["enable_x64"]
    flags = made["jax"]["environment"].get("XLA_FLAGS")
    made["jax"]["environment"] = {"XLA_FLAGS": "--slow"}
    edited(pair[0], provenance=made, digests=about["digests"] | {"code": "1" * 64}, width={"runs": 1, "components": 5})
    config = yaml.safe_load((pair[0] / "config.yaml").read_text())
    (pair[0] / "config.yaml").write_text(yaml.safe_dump(config | {"level": 0.9, "figures": None}))
    found = {(one.what, one.key): (one.before, one.now) for one in compared(pair).circumstances}
    assert found["version", "jax"][0] == "0.0.1"
    assert found["code", "commit"][0] == "0" * 40
    assert found["device", "cpu.model"][0] == "abacus"
    assert found["setting", "jax.environment.XLA_FLAGS"] == ("--slow", flags)
    assert found["setting", "jax.settings.enable_x64"] == (False, True)
    assert found["config", "level"] == (0.9, 0.95)
    assert found["batch", "width.runs"][0] == 1
    assert ("code", "digest") in found
    assert not any(key.startswith("figures") for _, key in found)


def test_an_older_record_is_compared_by_its_bytes(pair):
    about = read_json(pair[0] / artifacts.RECORD)
    for key in ("digests", "width"):
        del about[key]
    about["provenance"] = {key: about["provenance"][key] for key in ("user", "python", "platform", "versions")}
    about["provenance"] |= {"git": {"commit": None, "dirty": None}, "device": "cpu"}
    write_json(pair[0] / artifacts.RECORD, about)
    found = compared(pair)
    assert found.same
    assert {one.what for one in found.circumstances} <= {"code"}


def test_a_record_that_lost_or_changed_its_files(pair):
    (pair[0] / artifacts.ASSIGNMENTS).unlink()
    (pair[0] / artifacts.METRICS).write_text("{}")
    assert compared(pair).same, "its digests say what it had"
    (pair[1] / artifacts.ASSIGNMENTS).write_bytes(b"other")
    (pair[1] / artifacts.METRICS).write_text('{"loss": 1}')
    notes = {one.file: one.note for one in compared(pair).differences}
    assert notes["assignments.parquet"] == "it differs; the record's own is gone"
    assert notes["metrics.json"] == "it differs; the record's own is not what was written"
