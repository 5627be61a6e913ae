"""What a finished record says, read back, and what it is known by wherever it lies.

Whatever is told of a record elsewhere (a tracker, a page, a comparison) is read here, so that an older or a damaged
record is one case, in one place. `record.json` has the digest of each file: what is read is held to it, so that a file
that was cut off, or that belongs to another record, is refused rather than taken for the answer. Records of earlier
versions have fewer digests, or none; what they lack is not asked for.
"""

import contextlib
import hashlib
import json
import zipfile
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from gmm_pipeline.errors import InputError
from gmm_pipeline.model.natural import Mixture
from gmm_pipeline.records import artifacts
from gmm_pipeline.records.files import Part, read_json

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

YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""A config of a record is resolved and was written with whatever YAML could mistake in quotes: any reader gives the
same, and the one in C takes a twentieth of the time."""
DEEPEST = 100
"""Levels of a config, of which ours have five: the reader in C ends the process where they are some ten thousand."""


READ = (artifacts.CONFIG, artifacts.DATA, artifacts.PARAMETERS, artifacts.METRICS, artifacts.HISTORY)
"""Files of a `Content`."""


DAMAGE = (OSError, ValueError, EOFError, zipfile.BadZipFile)
"""What reading and decoding raise at a file that is gone, cut off, or something else."""


class Content(NamedTuple):
    """What a record says, read once; of a run that failed, its config at most and `record`."""

    config: dict[str, Any]
    data: dict[str, Any]
    parameters: dict[str, Any]
    metrics: dict[str, Any]
    history: artifacts.History
    record: dict[str, Any]


class Written(NamedTuple):
    """What a process knows of a record that it has just written, and need not read."""

    config: dict[str, Any]
    history: artifacts.History


NO_HISTORY = artifacts.History(np.zeros(0, int), np.zeros(0), Mixture(*3 * (np.zeros((0, 0)),)))


def read_about(record: Path) -> dict[str, Any]:
    """What `record.json` says, and its `record_id`; of a record without times, the time of the file."""
    file = record / artifacts.RECORD
    about = read_json(file)
    return Part({"started": written(file), "ended": written(file), "record_id": record_id(about), **about}, file)


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
def damage_reported(record: Path, name: str | None = None) -> Iterator[None]:
    """Turn what the content of a file leads to into one message: reading and decoding alone belong inside.

    Args:
        record: its folder, or that of a sweep.
        name: the file that is read, where it is one.

    Raises:
        InputError: the record is not whole.
    """
    try:
        yield
    except InputError:
        raise
    except DAMAGE as error:
        said = f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
        raise (_not_whole(record / name, said) if name else _damaged(record, said)) from error


def _damaged(record: Path, came: str) -> InputError:
    return InputError(
        str(record), expected="a whole record", came=came, remedy="Restore its files from a copy, or fit again."
    )


def _not_whole(file: Path, came: str) -> InputError:
    return InputError(
        str(file),
        expected="a file of a whole record",
        came=came,
        remedy="Restore it from a copy, fit again, or choose another run.",
    )


def altered(record: Path, about: Mapping[str, Any], names: Collection[str] | None = None) -> str | None:
    """The first file of a record that is gone or has not the bytes that it was written with.

    Args:
        record: its folder.
        about: what `record.json` says.
        names: files that are asked about; None for all.

    Raises:
        OSError: a file cannot be read.
        ValueError: `about` is not what a record says.
    """
    results = about.get("digests", {}).get("results", {})
    if not isinstance(results, Mapping):
        raise ValueError("digests of results are no mapping")
    expected = {**about.get("files", {}), **results}
    asked = [name for name in artifacts.FILES if name in expected and (names is None or name in names)]
    found = artifacts.digests_of(record, asked)
    return next((name for name in asked if found.get(name) != expected[name]), None)


def check_unaltered(record: Path, about: Mapping[str, Any], *names: str) -> None:
    """Refuse files of a record that are there and have not the bytes that they were written with.

    Args:
        record: its folder.
        about: what `record.json` says.
        names: the files that are to be read.

    Raises:
        InputError: which file.
    """
    with damage_reported(record):
        wrong = altered(record, about, [name for name in names if (record / name).exists()])
    if wrong is not None:
        raise _not_whole(
            record / wrong, f"other bytes than were written: its SHA-256 is not that in {artifacts.RECORD}"
        )


def read(record: Path, written: Written | None = None) -> Content:
    """Read what is to be logged of a record.

    Args:
        record: its folder.
        written: what takes long to read, where it is known.

    Raises:
        InputError: `record` is not the directory of a run that ended, or a file of it is damaged.
    """
    with damage_reported(record):
        try:
            # Last written, first asked for: where it is missing, the rest cannot be trusted.
            about = read_about(record)
            check_unaltered(record, about, *READ)
            if about["status"] == "failed":
                config = read_config(record) if (record / artifacts.CONFIG).exists() else {}
                return Content(config, {}, {}, {}, NO_HISTORY, about)
            return Content(
                config=written.config if written else read_config(record),
                data=read_json(record / artifacts.DATA),
                parameters=read_json(record / artifacts.PARAMETERS),
                metrics=read_json(record / artifacts.METRICS),
                history=written.history if written else artifacts.read_history(record / artifacts.HISTORY),
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
    """The resolved config of a record.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no config.
    """
    text = (record / artifacts.CONFIG).read_text(encoding="utf-8")
    try:
        _refuse_traps(text)
        content = yaml.load(text, YAML_LOADER)  # noqa: S506 - a safe one
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error
    if not isinstance(content, dict):
        raise ValueError(f"{artifacts.CONFIG} is no mapping")
    return Part(content, record / artifacts.CONFIG)


def _refuse_traps(text: str) -> None:
    """Refuse YAML with more levels or more copies of itself than any reader could take."""
    depth = 0
    for event in yaml.parse(text, YAML_LOADER):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST or isinstance(event, yaml.AliasEvent):
            raise ValueError(f"{artifacts.CONFIG} is nested too deeply, or refers to itself")


def milliseconds(time: str) -> int:
    """An ISO 8601 time with its offset as milliseconds since 1970."""
    return round(datetime.fromisoformat(time).timestamp() * 1000)
