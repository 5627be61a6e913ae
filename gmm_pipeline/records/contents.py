"""What a finished record says, read back, and what it is known by wherever it lies.

Whatever is told of a record elsewhere (a tracker, a page, a comparison) is read here, so that an older or a damaged
record is one case, in one place.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from gmm_pipeline.errors import InputError
from gmm_pipeline.model.mixture import Mixture
from gmm_pipeline.records import artifacts
from gmm_pipeline.records.files import read_json

LASTING = (
    "status",
    "error",
    "name",
    "command",
    "overrides",
    "digest",
    "digests",
    "width",
    "started",
    "ended",
    "provenance",
    "sweep",
)
"""What of `record.json` is written once, and is the same wherever the record is moved or copied."""

# A config of a record is resolved and was written by OmegaConf, which quotes whatever YAML could take for something
# else: any reader gives the same, and the one in C takes a twentieth of the time.
YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Content(NamedTuple):
    """What a record says, read once; of a run that failed, its config at most and `record`."""

    config: dict[str, Any]
    data: dict[str, Any]
    parameters: dict[str, Any]
    metrics: dict[str, Any]
    history: artifacts.History
    record: dict[str, Any]


NO_HISTORY = artifacts.History(np.zeros(0, int), np.zeros(0), Mixture(*3 * (np.zeros((0, 0)),)))


def read_about(record: Path) -> dict[str, Any]:
    """What `record.json` says, and its `record_id`; of a record without times, the time of the file."""
    file = record / artifacts.RECORD
    about = read_json(file)
    return {"started": written(file), "ended": written(file), "record_id": record_id(about), **about}


def written(file: Path) -> str:
    """When a file was written, in ISO 8601 with its offset."""
    return datetime.fromtimestamp(file.stat().st_mtime, UTC).isoformat()


def record_id(about: Mapping[str, Any]) -> str:
    """What a record is known by wherever it lies: a digest of what `record.json` says for good.

    Two records are one where nothing in them differs but paths, pictures and time spent: a run is told from another of
    the same config by when it began, if the record says so.
    """
    text = json.dumps({key: about[key] for key in LASTING if key in about}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@contextlib.contextmanager
def damage_told(record: Path) -> Iterator[None]:
    """Turn whatever goes wrong in reading a record into one message.

    Raises:
        InputError: the record is not whole.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            str(record),
            expected="a whole record",
            came=f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}",
            remedy="Restore its files from a copy, or fit again.",
        ) from error


def read(record: Path) -> Content:
    """Read what is to be logged of a record.

    Raises:
        InputError: `record` is not the directory of a run that ended.
    """
    try:
        # Last written, first asked for: where it is missing, the rest cannot be trusted.
        about = read_about(record)
        if about["status"] == "failed":
            config = read_config(record) if (record / artifacts.CONFIG).exists() else {}
            return Content(config, {}, {}, {}, NO_HISTORY, about)
        return Content(
            config=read_config(record),
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


def read_config(record: Path) -> dict[str, Any]:
    """The resolved config of a record."""
    return yaml.load((record / artifacts.CONFIG).read_text(encoding="utf-8"), YAML_LOADER)  # noqa: S506 - a safe one


def milliseconds(time: str) -> int:
    """An ISO 8601 time with its offset as milliseconds since 1970."""
    return round(datetime.fromisoformat(time).timestamp() * 1000)
