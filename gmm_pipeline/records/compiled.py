"""Compiled programs: where they are kept, how much of them, and whether one is being made.

They are the user's, and not those of one outputs folder: JAX finds a program by a digest of the program, its options,
versions and device, so that any runs and processes can share a folder. What it writes there is executable, so nobody
else may write to it. JAX has a bound on the folder's size of its own, but takes a lock for each program that it reads,
and after a process was killed between two of its files it stores nothing any more. So here a process that has compiled
something removes, when it ends, what was not used for longest. The price: while it runs the folder may outgrow its
bound.
"""

import atexit
import contextlib
import functools
import logging
import os
import re
import threading
import time
import warnings
from pathlib import Path
from typing import Any, TextIO

from gmm_pipeline.records.files import whole_file
from gmm_pipeline.records.provenance import code_digest

log = logging.getLogger(__name__)

USER = "user"
"""Stands for the folder of this user."""
MOST_BYTES = 2**29
"""Of programs in the user's folder; one fit leaves about half a megabyte."""
KEPT = 0.75
"""Share of that which is left after programs were removed."""
OF_AN_ENTRY = "-cache"
"""How JAX ends the name of a program's file."""
OF_A_TRACE = "-trace"
NOT_USED = re.compile(r"Error (?:reading|writing) persistent compilation cache entry for '([^']+)'")
"""What JAX warns of."""
LOWERED = "/jax/core/compile/jaxpr_to_mlir_module_duration"
FOUND = "/jax/compilation_cache/cache_hits"
COMPILED = "/jax/core/compile/backend_compile_duration"
"""What JAX reports before it looks for a program, if it found it, and when there is one."""

_begun: dict[int, float] = {}
"""When threads began to look for a program that is not there yet."""
_own: set[Path] = set()
"""The user's folder, where this process keeps programs in it."""


def user_folder() -> Path:
    """Where this user's programs are kept."""
    import platformdirs

    return platformdirs.user_cache_path("gmm_pipeline", appauthor=False) / "compiled"


class Traces:
    """Traces of programs, beside what they were compiled to."""

    def __init__(self, folder: Path):
        """Keep them in this folder."""
        self._folder = folder

    @property
    def code(self) -> str:
        """A digest of the source, the versions and the device of what is traced."""
        return code_digest()

    def read(self, name: str) -> bytes | None:
        """What is kept under a name; None for nothing."""
        try:
            return (self._folder / f"{name}{OF_A_TRACE}").read_bytes()
        except OSError:
            return None

    def write(self, name: str, content: bytes) -> None:
        """Keep it, if there is room.

        Args:
            name: a digest, in hexadecimal digits.
            content: the trace, serialised.
        """
        with contextlib.suppress(OSError), whole_file(self._folder / f"{name}{OF_A_TRACE}") as stream:
            stream.write(content)


def keep_in(folder: str | None) -> Traces | None:
    """Let JAX keep compiled programs in a folder; in none where it cannot be made, which costs time but no fit.

    Args:
        folder: its path, `user`, or None for none.

    Returns:
        Where traces can be kept.
    """
    _watch()
    if folder is None:
        return None
    path = user_folder() if folder == USER else Path(folder).absolute()
    if not _can_be_used(path):
        return None
    if folder == USER:
        _own.add(path)
    import jax

    jax.config.update("jax_compilation_cache_dir", str(path))
    # The programs are small and compile in tenths of a second, which is most of a short fit.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return Traces(path)


@functools.cache
def _can_be_used(folder: Path) -> bool:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        log.warning("compiled programs are not kept: %s", error)
        return False
    _replace_what_is_broken(folder)
    return True


def _replace_what_is_broken(folder: Path) -> None:
    """Remove a program that was cut off, by a kill or a full disk; JAX would warn of it in each process to come.

    Its warning names the program but not the file, so that all files of that name go.
    """
    usual = warnings.showwarning

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        found = NOT_USED.match(str(message))
        if found is None:
            usual(message, category, filename, lineno, file, line)
            return
        log.info("%s", message)
        for entry in folder.glob(f"{found[1]}-*{OF_AN_ENTRY}"):
            with contextlib.suppress(OSError):
                entry.unlink()

    warnings.showwarning = show


def trim(folder: Path, most: int = MOST_BYTES) -> None:
    """Remove the programs that were not used for longest from a folder that holds too many bytes.

    Any number of processes may do so at once, and while others read and write.

    Args:
        folder: of the compilation cache.
        most: bytes that it may hold.
    """
    entries = []
    with contextlib.suppress(OSError), os.scandir(folder) as found:
        for entry in found:
            with contextlib.suppress(OSError):  # another process was faster
                seen = entry.stat()
                entries.append((max(seen.st_atime, seen.st_mtime), seen.st_size, entry.path))
    total = sum(size for _, size, _ in entries)
    if total <= most:
        return
    for _, size, path in sorted(entries):
        if total <= KEPT * most:
            return
        with contextlib.suppress(OSError):
            Path(path).unlink()
        total -= size


@functools.cache
def _watch() -> None:
    """Heed when JAX compiles."""
    from jax import monitoring

    def at_event(event: str, **kwargs: Any) -> None:
        if event == FOUND:
            _begun.pop(threading.get_ident(), None)

    def at_duration(event: str, duration_secs: float, **kwargs: Any) -> None:
        if event == LOWERED:
            _begun[threading.get_ident()] = time.perf_counter()
        elif event == COMPILED and _begun.pop(threading.get_ident(), None) is not None:
            _trim_at_exit()

    monitoring.register_event_listener(at_event)
    monitoring.register_event_duration_secs_listener(at_duration)


@functools.cache
def _trim_at_exit() -> None:
    atexit.register(lambda: [trim(folder) for folder in _own])


def seconds_compiling() -> float:
    """For how long a program has been compiled by now, or looked for, by any thread; 0 where none is."""
    return max((time.perf_counter() - begun for begun in list(_begun.values())), default=0.0)
