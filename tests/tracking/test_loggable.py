"""A record in a tracker's terms."""

import json
import os
from typing import Any

import numpy as np
from omegaconf import OmegaConf
from waiting_record import write_record

from gmm_pipeline.model.natural import MultivariateMixture
from gmm_pipeline.records import artifacts, contents
from gmm_pipeline.records.files import write_json
from gmm_pipeline.records.json_files import read_json
from gmm_pipeline.records.overrides import name_of_sweep, names_within
from gmm_pipeline.tracking import loggable


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
    assert contents.read(record).config == expected
    assert {key: expected[key] for key in odd} == odd


def test_a_failed_record_has_its_reason_and_no_numbers(tmp_path):
    record = write_record(tmp_path / "failed")
    for name in (artifacts.CONFIG, artifacts.DATA, artifacts.PARAMETERS, artifacts.METRICS, artifacts.HISTORY):
        (record / name).unlink()
    about = read_json(record / artifacts.RECORD)
    write_json(record / artifacts.RECORD, about | {"status": "failed", "error": "seed: expected a number"})
    content = contents.read(record)
    assert (loggable.params(content), loggable.points(content, 10)) == ({}, [])
    tags = loggable.tags(record, content)
    assert tags["gmm_pipeline.error"] == "seed: expected a number"
    assert tags["mlflow.note.content"].startswith("**This run failed.**\n\nseed: expected a number\n\nRun it again:")


def test_a_record_without_times_has_that_of_its_file(tmp_path):
    record = write_record(tmp_path / "timeless")
    about = read_json(record / artifacts.RECORD)
    assert {name: contents.read(record).record[name] for name in ("started", "ended")}.items() <= about.items()
    write_json(record / artifacts.RECORD, {name: about[name] for name in about if name not in ("started", "ended")})
    os.utime(record / artifacts.RECORD, (1_800_000_000, 1_800_000_000))
    again = contents.read(record).record
    assert [contents.milliseconds(again[name]) for name in ("started", "ended")] == 2 * [1_800_000_000_000]


def judged(record, **about):
    """A record that says how far it can be trusted."""
    parameters = read_json(record / artifacts.PARAMETERS)
    errors = {"weights": [0.03, 0.03], "locs": [0.7, None], "scales": [0.5, 0.4]}
    known = {"standard_errors": errors, "degenerate": about["degenerate"]}
    write_json(record / artifacts.PARAMETERS, parameters | known)
    metrics = {"converged": about["converged"], "n_degenerate": len(about["degenerate"])}
    write_json(record / artifacts.METRICS, read_json(record / artifacts.METRICS) | metrics)
    sentences = {"verdict": ["converged in 90 steps", "4 of 4 starts reached the best optimum"]}
    write_json(record / artifacts.RECORD, read_json(record / artifacts.RECORD) | sentences)
    return contents.read(record)


def test_a_note_says_first_what_is_wrong_and_how_sure_the_rest_is(tmp_path):
    content = judged(write_record(tmp_path / "bad"), converged=False, degenerate=[1])
    lines = loggable.note(content).splitlines()
    assert lines[0].startswith("**Degenerate: component 1.**") and lines[2].startswith("**Not converged")
    assert "- converged in 90 steps" in lines
    (row,) = [line for line in lines if line.startswith("| 0 |")]
    weight, loc, scale = (content.parameters[name][0] for name in ("weights", "locs", "scales"))
    assert row == f"| 0 | {weight:.4g} ± 0.03 | {loc:.4g} ± 0.7 | {scale:.4g} ± 0.5 |"
    assert "| component | weight ± s.e. | loc (minutes) ± s.e. | scale (minutes) ± s.e. |" in lines
    (unsure,) = [line for line in lines if line.startswith("| 1 |")]
    assert unsure.split(" | ")[2] == f"{content.parameters['locs'][1]:.4g}"


def test_soundness_can_be_filtered_by(tmp_path):
    bad, good = (
        judged(write_record(tmp_path / name), converged=name == "good", degenerate=[] if name == "good" else [0])
        for name in ("bad", "good")
    )
    told = [loggable.tags(tmp_path, content) for content in (bad, good)]
    assert [tags["gmm_pipeline.converged"] for tags in told] == ["false", "true"]
    assert [tags["gmm_pipeline.degenerate"] for tags in told] == ["true", "false"]
    assert told[0]["gmm_pipeline.verdict"] == "converged in 90 steps; 4 of 4 starts reached the best optimum"
    values = [{point.name: point.value for point in loggable.points(content, 5)} for content in (bad, good)]
    assert [found["converged"] for found in values] == [0.0, 1.0]
    assert "**" not in loggable.note(good)


def of_columns(names: tuple[str, ...]) -> contents.Content:
    """A record whose loc of component 1 moved by two standard deviations."""
    d = len(names)
    locs, covariances = np.zeros((3, 2, d)), np.tile(4.0 * np.eye(d), (3, 2, 1, 1))
    locs[1:, 1, 0] = 3.0, 4.0
    mixtures = MultivariateMixture(np.tile([0.75, 0.25], (3, 1)), locs, covariances)
    final = MultivariateMixture(*(leaf[-1] for leaf in mixtures))
    parameters = {**artifacts.mixture_as_json(final), "scales": final.scales.tolist(), "covariance_model": "VVI"}
    errors = {"weights": [0.03, 0.03], "locs": np.full((2, d), 0.5).tolist(), "scales": np.full((2, d), 0.1).tolist()}
    data = {"name": "table", "unit": None, "columns": list(names), "n_data": 9, "source_type": "file"}
    data |= {"source": "/here/table.csv", "truth": None, "digest": "0" * 64}
    return contents.Content(
        {},
        data,
        {**parameters, "standard_errors": {**errors, "covariances": None}},
        {"loss": 3.5},
        artifacts.History(np.array([0, 5, 10]), np.array([9.0, 4.0, 3.5]), mixtures),
        {"status": "finished", "command": "python -m gmm_pipeline fit table.csv"},
    )


def test_a_component_of_several_columns_has_few_series():
    found: dict[str, list[float]] = {}
    for point in loggable.points(of_columns(("a (cm)", "b")), 3):
        found.setdefault(point.name, []).append(point.value)
    series = {"weight_0": [0.75], "weight_1": [0.25], "moved_0": [0.0], "scale_1_b": [2.0], "scale_0_a _cm_": [2.0]}
    assert {name: found[name] for name in series} == {name: 3 * values for name, values in series.items()}
    assert sorted(found["moved_1"]) == [0.0, 1.5, 2.0]  # covariances are 4 in each column
    assert len(found) == len(series) + len(["loss", "moved_1", "scale_0_b", "scale_1_a _cm_"])
    many = {point.name for point in loggable.points(of_columns(tuple("abcdefg")), 3)}
    assert many == {"loss", "weight_0", "weight_1", "moved_0", "moved_1"}


def test_the_note_on_several_columns_has_their_names_and_the_first_of_many():
    lines = loggable.note(of_columns(("a", "b"))).splitlines()
    assert lines[0] == "| component | weight ± s.e. | a ± s.e. | a, sd ± s.e. | b ± s.e. | b, sd ± s.e. |"
    assert "| 1 | 0.25 ± 0.03 | 4 ± 0.5 | 2 ± 0.1 | 0 ± 0.5 | 2 ± 0.1 |" in lines
    assert "fitted to 9 observations of 2 columns, covariance model VVI: table." in lines
    many = loggable.note(of_columns(tuple("abcdefg")))
    assert "| f ± s.e. |" in many and "| g ± s.e. |" not in many and "The first 6 of 7 columns." in many


def test_a_dataset_has_all_columns():
    schema = json.loads(loggable.dataset(of_columns(("a", "b")).data)["schema"])
    assert [(one["name"], one["type"]) for one in schema["mlflow_colspec"]] == [("a", "double"), ("b", "double")]


def test_an_older_record_claims_nothing(tmp_path):
    content = contents.read(write_record(tmp_path / "old"))
    tags = loggable.tags(tmp_path / "old", content)
    assert not {"gmm_pipeline.converged", "gmm_pipeline.degenerate", "gmm_pipeline.verdict"} & set(tags)
    assert "±" not in tags["mlflow.note.content"] and "| component | weight | loc" in tags["mlflow.note.content"]


def test_columns_of_one_file_are_data_sets_of_their_own():
    data = {"name": "x", "column": "x", "source_type": "file", "source": "/here/table.csv", "n_data": 3}
    data |= {"unit": None, "truth": None, "digest": "0" * 64}
    named = [
        loggable.dataset({**data, **other})["name"]
        for other in ({}, {"name": "y", "column": "y"}, {"name": "mine"}, {"column": None, "name": "table"})
    ]
    assert named == ["table.csv: x", "table.csv: y", "mine", "table"]


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


def test_a_sweep_is_named_by_what_was_swept():
    runs = [{"steps": "9", "n_components": n, "seed": s, "prior": p} for n in ("2", "10") for s in "0" for p in "ab"]
    assert name_of_sweep(runs) == "K=2…10 prior=a,b"
    assert name_of_sweep(runs[:1]) == ""


def test_names_within_a_sweep_are_never_the_same():
    long = "x" * 200
    same = [(0, [f"path={long}1"]), (1, [f"path={long}2"]), (2, ["path=y"]), (3, [])]
    names = names_within(same)
    assert len(set(names.values())) == 4
    assert names[3] == "run 3"
    assert names_within([(0, ["seed=0"])]) == {0: "run 0"}


def test_what_bars_a_fit_is_a_tag_and_comes_first_in_the_note(tmp_path):
    record = write_record(tmp_path / "saddle")
    doubts = [
        {"reason": "saddle", "bars": True, "words": "not a maximum"},
        {"reason": "choice", "bars": False, "words": "raise selection.largest"},
    ]
    write_json(record / artifacts.RECORD, read_json(record / artifacts.RECORD) | {"doubts": doubts})
    write_json(record / artifacts.METRICS, read_json(record / artifacts.METRICS) | {"barred": "saddle"})
    content = contents.read(record)
    assert loggable.tags(record, content)["gmm_pipeline.barred"] == "saddle"
    assert loggable.note(content).startswith("**Not reliable: not a maximum.**")
    assert "raise selection.largest" not in loggable.note(content)
    assert "barred" not in {point.name for point in loggable.points(content, 5)}
