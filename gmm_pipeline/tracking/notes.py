"""Where a record was logged, noted in the record itself.

Whether a store has a record is asked of the store itself; the note is for people, and for records that an earlier
version logged. It names the first store that has the run; logging the record to another store later does not change it.
A folder that is not writable, and a record without times, which must have the same bytes each time, get no note.
"""

import contextlib
import os
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from gmm_pipeline.errors import InputError
from gmm_pipeline.records.files import write_json
from gmm_pipeline.records.json_files import read_json
from gmm_pipeline.tracking.store import store_file


def write_note(file: Path, tracked: Mapping[str, Any]) -> None:
    """Note in `record.json` or `sweep.json` where a run was logged, unless another store has it already.

    Args:
        file: the last file of a record, or the manifest of a sweep.
        tracked: the fields of a `TrackedRun`.
    """
    content = read_json(file)
    noted = content.get("tracking")
    if noted == tracked or not content.get("started") or (noted and _lives_elsewhere(noted, tracked["uri"])):
        return
    rewrite(file, {**content, "tracking": dict(tracked)})


def rewrite(file: Path, content: Mapping[str, Any]) -> bool:
    """Rewrite a file, if it is writable; it keeps its time, by which the newest record is found.

    Args:
        file: that is there.
        content: what it is to say.
    """
    times = file.stat()
    try:
        write_json(file, content)
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    except OSError:
        return False
    return True


def _lives_elsewhere(noted: Mapping[str, Any], uri: str) -> bool:
    """Whether a note names another store that has the run; a server is assumed to have it, without asking."""
    try:
        file, ours = store_file(noted["uri"]), store_file(uri)
    except (InputError, OSError):
        return False
    if file is None or file == ours or not file.is_file():
        return file is None and noted["uri"].rstrip("/") != uri.rstrip("/")
    asked = "SELECT 1 FROM runs WHERE run_uuid = ? AND lifecycle_stage = 'active'"
    try:
        with contextlib.closing(sqlite3.connect(f"file:{quote(str(file))}?mode=ro", uri=True)) as connection:
            return connection.execute(asked, (noted["run_id"],)).fetchone() is not None
    except (sqlite3.Error, InputError):
        return False
