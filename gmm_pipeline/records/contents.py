"""The contents of a finished record, read back, and an identifier that does not depend on its location.

Whatever is reported of a record elsewhere (a tracker, a page, a comparison) is read here, so that older and damaged
records are handled in one place. `record.json` has the digest of each file, and files are checked against it, so that a
file that is truncated, or that belongs to another record, is refused. Records of earlier versions have fewer digests,
or none; missing digests are not checked.
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
from gmm_pipeline.records import artifacts, consistency, files
from gmm_pipeline.records.files import Part
from gmm_pipeline.records.json_files import checked, read_json

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
"""Keys of `record.json` that are written once and never change, even if the record is moved or copied."""

YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The config of a record is resolved, and ambiguous YAML values are quoted: every reader gives the same result, and the
one in C takes a twentieth of the time."""
DEEPEST = 100
"""Most levels of a config; ours have five, and the reader in C crashes the process at about ten thousand."""


CHECKED = (artifacts.CONFIG, artifacts.DATA, *artifacts.RESULTS)
"""Files that commands read; the tables as text are copies for people."""


DAMAGE = (OSError, ValueError, EOFError, zipfile.BadZipFile)
"""Exceptions of reading and decoding a file that is missing, truncated, or of another kind."""


class Content(NamedTuple):
    """The contents of a record, read once; for a failed run, `record` and perhaps its config."""

    config: dict[str, Any]
    data: dict[str, Any]
    parameters: dict[str, Any]
    metrics: dict[str, Any]
    history: artifacts.History
    record: dict[str, Any]


class Written(NamedTuple):
    """Contents of a record that this process has just written and need not read again."""

    config: dict[str, Any]
    history: artifacts.History


NO_HISTORY = artifacts.History(np.zeros(0, int), np.zeros(0), Mixture(*3 * (np.zeros((0, 0)),)))


def read_about(record: Path) -> dict[str, Any]:
    """The content of `record.json`, with its `record_id`; for a record without times, with the time of the file."""
    file = record / artifacts.RECORD
    about = read_json(file)
    return Part({"started": written(file), "ended": written(file), "record_id": record_id(about), **about}, file)


def written(file: Path) -> str:
    """When a file was written, in ISO 8601 with its offset."""
    return datetime.fromtimestamp(file.stat().st_mtime, UTC).isoformat()


def record_id(about: Mapping[str, Any]) -> str:
    """The identifier of a record, wherever it lies: a digest of the permanent keys of `record.json`.

    Two records are the same if they differ only in paths, pictures and time spent. Runs of the same config are
    distinguished by their start time, if the record has it.
    """
    text = json.dumps({key: about[key] for key in LASTING if key in about}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@contextlib.contextmanager
def damage_reported(record: Path, name: str | None = None) -> Iterator[None]:
    """Turn errors in the content of a file into one message; only reading and decoding belong inside.

    Args:
        record: its folder, or that of a sweep.
        name: the file that is read, if it is a single one.

    Raises:
        InputError: the record is damaged.
    """
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError as error:
        raise _not_whole(Path(error.filename or record), "no such file") from error
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
    """The first file of a record that is missing or was changed.

    Args:
        record: its folder.
        about: what `record.json` says.
        names: files that are asked about; None for all.

    Raises:
        OSError: a file cannot be read.
    """
    results = about.get("digests", {}).get("results", {})
    expected = {**about.get("files", {}), **results}
    asked = [name for name in artifacts.FILES if name in expected and (names is None or name in names)]
    found = artifacts.digests_of(record, asked)
    return next((name for name in asked if found.get(name) != expected[name]), None)


def opened(record: Path) -> dict[str, Any]:
    """The content of `record.json`, once the files of the record that exist are known to be those that were written.

    Every command that uses a record opens it here. Reading all files takes less than using one of them.

    Args:
        record: its folder.

    Raises:
        InputError: a file was changed.
        OSError: a file cannot be read, or `record.json` is missing.
        ValueError: `record.json` is damaged.
    """
    about = read_about(record)
    wrong = altered(record, about, [name for name in CHECKED if (record / name).exists()])
    if wrong is not None:
        raise _not_whole(record / wrong, f"a file that was changed: its SHA-256 is not that in {artifacts.RECORD}")
    return about


def read(record: Path, written: Written | None = None) -> Content:
    """Read the contents of a record.

    Args:
        record: its folder.
        written: contents that take long to read, if the caller has them.

    Raises:
        InputError: `record` is not the directory of a finished run, or one of its files is damaged.
    """
    with damage_reported(record):
        try:
            # `record.json` is written last and read first: if it is missing, the rest cannot be trusted.
            about = opened(record)
            if about["status"] == "failed":
                config = read_config(record) if (record / artifacts.CONFIG).exists() else {}
                return Content(config, {}, {}, {}, NO_HISTORY, about)
            content = Content(
                config=written.config if written else read_config(record),
                data=read_json(record / artifacts.DATA),
                parameters=read_json(record / artifacts.PARAMETERS),
                metrics=read_json(record / artifacts.METRICS),
                history=written.history if written else artifacts.read_history(record / artifacts.HISTORY),
                record=about,
            )
            consistency.check_files(about["status"], content.parameters, content.metrics, content.data, content.history)
            return content
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
    path = record / artifacts.CONFIG
    with files.opened(path) as stream:
        text = stream.read().decode()
    try:
        _refuse_traps(text)
        content = yaml.load(text, YAML_LOADER)  # noqa: S506 - a safe one
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error
    return checked(_as_parts(content, path), path)


def _as_parts(node: Any, path: Path) -> Any:
    if isinstance(node, list):
        return [_as_parts(value, path) for value in node]
    return Part({key: _as_parts(value, path) for key, value in node.items()}, path) if isinstance(node, dict) else node


def _refuse_traps(text: str) -> None:
    """Refuse YAML that is nested too deeply, or expands by references to itself, for any reader."""
    depth = 0
    for event in yaml.parse(text, YAML_LOADER):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST or isinstance(event, yaml.AliasEvent):
            raise ValueError(f"{artifacts.CONFIG} is nested too deeply, or refers to itself")


def milliseconds(time: str) -> int:
    """An ISO 8601 time with its offset as milliseconds since 1970."""
    return round(datetime.fromisoformat(time).timestamp() * 1000)
