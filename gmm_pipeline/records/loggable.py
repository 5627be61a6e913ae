"""A finished record in the terms of a tracker: params, metrics, tags, a note, a name; nothing here imports mlflow.

Everything follows from the files of the record, so that logging it later, or from another process, says the same. The
price: a config is flattened to text, and what is longer than a tracker takes is cut (the files are logged too, whole).
"""

import json
import posixpath
import re
import shlex
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
from omegaconf import OmegaConf

from gmm_pipeline.errors import InputError
from gmm_pipeline.records import artifacts
from gmm_pipeline.records.files import read_json

LONGEST_NAME = 250
LONGEST_PARAM = 6000
LONGEST_TAG = 8000
LONGEST_RUN_NAME = 120
NOTE_COMPONENTS = 50
UNTOLD = ("n_components", "outputs_dir", "compilation_cache", "figures", "animation", "tracking", "hydra")

Value = TypeVar("Value")


class Content(NamedTuple):
    """What a record says, read once."""

    config: dict[str, Any]
    data: dict[str, Any]
    parameters: dict[str, Any]
    metrics: dict[str, Any]
    history: artifacts.History
    record: dict[str, Any]


class Point(NamedTuple):
    """One value of a metric."""

    name: str
    value: float
    step: int


def read(record: Path) -> Content:
    """Read what is to be logged of a record.

    Raises:
        InputError: `record` is not the directory of a run that ended.
    """
    try:
        # Last written, first asked for: where it is missing, the rest cannot be trusted.
        about = read_json(record / artifacts.RECORD)
        return Content(
            config=cast(dict[str, Any], OmegaConf.to_container(OmegaConf.load(record / artifacts.CONFIG))),
            data=read_json(record / artifacts.DATA),
            parameters=read_json(record / artifacts.PARAMETERS),
            metrics=read_json(record / artifacts.METRICS),
            history=artifacts.read_history(record / artifacts.HISTORY),
            record=about,
        )
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(
            str(record),
            expected="the directory of a run that ended",
            came=f"no {Path(error.filename).name} in it",
            remedy="Fit again: a run that was interrupted has no result.",
        ) from error


def params(content: Content) -> dict[str, str]:
    """The leaves of the config under dotted names; `tracking`, which says where a run is logged, is left out."""
    leaves = dict(_leaves({key: value for key, value in content.config.items() if key != "tracking"}))
    return {name: _cut(text, LONGEST_PARAM) for name, text in accepted(leaves).items()}


def points(content: Content, series_points: int) -> list[Point]:
    """Final values, and the series of the history thinned to `series_points`; finite ones only.

    A tracker takes the value at the largest step for the value of a metric, so a final value stands in for the last
    point of its series. One without a series is at step 0, where the UI draws bars that compare runs instead of lines
    of one point.
    """
    steps, losses, mixtures = content.history
    final = {
        name: float(value)
        for name, value in content.metrics.items()
        if isinstance(value, int | float) and np.isfinite(value)
    }
    series = {"loss": losses}
    for singular, values in zip(("weight", "loc", "scale"), mixtures, strict=True):
        series |= {f"{singular}_{component}": column for component, column in enumerate(values.T)}
    last = len(steps) - 1
    # From the end, so that a single point is the last one.
    chosen = np.unique(np.linspace(last, 0, series_points).round().astype(int))
    logged = [
        Point(name, float(values[index]), int(steps[index]))
        for name, values in series.items()
        for index in chosen
        if np.isfinite(values[index]) and not (index == last and name in final)
    ]
    last_step = int(steps[last])
    logged += [Point(name, final[name], last_step if name in series and len(chosen) else 0) for name in final]
    names = dict.fromkeys(point.name for point in logged)
    renamed = dict(zip(names, accepted(names), strict=True))
    return [point._replace(name=renamed[point.name]) for point in logged]


def tags(record: Path, content: Content) -> dict[str, str]:
    """What MLflow would find out of the process that logs, from the record instead; and where and how it was made."""
    provenance = dict(content.record["provenance"])
    git, versions = provenance.pop("git"), provenance.pop("versions")
    found = {
        "mlflow.user": provenance.pop("user"),
        "mlflow.source.type": "LOCAL",
        "mlflow.source.name": _program(content.record["command"]),
        "mlflow.note.content": note(content),
        "gmm_pipeline.record": str(record.absolute()),
        "versions": " ".join(f"{package}={version}" for package, version in versions.items()),
        # The UI shows the first dozen letters of a name: no prefix.
        **dict(_leaves(provenance)),
    }
    if git["commit"] is not None:
        found |= {"mlflow.source.git.commit": git["commit"], "git.dirty": _text(git["dirty"])}
    return {name: _cut(text, LONGEST_TAG) for name, text in accepted(found).items()}


def note(content: Content) -> str:
    """The fitted mixture and the command that fits it again, as Markdown."""
    unit = f" ({content.data['unit']})" if content.data["unit"] else ""
    columns = zip(*(content.parameters[name] for name in ("weights", "locs", "scales")), strict=True)
    rows = [
        " | ".join([f"| {component}", *("–" if value is None else f"{value:.4g}" for value in values)]) + " |"
        for component, values in enumerate(columns)
    ]
    hidden = len(rows) - NOTE_COMPONENTS
    return "\n".join(
        [
            *(
                ["**This run diverged: its numbers are no result.**", ""]
                if content.record["status"] == "diverged"
                else []
            ),
            f"| component | weight | loc{unit} | scale{unit} |",
            "| ---: | ---: | ---: | ---: |",
            *rows[:NOTE_COMPONENTS],
            "",
            *([f"and {hidden} more", ""] if hidden > 0 else []),
            f"of {content.data['n_data']:,} data: {content.data['name']}. Run it again:",
            "",
            "```sh",
            content.record["command"],
            "```",
        ]
    )


def run_name(content: Content) -> str:
    """What tells runs apart: K, optimizer, seed, the other overrides that bear on the fit, and the data.

    The UI shows the first two dozen letters in a list, and the data in a column of their own.
    """
    optimizer = content.config["optimizer"]["_target_"].rsplit(".", 1)[-1]
    told = [f"K={len(content.parameters['weights'])}", optimizer, f"seed={content.config['seed']}"]
    data = content.data["name"]
    for override in content.record["overrides"]:
        key, _, value = override.lstrip("+~").partition("=")
        first, last = re.split(r"[./]", key)[0], re.split(r"[./]", key)[-1]
        if first in UNTOLD or f"{key}={value}" in told or value in (optimizer, data):
            continue
        name = key if any(said.startswith(f"{last}=") for said in told) else last
        told.append(f"{name}={value}" if value else name)
    return _cut(" ".join([*told, data]), LONGEST_RUN_NAME)


def milliseconds(time: str) -> int:
    """An ISO 8601 time with its offset as milliseconds since 1970."""
    return round(datetime.fromisoformat(time).timestamp() * 1000)


def accepted(named: Mapping[str, Value]) -> dict[str, Value]:
    """The same values, in the same order, under names that MLflow takes; names that would meet are numbered."""
    taken: dict[str, Value] = {}
    for name, value in named.items():
        safe = re.sub(r"[^/\w.\- ]", "_", name)[: LONGEST_NAME - 5] or "_"
        # A name may be used as a path, and must then lead nowhere else.
        if posixpath.normpath(safe) != safe or safe.startswith(("/", "..")) or safe == ".":
            safe = "_" + re.sub(r"[/.]", "_", safe)
        unique, number = safe, 1
        while unique in taken:
            number += 1
            unique = f"{safe}_{number}"
        taken[unique] = value
    return taken


def _program(command: str) -> str:
    """The command without interpreter, flags and overrides."""
    words = shlex.split(command)
    return " ".join(word for word in words if "=" not in word and not word.startswith("-") and word != "python")


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", _text(value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
