"""Which columns of a new file `predict` reads: those that were fitted, wherever they are, unless others are named."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from hydra import compose, initialize_config_dir

from gmm_pipeline.errors import InputError
from gmm_pipeline.model.natural import Mixture, MultivariateMixture
from gmm_pipeline.records import artifacts
from gmm_pipeline.records.datasets import Dataset
from gmm_pipeline.records.files import write_json
from gmm_pipeline.stages import predict

OF_TWO = MultivariateMixture(np.array([1.0]), np.zeros((1, 2)), np.eye(2)[None])
OF_ONE = Mixture(np.array([1.0]), np.zeros(1), np.ones(1))
CONTENT = "day,width,label,length\n1,0.5,a,3\n2,0.25,b,4\n5,0.75,c,6\n"


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What is read of a file for a record."""
    monkeypatch.chdir(tmp_path)

    def of(mixture: Any, data: dict[str, Any], content: str, *overrides: str) -> Dataset:
        (tmp_path / "new.csv").write_text(content)
        write_json(tmp_path / "run" / artifacts.PARAMETERS, artifacts.mixture_as_json(mixture))
        write_json(tmp_path / "run" / artifacts.DATA, data)
        write_json(tmp_path / "run" / artifacts.RECORD, {"format": artifacts.FORMAT, "status": "finished"})
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            # The whole path, since data are cached by it.
            given = [f"data.path='{tmp_path}/new.csv'"] if "data=three_clusters" not in overrides else []
            cfg = compose("predict", ["run=run", "output=labels.csv", *given, *overrides])
        return predict.load(cfg).dataset

    return of


LENGTH_AND_WIDTH = {"column": None, "columns": ["length", "width"]}


@pytest.mark.parametrize(
    ("content", "overrides", "expected"),
    [
        (CONTENT, (), [[3.0, 0.5], [4.0, 0.25], [6.0, 0.75]]),
        (CONTENT, ("data.columns=[day,length]",), [[1.0, 3.0], [2.0, 4.0], [5.0, 6.0]]),
        (CONTENT.replace("length", "other"), ("data.columns=[other,width]",), [[3.0, 0.5], [4.0, 0.25], [6.0, 0.75]]),
        ("a,b\n1,5\n2,4\n", (), [[1.0, 5.0], [2.0, 4.0]]),
        ("n,a,b\n1,1,5\n3,2,4\n", ("data.weights_column=n",), [[1.0, 5.0], [2.0, 4.0]]),
    ],
)
def test_the_columns_of_the_fit_in_their_order(read, content, overrides, expected):
    assert read(OF_TWO, LENGTH_AND_WIDTH, content, *overrides).data.tolist() == expected


@pytest.mark.parametrize(
    ("content", "overrides", "expected"),
    [
        (CONTENT, (), [3.0, 4.0, 6.0]),
        (CONTENT, ("data.columns=[day]",), [1.0, 2.0, 5.0]),
        ("a,t\n1,x\n2,y\n", (), [1.0, 2.0]),
    ],
)
def test_the_column_of_the_fit(read, content, overrides, expected):
    assert read(OF_ONE, {"column": "length"}, content, *overrides).data.tolist() == expected


@pytest.mark.parametrize(
    ("mixture", "data", "overrides", "says"),
    [
        (
            OF_TWO,
            LENGTH_AND_WIDTH,
            ("data.columns=[day,width,length]",),
            r"data\.columns: expected 2 columns, as in the fit \(length, width\), but got 3 of new: day, width, length"
            r"\. For example 'data\.columns=\[day,width\]'\.",
        ),
        (OF_TWO, LENGTH_AND_WIDTH, ("data.column=day",), "but got 1 of day: day. Choose other data."),
        (OF_TWO, {"columns": ["length", "label"]}, (), r"new\.csv, column 'label': .*'a', which is text"),
        (OF_TWO, {"columns": ["depth", "width"]}, (), r"expected 2 columns, as in the fit \(depth, width\), but got 3"),
        (OF_ONE, {"column": "depth"}, (), r"one column, as in the fit \(depth\), .*data\.column=day  data\.column=wid"),
        (OF_ONE, {"column": None}, ("data=three_clusters",), "one column, .* Choose other data"),
    ],
)
def test_data_with_another_number_of_columns_than_the_mixture_are_refused(read, mixture, data, overrides, says):
    with pytest.raises(InputError, match=says):
        read(mixture, data, CONTENT, *overrides)
