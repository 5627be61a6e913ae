"""What speaks against a fit is in its record, in the terminal, in MLflow and in the summary of a sweep."""

import csv
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from conftest import Fork
from pyarrow import parquet

QUIET = ("figures=none", "animation=none")
WORDS = "components 0 and 1 coincide as far as the data can show: merged"


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def test_components_at_the_same_place_are_told_everywhere_and_never_the_best(fork: Fork, tmp_path):
    """Two normal components of one scale gain nothing where tails are heavy, unless one is of a few data in a tail."""
    shares = (np.arange(60) + 0.5) / 60
    lines = [f"{value:.4f}\n" for value in np.log(shares / (1 - shares))]
    (tmp_path / "logistic.csv").write_text("".join(["x\n", *lines]))
    settings = ("data=file", "data.path=logistic.csv", "prior=flat", "scales=equal", "fewest_data=21", "steps=400")
    ended = fork(tmp_path, "fit", "-m", *QUIET, *settings, "n_components=1,2", "objective=loss", "sweep=tails")
    assert ended.returncode == 0, ended.stderr
    assert "1 of them with components that coincide, left out of comparisons" in ended.stdout
    sweep = tmp_path / "outputs/sweeps/tails"
    one, two = (read(sweep / number / "metrics.json")["barred"] for number in "01")
    assert (one, two) == (None, "coincident")
    about = read(sweep / "1/record.json")
    assert about["verdict"][0].startswith(WORDS)
    assert [(doubt["reason"], doubt["bars"]) for doubt in about["doubts"]] == [("coincident", True)]
    assert "doubts" not in read(sweep / "0/record.json")
    assert parquet.read_table(sweep / "sweep.parquet")["barred"].to_pylist() == [None, "coincident"]
    with closing(sqlite3.connect(tmp_path / "outputs/mlflow.db")) as store:
        tags = store.execute("select value from tags where key = 'gmm_pipeline.barred'").fetchall()
    assert tags == [("coincident",)]
    ended = fork(tmp_path, "report", "run=outputs/sweeps/tails/1", "output=page.html", "tracking=none")
    assert ended.returncode == 0, ended.stderr
    assert f"C{WORDS[1:]}" in (tmp_path / "page.html").read_text()


def test_a_choice_at_the_edge_is_told(fork: Fork, tmp_path):
    settings = ("data=two_modes", "data.n_draws=400", "steps=300", "n_components=auto", "prior=flat", "tracking=none")
    ended = fork(tmp_path, "fit", *QUIET, *settings, "selection.largest=2", "selection.scales=[free]")
    assert ended.returncode == 0, ended.stderr
    said = "2 components are the most that were tried: raise selection.largest"
    assert said in ended.stdout
    (record,) = (tmp_path / "outputs/fit").iterdir()
    assert read(record / "record.json")["doubts"] == [{"reason": "choice", "bars": False, "words": said}]
    with (record / "selection.csv").open() as stream:
        assert [row["barred"] for row in csv.DictReader(stream)] == ["", ""]
