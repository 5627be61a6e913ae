"""A record in the terms of a tracker: params, metrics, tags, data, a note, a name; nothing here imports mlflow.

Everything follows from the files of the record, so that logging it later, or from another process, gives the same. The
price: a config is flattened to text, and text longer than a tracker accepts is cut (the files are complete).
"""

import functools
import json
import math
import posixpath
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from gmm_pipeline.model import movements
from gmm_pipeline.model.natural import AnyMixture, Mixture
from gmm_pipeline.records import artifacts
from gmm_pipeline.records.contents import Content
from gmm_pipeline.records.overrides import LONGEST_RUN_NAME, last_part
from gmm_pipeline.tracking.description import note

RECORD_ID = "gmm_pipeline.record_id"
"""Tag with the id of a record."""
LONGEST_NAME = 250
LONGEST_PARAM = 6000
LONGEST_TAG = 8000
LONGEST_DATA_NAME = 500
OF_MODEL = ("n_components", "bic", "loss", "hit_rate")
"""Metrics that a list of models shows."""
SHOWN_DIGEST = 12
MOST_COLUMNS = 6
"""Columns up to which the scales of components are series."""
UNNAMED = ("n_components", "outputs_dir", "compilation_cache", "figures", "animation", "tracking", "timings", "hydra")

AS_TEXT = json.JSONEncoder(ensure_ascii=False, default=str)

Value = TypeVar("Value")


class Point(NamedTuple):
    """One value of a metric."""

    name: str
    value: float
    step: int


def params(content: Content) -> dict[str, str]:
    """The leaves of the config under dotted names; `tracking`, which says where a run is logged, is left out."""
    leaves = dict(_leaves({key: value for key, value in content.config.items() if key != "tracking"}))
    return {name: _cut(text, LONGEST_PARAM) for name, text in accepted(leaves).items()}


def points(content: Content, series_points: int) -> list[Point]:
    """Final values, and the series of the history thinned to `series_points`; finite ones only.

    A tracker takes the value at the largest step as the value of a metric, so a final value replaces the last point of
    its series. A metric without a series is at step 0, where the UI draws bars that compare runs instead of lines of
    one point.

    Args:
        content: of the record.
        series_points: points of each series, at most.
    """
    steps, losses, mixtures = content.history
    final = {
        name: float(value)
        for name, value in content.metrics.items()
        if isinstance(value, int | float) and math.isfinite(value)
    }
    series = {"loss": losses, **_series(mixtures, content.data.get("columns", ()))}
    last = len(steps) - 1
    # Counted from the end, so that a single point is the last one.
    chosen = np.unique(np.linspace(last, 0, series_points if len(steps) else 0).round().astype(int))
    names = dict.fromkeys([*series, *final])
    renamed = dict(zip(names, accepted(names), strict=True))
    logged = [
        Point(renamed[name], value, step)
        for name, values in series.items()
        for index, value, step in zip(
            chosen.tolist(), values[chosen].tolist(), np.asarray(steps)[chosen].tolist(), strict=True
        )
        if math.isfinite(value) and not (index == last and name in final)
    ]
    return logged + [
        Point(renamed[name], value, int(steps[last]) if name in series and len(chosen) else 0)
        for name, value in final.items()
    ]


def _series(mixtures: AnyMixture, columns: Sequence[str]) -> dict[str, np.ndarray]:
    """The numbers of each component over the steps; of several columns only a few of them."""
    if isinstance(mixtures, Mixture):
        named = {"weight": mixtures.weights, "loc": mixtures.locs, "scale": mixtures.scales}
        return {f"{name}_{k}": column for name, values in named.items() for k, column in enumerate(values.T)}
    named = {"weight": mixtures.weights, "moved": movements.distances_moved(mixtures)}
    series = {f"{name}_{k}": column for name, values in named.items() for k, column in enumerate(values.T)}
    if len(columns) <= MOST_COLUMNS:
        scales = enumerate(np.moveaxis(mixtures.scales, 0, -1))
        series |= {f"scale_{k}_{name}": one for k, of_one in scales for name, one in zip(columns, of_one, strict=True)}
    return series


def tags(record: Path, content: Content) -> dict[str, str]:
    """The tags that MLflow would take from the logging process, taken from the record instead, and its provenance.

    Args:
        record: its folder.
        content: what it says.
    """
    error = {"gmm_pipeline.error": content.record["error"]} if content.record.get("error") else {}
    return {
        **origin(content.record["provenance"], content.record["command"]),
        **cut_tags(
            {
                "mlflow.note.content": note(content),
                "gmm_pipeline.record": str(record.absolute()),
                RECORD_ID: content.record["record_id"],
                **error,
                **_soundness(content),
                **_digests(content),
                **_linked(content),
            }
        ),
    }


def _soundness(content: Content) -> dict[str, str]:
    """Tags by which runs can be filtered; an older record lacks them."""
    metrics = content.metrics
    values = {"converged": metrics.get("converged"), "degenerate": metrics.get("n_degenerate")}
    flags = {f"gmm_pipeline.{name}": _text(bool(value)) for name, value in values.items() if value is not None}
    if metrics.get("barred"):
        flags["gmm_pipeline.barred"] = str(metrics["barred"])
    verdict = content.record.get("verdict")
    return flags | ({"gmm_pipeline.verdict": "; ".join(verdict)} if verdict else {})


def _digests(content: Content) -> dict[str, str]:
    """Tags to find runs with the same config, data, code or results; an older record has none."""
    digests = dict(content.record.get("digests", {}))
    results = digests.pop("results", None)
    found = digests if results is None else digests | {"results": artifacts.digest_of(results)}
    return {f"digest.{name}": str(sha) for name, sha in found.items()}


def _linked(content: Content) -> dict[str, str]:
    """The run that this one repeats or varies: its id, or else the folder of its record."""
    linked = content.record.get("origin", {})
    name = linked.get("run_id") or linked.get("record")
    return {"gmm_pipeline.origin": name} if name else {}


def origin(provenance: Mapping[str, Any], command: str) -> dict[str, str]:
    """Tags that say who ran which program, of which version, and where.

    Args:
        provenance: from the record.
        command: that makes the run again.
    """
    git, versions, jax = provenance["git"], provenance["versions"], provenance.get("jax", {})
    rest = {name: value for name, value in provenance.items() if name not in ("git", "versions", "jax", "user")}
    found = {
        "mlflow.user": provenance["user"],
        "mlflow.source.type": "LOCAL",
        "mlflow.source.name": _program(command),
        "versions": _in_a_row(versions),
        **{f"jax.{kind}": _in_a_row(values) for kind, values in jax.items() if values},
        # The UI shows about the first twelve characters of a name, so there is no prefix.
        **dict(_leaves(rest)),
    }
    if git["commit"] is not None:
        found |= {"mlflow.source.git.commit": git["commit"], "git.dirty": _text(git["dirty"])}
    if git.get("diff") is not None:
        found["git.diff"] = git["diff"]
    return cut_tags(found)


def _in_a_row(values: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={_text(value)}" for name, value in values.items())


def cut_tags(found: Mapping[str, str]) -> dict[str, str]:
    """Tags cut to the length that a tracker accepts."""
    return {name: _cut(text, LONGEST_TAG) for name, text in accepted(found).items()}


def dataset(data: Mapping[str, Any]) -> dict[str, str]:
    """The data of a fit in the fields of an MLflow dataset, so that MLflow can load them."""
    is_file = data["source_type"] == "file"
    named = data.get("column")
    columns = data.get("columns") or [named or data["name"]]
    # Columns of the same name in two files are two data sets, as are two columns of one file.
    name = f"{Path(data['source']).name}: {named}" if named is not None and data["name"] == named else data["name"]
    return {
        "name": name[:LONGEST_DATA_NAME],
        "digest": data["digest"][
            :SHOWN_DIGEST
        ],  # complete in the profile; MLflow accepts 36 characters and shows them all
        "source_type": "local" if is_file else "code",
        "source": json.dumps({"uri": data["source"]} if is_file else {"tags": {"description": data["source"]}}),
        "schema": json.dumps(
            {"mlflow_colspec": [{"name": column, "type": "double", "required": True} for column in columns]}
        ),
        "profile": json.dumps({"num_rows": data["n_data"], **{key: data[key] for key in ("unit", "truth", "digest")}}),
    }


def run_name(content: Content) -> str:
    """A name that distinguishes runs: K, the overrides that affect the fit, optimizer, seed, and the data.

    The UI shows about the first 16 characters in a list, and the data in a separate column.
    """
    if not content.parameters:
        return content.record["name"]
    optimizer = content.config["optimizer"]["_target_"].rsplit(".", 1)[-1]
    k, seed = f"K={len(content.parameters['weights'])}", f"seed={content.config['seed']}"
    parts: list[str] = []
    data = content.data["name"]
    for override in content.record["overrides"]:
        key, _, value = override.lstrip("+~").partition("=")
        first, last = re.split(r"[./]", key)[0], last_part(key)
        if first in UNNAMED or f"{key}={value}" == seed or value in (optimizer, data):
            continue
        name = key if any(said.startswith(f"{last}=") for said in (k, seed, *parts)) else last
        parts.append(f"{name}={value}" if value else name)
    return _cut(" ".join([k, *parts, optimizer, seed, data]), LONGEST_RUN_NAME)


def accepted(named: Mapping[str, Value]) -> dict[str, Value]:
    """The same values, in the same order, under names that MLflow accepts; names that would collide are numbered."""
    taken: dict[str, Value] = {}
    for name, value in named.items():
        safe = _accepted(name)
        unique, number = safe, 1
        while unique in taken:
            number += 1
            unique = f"{safe}_{number}"
        taken[unique] = value
    return taken


@functools.lru_cache(maxsize=1000)  # the runs of a sweep have the same names
def _accepted(name: str) -> str:
    safe = re.sub(r"[^/\w.\- ]", "_", name)[: LONGEST_NAME - 5] or "_"
    # A name may be used as a path, and must not lead out of its folder.
    if posixpath.normpath(safe) != safe or safe.startswith(("/", "..")) or safe == ".":
        safe = "_" + re.sub(r"[/.]", "_", safe)
    return safe


def _program(command: str) -> str:
    """The command without interpreter, flags and overrides."""
    arguments = shlex.split(command)
    return " ".join(one for one in arguments if "=" not in one and not one.startswith("-") and one != "python")


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", _text(value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else AS_TEXT.encode(value)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
