"""A record in a tracker's terms."""

from typing import Any

from omegaconf import OmegaConf
from test_tracking import write_record

from gmm_pipeline.records import artifacts, loggable
from gmm_pipeline.records.files import read_json, write_json
from gmm_pipeline.records.overrides import names_within


def test_a_config_reads_as_omegaconf_reads_it(tmp_path):
    odd = {
        "small": 1e-05,
        "huge": 1e16,
        "infinite": float("inf"),
        "none": None,
        "text of a number": "1e-05",
        "text of a date": "2026-03-01",
        "texts": ["yes", "null", "0x10", "1_000", "3:25", "", " a: b", "λ", "- x", "~", "1e5", ".5", "on"],
        "nested": {"empty": {}, "list": [], "true": True},
    }
    record = write_record(tmp_path / "odd", config=odd)
    expected: Any = OmegaConf.to_container(OmegaConf.load(record / artifacts.CONFIG))
    assert loggable.read(record).config == expected
    assert {key: expected[key] for key in odd} == odd


def test_a_failed_record_has_its_reason_and_no_numbers(tmp_path):
    record = write_record(tmp_path / "failed")
    for name in (artifacts.CONFIG, artifacts.DATA, artifacts.PARAMETERS, artifacts.METRICS, artifacts.HISTORY):
        (record / name).unlink()
    about = read_json(record / artifacts.RECORD)
    write_json(record / artifacts.RECORD, about | {"status": "failed", "error": "seed: expected a number"})
    content = loggable.read(record)
    assert (loggable.params(content), loggable.points(content, 10)) == ({}, [])
    tags = loggable.tags(record, content)
    assert tags["gmm_pipeline.error"] == "seed: expected a number"
    assert tags["mlflow.note.content"].startswith("**This run failed.**\n\nseed: expected a number\n\nRun it again:")


def test_runs_of_a_sweep_are_named_by_what_differs():
    runs = [
        (0, ["n_components=1", "seed=0", "steps=100"]),
        (2, ["n_components=1", "seed=1", "steps=100"]),
        (5, ["n_components=2", "seed=0", "steps=100"]),
    ]
    names = names_within(runs)
    assert names == {0: "K=1 seed=0", 2: "K=1 seed=1", 5: "K=2 seed=0"}


def test_names_within_a_sweep_are_short_where_that_is_clear():
    runs = [(0, ["seed=0", "data.seed=1", "optimizer.learning_rate=0.1"]), (1, ["seed=2", "data.seed=3", "+a.b=4"])]
    assert names_within(runs) == {
        0: "seed=0 data.seed=1 learning_rate=0.1",
        1: "seed=2 data.seed=3 b=4",
    }


def test_names_within_a_sweep_are_never_the_same():
    long = "x" * 200
    same = [(0, [f"path={long}1"]), (1, [f"path={long}2"]), (2, ["path=y"]), (3, [])]
    names = names_within(same)
    assert len(set(names.values())) == 4
    assert names[3] == "run 3"
    assert names_within([(0, ["seed=0"])]) == {0: "run 0"}
