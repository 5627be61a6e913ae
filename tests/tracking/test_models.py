"""The model of a run, loaded by MLflow in a process that knows nothing of this package."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROUNDING_64
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema
from scipy import stats
from test_tracking import log
from waiting_record import write_record

from gmm_pipeline import load, log_density, responsibilities
from gmm_pipeline.errors import InputError
from gmm_pipeline.model import portable
from gmm_pipeline.model.mixture import Mixture
from gmm_pipeline.model.natural import MultivariateMixture
from gmm_pipeline.records import artifacts
from gmm_pipeline.records.finding import read_fitted
from gmm_pipeline.tracking import store as tracking_store
from gmm_pipeline.tracking.finding import record_of_tracked
from gmm_pipeline.tracking.models import model_of, write_model

MIXTURE = Mixture(np.array([0.1, 0.9]), np.array([-5.0, 0.5]), np.array([2.0, 0.7]))
DATA = [-40.0, -5.0, -1.5, 0.5, 300.0]

# Neither this package nor what it computes with may be imported where a model is loaded.
LOAD = """
import json, sys
sys.modules.update({name: None for name in ("gmm_pipeline", "jax", "hydra", "matplotlib")})
import mlflow, pandas
address, uri, data = json.loads(sys.argv[1])
mlflow.set_tracking_uri(uri)
model = mlflow.pyfunc.load_model(address)
found = model.predict(pandas.DataFrame({"datum": data}, index=range(7, 7 + len(data))))
example = model.input_example
print(json.dumps({
    "columns": {name: column.tolist() for name, column in found.items()},
    "index": found.index.tolist(),
    "example": example["datum"].tolist(),
    "example_columns": list(model.predict(example).columns),
    "inputs": model.metadata.signature.inputs.input_names(),
    "outputs": model.metadata.signature.outputs.to_dict(),
}))
"""


def loaded_elsewhere(address: str, uri: str, folder: Path) -> dict:
    arguments = json.dumps([address, uri, DATA])
    finished = subprocess.run(
        [sys.executable, "-c", LOAD, arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory):
    file = tmp_path_factory.mktemp("store") / "mlflow.db"
    tracking_store.client_of(f"sqlite:///{file}")
    return file


@pytest.fixture
def uri(empty_store, tmp_path):
    (tmp_path / "outputs").mkdir()
    shutil.copy(empty_store, tmp_path / "outputs" / "mlflow.db")
    return f"sqlite:///{tmp_path / 'outputs' / 'mlflow.db'}"


@pytest.fixture
def folder(tmp_path):
    write_model(tmp_path / "model", model_of(MIXTURE, ()))
    return tmp_path / "model"


def test_the_model_of_a_run_is_loaded_in_another_process(uri, tmp_path):
    record = write_record(tmp_path / "outputs/fit/2026-03-01")
    tracked = log(record, uri)
    found = loaded_elsewhere(f"runs:/{tracked.run_id}/model", uri, tmp_path)
    mixture: Any = read_fitted(record)
    columns = found["columns"]
    assert list(columns) == ["label", "responsibility_0", "responsibility_1", "log_density"]
    np.testing.assert_array_equal(columns["log_density"], log_density(mixture, DATA))
    np.testing.assert_array_equal(
        np.stack([columns["responsibility_0"], columns["responsibility_1"]], axis=1), responsibilities(mixture, DATA)
    )
    assert columns["label"] == [0, 0, 0, 0, 1]
    assert found["index"] == [7, 8, 9, 10, 11]
    assert found["example"] == mixture.locs.tolist()
    assert found["inputs"] == ["datum"]
    assert [column["name"] for column in found["outputs"]] == found["example_columns"] == list(columns)
    assert [column["type"] for column in found["outputs"]] == ["integer", "double", "double", "double"]


def outputs_of(run: Any) -> list[Any]:
    return run.outputs.model_outputs


def test_the_model_is_an_output_of_its_run(uri, tmp_path):
    tracked = log(write_record(tmp_path / "outputs/fit/2026-03-01"), uri)
    client = tracking_store.client_of(uri)
    (output,) = outputs_of(client.get_run(tracked.run_id))
    model = client.get_logged_model(output.model_id)
    name = "K=2 learning_rate=0_05 adam seed=3 waiting"  # MLflow refuses points there
    assert (model.name, model.source_run_id, model.status.name) == (name, tracked.run_id, "READY")


def test_a_diverged_run_has_no_model(uri, tmp_path):
    tracked = log(write_record(tmp_path / "diverged", diverged=True), uri)
    client = tracking_store.client_of(uri)
    assert outputs_of(client.get_run(tracked.run_id)) == []
    assert client.search_logged_models([tracked.experiment_id]) == []


def test_a_run_is_loaded_by_its_id_even_where_its_record_is_gone(uri, tmp_path):
    record = write_record(tmp_path / "outputs/fit/2026-03-01")
    tracked = log(record, uri)
    expected = read_fitted(record)
    record.rename(tmp_path / "moved")
    copied = read_fitted(record_of_tracked(tracked.run_id, uri, tmp_path))
    for values, others in zip(copied, expected, strict=True):
        np.testing.assert_array_equal(values, others)


def test_an_id_that_no_run_has(uri):
    with pytest.raises(InputError, match=r"run: expected a run in sqlite:.*, but got 0123"):
        load("0123456789abcdef" * 2, tracking_uri=uri)


def test_the_folder_is_what_mlflow_itself_writes(folder, tmp_path):
    (module,) = (folder / "code").iterdir()
    doubles = [ColSpec("double", name) for name in ("responsibility_0", "responsibility_1", "log_density")]
    mlflow.pyfunc.save_model(
        tmp_path / "own",
        loader_module=module.stem,
        data_path=str(folder / "data" / "mixture.json"),
        code_paths=[str(module)],
        signature=ModelSignature(Schema([ColSpec("double", "datum")]), Schema([ColSpec("integer", "label"), *doubles])),
        input_example=pd.DataFrame({"datum": MIXTURE.locs}),
        pip_requirements=["numpy", "pandas"],
    )
    ours, own = (yaml.safe_load((path / "MLmodel").read_text()) for path in (folder, tmp_path / "own"))
    for key in ("flavors", "mlflow_version", "saved_input_example_info", "model_id"):
        assert ours[key] == own[key], key
    for key in ("inputs", "outputs"):
        assert json.loads(ours["signature"][key]) == json.loads(own["signature"][key])
    files = {path: {str(file.relative_to(path)) for file in path.rglob("*.*")} for path in (folder, tmp_path / "own")}
    assert files[folder] == {name for name in files[tmp_path / "own"] if "__pycache__" not in name}
    for name in ("input_example.json", "serving_input_example.json"):
        assert json.loads((folder / name).read_text()) == json.loads((tmp_path / "own" / name).read_text())


def test_the_code_of_a_model_is_named_by_what_it_is(folder):
    (module,) = (folder / "code").iterdir()
    assert module.read_text() == Path(portable.__file__).read_text()
    assert module.stem.startswith("gmm_pipeline_portable_")
    assert json.loads((folder / "data" / "mixture.json").read_text()) == artifacts.mixture_as_json(MIXTURE)


def test_the_input_example_of_many_components_is_short(tmp_path):
    many = Mixture(np.full(40, 1 / 40), np.arange(40.0), np.ones(40))
    write_model(tmp_path / "many", model_of(many, ()))
    assert json.loads((tmp_path / "many" / "input_example.json").read_text())["data"] == [[0], [10], [20], [29], [39]]


def test_missing_data_are_refused(folder):
    model = mlflow.pyfunc.load_model(str(folder))
    with pytest.raises(ValueError, match="datum: expected finite numbers, but nan came in row 2"):
        model.predict(pd.DataFrame({"datum": [1.0, np.nan]}))
    found = model.predict(pd.DataFrame({"datum": [0.5]}))
    assert found["label"].dtype == np.int32
    expected = portable.evaluate(*MIXTURE, np.array([0.5]))[0]
    np.testing.assert_allclose(found["log_density"], expected, rtol=ROUNDING_64)


def test_a_model_of_several_columns_reads_them_by_their_names(tmp_path):
    mixture = MultivariateMixture(
        np.array([0.6, 0.4]),
        np.array([[4.3, 80.0], [2.0, 54.0]]),
        np.array([[[0.2, 1.0], [1.0, 36.0]], [[0.1, 0.0], [0.0, 30.0]]]),
    )
    write_model(tmp_path / "model", model_of(mixture, ("eruptions", "waiting")))
    model = mlflow.pyfunc.load_model(str(tmp_path / "model"))
    found = model.predict(pd.DataFrame({"day": [1, 2], "waiting": [79.0, 54.0], "eruptions": [3.6, 1.8]}, [7, 8]))
    peers = [stats.multivariate_normal(*one) for one in zip(mixture.locs, mixture.covariances, strict=True)]
    joint = mixture.weights * np.stack([peer.pdf([[3.6, 79.0], [1.8, 54.0]]) for peer in peers], axis=1)
    np.testing.assert_allclose(found["log_density"], np.log(joint.sum(axis=1)), rtol=1e-12)
    np.testing.assert_allclose(found[["responsibility_0", "responsibility_1"]], joint / joint.sum(axis=1)[:, None])
    assert found["label"].tolist() == [0, 1] and found.index.tolist() == [7, 8]
    assert model.metadata.signature.inputs.input_names() == ["eruptions", "waiting"]
    example: Any = model.input_example
    assert example.to_dict("list") == {"eruptions": [4.3, 2.0], "waiting": [80.0, 54.0]}
    assert list(model.predict(example)) == model.metadata.signature.outputs.input_names()
    with pytest.raises(ValueError, match="waiting: expected finite numbers, but inf came in row 2"):
        model.predict(pd.DataFrame({"waiting": [79.0, np.inf], "eruptions": [3.6, 1.8]}))
    with pytest.raises(MlflowException, match="waiting"):
        model.predict(pd.DataFrame({"eruptions": [3.6]}))
