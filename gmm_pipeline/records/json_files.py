"""Reading the JSON files of a record and of a sweep: each is checked here, for whoever reads it.

msgspec checks their types: it has no dependencies, and importing it takes a hundredth of a second, where pydantic,
which MLflow brings, takes seven.
"""

import json
from pathlib import Path
from typing import Any, NoReturn

from msgspec import ValidationError, convert

from gmm_pipeline.errors import InputError
from gmm_pipeline.records import artifacts
from gmm_pipeline.records.files import Part, opened
from gmm_pipeline.records.schema import MANIFEST, kinds_of

FORMATS = {artifacts.RECORD: artifacts.FORMAT, MANIFEST: 1}
"""The newest format of a file that this version writes and reads."""
MOST_DIGITS = 300
"""Of a whole number: one with more is beyond float64."""


class NewerFormatError(InputError):
    """A file that a later version of this program wrote."""


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file of a record or a sweep; the result raises an InputError for a missing key.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not JSON, or not what such a file holds.
        NewerFormatError: a later version wrote it.
    """
    with opened(path) as stream:
        return as_part(stream.read(), path)


def as_part(text: bytes, path: Path) -> dict[str, Any]:
    """Parse the text of a JSON file of a record or a sweep.

    Args:
        text: the bytes of the file.
        path: of the file, whose name says what it holds, and which messages name.

    Raises:
        ValueError: it is not JSON, or not what such a file holds.
        NewerFormatError: a later version wrote it.
    """
    try:
        content = json.loads(
            text, object_hook=lambda content: Part(content, path), parse_constant=_refuse, parse_int=_whole
        )
        if b"\\u" in text:  # half of a surrogate pair, which can be neither printed nor written
            json.dumps(content, ensure_ascii=False).encode()
    except RecursionError as error:
        raise ValueError(f"{path.name} is nested too deeply") from error
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from error
    return checked(content, path)


def checked(content: Any, path: Path) -> dict[str, Any]:
    """The content of a file, once it is known to hold what such a file does.

    Args:
        content: that was parsed.
        path: of the file.

    Raises:
        ValueError: it does not.
        NewerFormatError: a later version wrote it.
    """
    if not isinstance(content, dict):
        raise ValueError(f"{path.name} is not a mapping")
    if path.name in FORMATS:
        _refuse_newer(content, path)
    for part, kind in kinds_of(path.name, content):
        try:
            convert(part, kind)
        except (ValidationError, RecursionError) as error:
            raise ValueError(f"{path.name}: {error}") from error
    return content


def _refuse_newer(content: dict[str, Any], path: Path) -> None:
    written, known = content.get("format"), FORMATS[path.name]
    if isinstance(written, int) and written > known:
        raise NewerFormatError(
            str(path),
            expected=f"a file of format {known} or older",
            came=f"format {written}, which a later version of this program wrote",
            remedy="Update this program, or read it with the version that wrote it.",
        )


def _whole(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise ValueError(f"a whole number of {len(digits)} digits")
    return int(digits)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
