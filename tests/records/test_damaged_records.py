"""A record whose files were cut off, swapped or made by a stranger: one message names the file, whoever reads it."""

import os
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_records import write_run
from omegaconf import OmegaConf

from gmm_pipeline import load
from gmm_pipeline.errors import InputError
from gmm_pipeline.records import artifacts, contents, sweeps
from gmm_pipeline.records.files import write_json
from gmm_pipeline.records.finding import read_fitted
from gmm_pipeline.records.json_files import read_json
from gmm_pipeline.records.reading import read_checked
from gmm_pipeline.records.sweeps import Manifest, ManifestRun
from gmm_pipeline.stages import animate
from gmm_pipeline.stages.rerun_arguments import routed
from gmm_pipeline.tracking.runs import log_record

FILES = (
    *("config.yaml", "data.json", "parameters.json", "metrics.json", "restarts.json", "history.npz"),
    *("assignments.parquet", "record.json"),
)


def sealed(folder: Path, **about: Any) -> Path:
    """A record with the digests of its files."""
    write_run(folder, **about)
    said = read_json(folder / artifacts.RECORD)
    results, others = artifacts.digests_of(folder), artifacts.digests_of(folder, artifacts.ASKED)
    write_json(folder / artifacts.RECORD, {**said, "digests": {"results": results}, "files": others})
    return folder


@pytest.fixture
def record(tmp_path: Path) -> Path:
    return sealed(tmp_path / "0")


def cut_off(record: Path, name: str) -> None:
    os.truncate(record / name, (record / name).stat().st_size // 2)


def empty(record: Path, name: str) -> None:
    os.truncate(record / name, 0)


def swapped(record: Path, name: str) -> None:
    other = write_run(record.parent / "other", n=299, bic=1000.0)
    config = (other / artifacts.CONFIG).read_text()
    (other / artifacts.CONFIG).write_text(config.replace("steps: 60", "steps: 61"))
    for file, key in (("parameters.json", "level"), ("restarts.json", "note"), ("record.json", "digest")):
        write_json(other / file, {**read_json(other / file), key: 0.5})
    history = artifacts.read_history(other / artifacts.HISTORY)
    artifacts.write_history(other / artifacts.HISTORY, history._replace(losses=history.losses + 1.0))
    shutil.copy(other / name, record / name)


def page(record: Path) -> object:
    return read_checked(record)


def film(record: Path) -> object:
    primary = {"run": str(record), "outputs_dir": "outputs", "output": None}
    animation = OmegaConf.load(Path(__file__).parents[2] / "conf/animation/default.yaml")
    return animate.run(OmegaConf.create({**primary, "animation": animation}), started=0.0)


def logged(record: Path) -> object:
    with contents.damage_reported(record):
        return contents.read(record)


def again(record: Path) -> object:
    return routed([f"run={record}"])


READERS: dict[str, Callable[[Path], object]] = {
    "load": load,
    "predict": read_fitted,
    "report": page,
    "log": logged,
    "animate": film,
    "rerun": again,
}
SLOW = ("rerun", {"record.json", "config.yaml", "assignments.parquet"})
CASES = [(who, name) for who in READERS for name in FILES if who != SLOW[0] or name in SLOW[1]]


@pytest.mark.parametrize("damage", [cut_off, empty, swapped])
@pytest.mark.parametrize(("who", "name"), CASES)
def test_who_reads_a_damaged_file_says_which(record, who, name, damage):
    if name == artifacts.RECORD and damage is swapped:
        pytest.skip("a whole record.json is what the others are held to")
    damage(record, name)
    with pytest.raises(InputError, match="a whole record") as refused:
        READERS[who](record)
    assert str(record) in str(refused.value)
    assert name == artifacts.RECORD or name in str(refused.value)


@pytest.mark.parametrize("name", [artifacts.PARAMETERS, "metrics.json", "assignments.parquet"])
def test_a_file_that_is_missing_is_named(record, name):
    (record / name).unlink()
    with pytest.raises(InputError, match=rf"{record / name}: expected a file .*, but got (no such file|none)\."):
        page(record)


@pytest.mark.parametrize("who", READERS)
def test_who_reads_a_record_notices_a_changed_digit(record, who):
    file = record / artifacts.PARAMETERS
    file.write_text(file.read_text().replace("0.25,", "0.250001,", 1))
    with pytest.raises(InputError, match=f"{file}: .*its SHA-256 is not that in record.json"):
        READERS[who](record)


def test_what_a_file_lacks_is_read_and_what_people_copied_is_theirs(record):
    """Large files may be removed once they are not needed, and a table as text opened in another program."""
    (record / artifacts.HISTORY).unlink()
    (record / artifacts.LOSS).write_text("edited")
    assert read_fitted(record).weights.tolist() == [0.25, 0.75]


def test_a_whole_record_is_read_by_all(record, monkeypatch):
    monkeypatch.setattr(animate, "render", lambda *_: [])
    for read in READERS.values():
        read(record)


def test_a_damaged_run_of_a_sweep_is_one_that_cannot_be_read(tmp_path):
    for number in range(3):
        sealed(tmp_path / str(number), bic=1500.0 + number)
    shutil.copy(tmp_path / "0" / artifacts.METRICS, tmp_path / "1" / artifacts.METRICS)
    cut_off(tmp_path / "2", artifacts.DATA)
    manifest = Manifest("id", "mine", "", "", "bic", [ManifestRun(number, (), None) for number in range(3)])
    first, *others = sweeps.read_runs(tmp_path, manifest)
    assert first.status == "finished"
    assert [run.status for run in others] == ["failed", "failed"]
    assert [run.error for run in others] == [
        f"the record cannot be read: {name} is not the file that was written" for name in ("metrics.json", "data.json")
    ]


SELECTED = (
    "n_components,scales,chosen,log_likelihood,bic,degenerate,diverged,converged\n1,free,true,-9.5,20.0,0,false,true\n"
)
LAUGHS = "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: [*c, *c]\n"
TRAPS = {
    "levels": ("config.yaml", "[" * 100_000),
    "levels of blocks": ("config.yaml", "- " * 100_000),
    "copies of itself": ("config.yaml", LAUGHS),
    "no mapping": ("config.yaml", "- 1\n"),
    "no YAML": ("config.yaml", "a: b: c"),
    "levels of JSON": ("metrics.json", "[" * 100_000),
    "a list": ("data.json", "[]"),
    "a text": ("record.json", '"finished"'),
    "a number that nothing can hold": ("metrics.json", '{"bic": ' + "9" * 400 + "}"),
    "text for a number": ("metrics.json", '{"bic": "low"}'),
    "a number for a text": ("data.json", '{"name": "x", "unit": 3}'),
    "lists of different lengths": ("parameters.json", '{"weights": [1.0], "locs": [0.0, 1.0], "scales": [1.0]}'),
    "no numbers": ("parameters.json", '{"weights": [], "locs": [], "scales": []}'),
    "half a character": ("data.json", '{"name": "\\ud800"}'),
    "no JSON": ("metrics.json", '{"bic": NaN}'),
    "a status that there is not": ("record.json", '{"status": "done"}'),
    "a table without a column": ("selection.csv", '"o_components","chosen"\n1,true\n'),
    "text in a table": ("selection.csv", SELECTED.replace("-9.5", "low")),
    "an outcome that there is not": ("restarts.json", '{"restarts": [{"outcome": "good", "log_posterior": 1.0}]}'),
    "digests that are none": ("record.json", '{"status": "finished", "digests": {"results": ["parameters.json"]}}'),
}


@pytest.mark.parametrize(("name", "text"), TRAPS.values(), ids=TRAPS)
def test_what_a_stranger_made_is_refused(tmp_path, name, text):
    record = write_run(tmp_path / "0")  # of a version without digests
    (record / name).write_text(text)
    with pytest.raises(InputError, match="a whole record"):
        page(record)


def test_a_table_of_candidates_is_read(tmp_path):
    record = write_run(tmp_path / "0")
    (record / artifacts.SELECTION).write_text(SELECTED)
    found = read_checked(record).selection
    assert found is not None
    assert found["log_likelihood"] == [-9.5]


def test_a_record_names_no_files_but_its_own(tmp_path):
    record = write_run(tmp_path / "0")
    (tmp_path / "mine.txt").write_text("not to be read")
    about = {**read_json(record / artifacts.RECORD), "files": {"../mine.txt": "0" * 64, "/dev/zero": "0" * 64}}
    write_json(record / artifacts.RECORD, about)
    assert contents.altered(record, about) is None


@pytest.mark.parametrize("key", ["weights", "source", "status"])
def test_a_file_of_an_older_version_without_a_key_says_so(tmp_path, key):
    record = write_run(tmp_path / "0")  # of a version without digests
    name = {"weights": artifacts.PARAMETERS, "source": artifacts.DATA, "status": artifacts.RECORD}[key]
    write_json(record / name, {one: value for one, value in read_json(record / name).items() if one != key})
    with pytest.raises(InputError, match=f"{name}: expected a file of a whole record, but got none with '{key}'"):
        log_record(record, uri=f"sqlite:///{tmp_path}/mlflow.db", experiment="e", run_name=None, series_points=1)


@pytest.mark.parametrize("bug", [KeyError("weight"), TypeError("3 arguments"), AttributeError("no such")])
@pytest.mark.parametrize("who", ["report", "log", "load", "animate"])
def test_a_fault_of_ours_is_no_damage(record, monkeypatch, who, bug):
    def fails(*_: object, **__: object) -> None:
        raise bug

    monkeypatch.setattr(artifacts, "mixture_from_json", fails)
    monkeypatch.setattr(artifacts, "read_history", fails)
    with pytest.raises(type(bug)) as raised:
        READERS[who](record)
    assert raised.value is bug


@pytest.mark.parametrize(
    "arrays", [{"steps": np.array([{}], object)}, {"steps": np.arange(3.0)}, {"losses": np.zeros(1)}]
)
def test_a_history_with_other_arrays_is_refused(tmp_path, arrays):
    record = write_run(tmp_path / "0")  # of a version without digests
    with np.load(record / artifacts.HISTORY) as whole:
        content = {name: whole[name] for name in whole.files}
    np.savez(record / artifacts.HISTORY, allow_pickle=True, **{**content, **arrays})
    with pytest.raises(InputError, match=r"history\.npz"):
        page(record)


def test_what_finished_has_no_loss_at_its_end_that_is_not_finite(tmp_path):
    record = write_run(tmp_path / "0")
    history = artifacts.read_history(record / artifacts.HISTORY)
    for place in (0, -1):
        losses = history.losses.copy()
        losses[place] = np.inf
        artifacts.write_history(record / artifacts.HISTORY, history._replace(losses=losses))
        with pytest.raises(InputError, match="it finished with a loss that is not finite") if place else nullcontext():
            page(record)


@pytest.mark.parametrize("name", ["record.json", "config.yaml", "metrics.json", "history.npz", "assignments.parquet"])
def test_a_pipe_in_place_of_a_file_is_not_waited_for(tmp_path, name):
    record = write_run(tmp_path / "0")
    (record / name).unlink()
    os.mkfifo(record / name)
    with pytest.raises(InputError, match="a pipe or a device, not a file"):
        page(record)


@pytest.mark.parametrize(("about", "says"), [({"provenance": {}}, "none with 'git'"), ({"provenance": 3}, "got `int`")])
def test_what_a_run_was_made_with_is_logged_or_refused(tmp_path, about, says):
    record = write_run(tmp_path / "0", **about)
    with pytest.raises(InputError, match=says):
        log_record(record, uri=f"sqlite:///{tmp_path}/mlflow.db", experiment="e", run_name=None, series_points=1)
