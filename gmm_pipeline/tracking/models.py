"""A fitted mixture as an MLflow pyfunc model: numbers as JSON, code as source, no pickle.

The folder is written here rather than by MLflow, whose `save_model` imports pandas and half of MLflow to write a few
text files: this takes milliseconds instead of a second. A test loads the model with MLflow and compares it with what
MLflow writes. The code of the model is a copy of `portable`, under a name with its digest, so that models of different
versions can be loaded side by side. A model has the name of its run, by which a list of models can be read. The price:
so that `runs:/ID/model` still finds it, its files are among those of the run too.
"""

import hashlib
import importlib.metadata
import inspect
import json
import platform
import re
import tempfile
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gmm_pipeline.model import portable
from gmm_pipeline.model.natural import AnyMixture
from gmm_pipeline.model.noise import NoisyMixture, parts
from gmm_pipeline.records.artifacts import fitted_from_json, mixture_as_json
from gmm_pipeline.records.contents import Content
from gmm_pipeline.records.files import as_yaml, write_json, write_text

if TYPE_CHECKING:
    from mlflow import MlflowClient

FOLDER = "model"
"""Of a run's files: its model loads as runs:/ID/model."""
MODEL_TYPE = "Gaussian mixture"
LIBRARIES = ("mlflow", "numpy", "pandas")
EXAMPLES = 5


class Model(NamedTuple):
    """A fitted mixture, in the user's units and the order of its record."""

    mixture: AnyMixture | NoisyMixture
    columns: tuple[str, ...]
    """Names of the columns that it reads."""


def model_of(mixture: AnyMixture | NoisyMixture, columns: Sequence[str]) -> Model:
    """The model of a record.

    Args:
        mixture: that was fitted.
        columns: names of several columns; empty for one, which has the same name whatever it was read from.
    """
    return Model(mixture, tuple(columns) or (portable.COLUMN,))


def record_model(content: Content) -> Model | None:
    """The model of a record; None if it has no result."""
    if content.record["status"] != "finished":
        return None
    return model_of(fitted_from_json(content.parameters), content.data.get("columns", ()))


def model_name(run_name: str) -> str:
    """The name of a run without the characters that MLflow refuses in the name of a model."""
    return re.sub("[/:.%\"']", "_", run_name)


def log_model(client: "MlflowClient", experiment_id: str, run_id: str, run_name: str, fitted: Model) -> str:
    """Log a fitted mixture as the model of a run and return the model's id; it loads as runs:/ID/model.

    An existing model of the run is updated: a run has one model however often it is logged.

    Args:
        client: of the store or server.
        experiment_id: of the run.
        run_id: of the run that fitted the mixture.
        run_name: which a new model is named by.
        fitted: the mixture and its columns.
    """
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus

    found = client.search_logged_models([experiment_id], f"source_run_id = '{run_id}'")
    # A run that somebody else started may have models of other kinds.
    existing = next((model for model in found if model.model_type == MODEL_TYPE), None)
    if existing is not None:
        model = existing
    else:
        name = model_name(run_name)
        model = client.create_logged_model(experiment_id, name, source_run_id=run_id, model_type=MODEL_TYPE)
    with tempfile.TemporaryDirectory(prefix="gmm_pipeline-") as folder:
        write_model(Path(folder), fitted, model_id=model.model_id, run_id=run_id)
        client.log_model_artifacts(model.model_id, folder)
        client.log_artifacts(run_id, folder, FOLDER)
    client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    if existing is None or model.model_id not in _outputs(client, run_id):
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, 0)])
    return model.model_id


def _outputs(client: "MlflowClient", run_id: str) -> list[str]:
    outputs = client.get_run(run_id).outputs
    return [] if outputs is None else [output.model_id for output in outputs.model_outputs]


def write_model(folder: Path, fitted: Model, *, model_id: str | None = None, run_id: str | None = None) -> None:
    """Write a fitted mixture as a folder that `mlflow.pyfunc.load_model` can load.

    Args:
        folder: empty, or to be created.
        fitted: the mixture and its columns.
        model_id: of the model in MLflow, if there is one.
        run_id: of the run that fitted the mixture, if it is in MLflow.
    """
    source = inspect.getsource(portable)
    module = f"gmm_pipeline_portable_{hashlib.sha256(source.encode()).hexdigest()[:12]}"
    requirements = [f"{library}=={importlib.metadata.version(library)}" for library in LIBRARIES]
    mixture, columns = fitted
    example = {"columns": list(columns), "data": _examples(mixture)}
    write_text(folder / "code" / f"{module}.py", source)
    named = {"columns": columns} if mixture.locs.ndim > 1 else {}
    of_noise = {}
    if isinstance(mixture, NoisyMixture):
        of_noise = {"noise": {"weight": mixture.noise.weight, "log_density": mixture.noise.log_density}}
    write_json(folder / "data" / "mixture.json", {**mixture_as_json(parts(mixture)[0]), **named, **of_noise})
    write_json(folder / "input_example.json", example)
    write_json(folder / "serving_input_example.json", {"dataframe_split": example})
    write_text(folder / "requirements.txt", "".join(f"{requirement}\n" for requirement in requirements))
    write_text(folder / "python_env.yaml", as_yaml(_python_env()))
    write_text(folder / "conda.yaml", as_yaml(_conda(requirements)))
    write_text(folder / "MLmodel", as_yaml(_about(module, fitted, model_id, run_id)))


def _about(module: str, fitted: Model, model_id: str | None, run_id: str | None) -> dict[str, Any]:
    return {
        "flavors": {
            "python_function": {
                "code": "code",
                "data": "data/mixture.json",
                "env": {"conda": "conda.yaml", "virtualenv": "python_env.yaml"},
                "loader_module": module,
                "python_version": platform.python_version(),
                "streamable": False,
            }
        },
        "mlflow_version": importlib.metadata.version("mlflow"),
        "model_id": model_id,
        "model_uuid": model_id or uuid.uuid4().hex,
        **({} if run_id is None else {"run_id": run_id}),
        "saved_input_example_info": {
            "artifact_path": "input_example.json",
            "pandas_orient": "split",
            "serving_input_path": "serving_input_example.json",
            "type": "dataframe",
        },
        "signature": {
            "inputs": _columns(dict.fromkeys(fitted.columns, "double")),
            "outputs": _columns(
                {
                    "label": "integer",
                    **dict.fromkeys(
                        portable.responsibility_names(
                            len(fitted.mixture.locs), isinstance(fitted.mixture, NoisyMixture)
                        ),
                        "double",
                    ),
                    "log_density": "double",
                }
            ),
            "params": None,
        },
        "utc_time_created": datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f"),
    }


def _columns(types: dict[str, str]) -> str:
    """Columns of a signature, as MLflow writes them: a list as JSON text."""
    return json.dumps([{"type": kind, "name": name, "required": True} for name, kind in types.items()])


def _examples(mixture: AnyMixture | NoisyMixture) -> list[list[float]]:
    """Rows of the input example: the locs, at most a few."""
    chosen = np.unique(np.linspace(0, len(mixture.locs) - 1, EXAMPLES).round().astype(int))
    return mixture.locs[chosen].reshape(len(chosen), -1).tolist()


def _python_env() -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "build_dependencies": ["pip", "setuptools", "wheel"],
        "dependencies": ["-r requirements.txt"],
    }


def _conda(requirements: list[str]) -> dict[str, Any]:
    return {
        "channels": ["conda-forge"],
        "dependencies": [f"python={platform.python_version()}", "pip", {"pip": requirements}],
        "name": "mlflow-env",
    }
