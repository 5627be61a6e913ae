"""The cache of compiled programs: its folder, its size, and whether a program is being compiled.

The cache belongs to the user, not to one outputs folder: JAX finds a program by a digest of the program, its options,
versions and device, so that all runs and processes can share a folder. Its contents are executable, so nobody else may
write to it. JAX can bound the folder's size itself, but then takes a lock for each program that it reads, and if a
process is killed between writing two files, it never stores anything again. So here a process that has compiled
something removes the least recently used programs when it ends. The price: the folder may exceed its bound while a
process runs.
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
"""Value of the key that means the folder of this user."""
MOST_BYTES = 2**29
"""Most bytes of programs in the user's folder; one fit adds about half a megabyte."""
KEPT = 0.75
"""Share of that to which the folder is reduced."""
OF_AN_ENTRY = "-cache"
"""Suffix that JAX gives to a program's file."""
OF_A_TRACE = "-trace"
NOT_USED = re.compile(r"Error (?:reading|writing) persistent compilation cache entry for '([^']+)'")
"""JAX's warning about a program that it cannot read or write."""
LOWERED = "/jax/core/compile/jaxpr_to_mlir_module_duration"
FOUND = "/jax/compilation_cache/cache_hits"
COMPILED = "/jax/core/compile/backend_compile_duration"
"""What JAX reports before it looks for a program, if it found it, and when there is one."""

_begun: dict[int, float] = {}
"""Start times of threads that are looking for or compiling a program."""
_own: set[Path] = set()
"""The user's folder, if this process uses it."""


def user_folder() -> Path:
    """The folder of this user's programs."""
    import platformdirs

    return platformdirs.user_cache_path("gmm_pipeline", appauthor=False) / "compiled"


class Traces:
    """A store of traces, in the folder of compiled programs."""

    def __init__(self, folder: Path):
        """Store traces in this folder."""
        self._folder = folder

    @property
    def code(self) -> str:
        """A digest of the source, the versions and the device."""
        return code_digest()

    def read(self, name: str) -> bytes | None:
        """The trace of this name; None if there is none."""
        try:
            return (self._folder / f"{name}{OF_A_TRACE}").read_bytes()
        except OSError:
            return None

    def write(self, name: str, content: bytes) -> None:
        """Store a trace, unless the disk is full or not writable.

        Args:
            name: a digest, in hexadecimal digits.
            content: the trace, serialised.
        """
        with contextlib.suppress(OSError), whole_file(self._folder / f"{name}{OF_A_TRACE}") as stream:
            stream.write(content)


def keep_in(folder: str | None) -> Traces | None:
    """Let JAX cache compiled programs in a folder; without a cache if the folder cannot be made, which only costs time.

    Args:
        folder: its path, `user`, or None for none.

    Returns:
        The store for traces; None without a cache.
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
        log.warning("compiled programs are not cached: %s", error)
        return False
    _replace_what_is_broken(folder)
    return True


def _replace_what_is_broken(folder: Path) -> None:
    """Remove a truncated program, left by a kill or a full disk; JAX would warn about it in every later process.

    JAX's warning names the program but not the file, so all files of that name are removed.
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
    """Remove the least recently used programs from a folder that is too large.

    Any number of processes may do so at once, while others read and write.

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
    """Record when JAX compiles."""
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
    """For how many seconds a program has been compiled or looked for by any thread; 0 if none is."""
    return max((time.perf_counter() - begun for begun in list(_begun.values())), default=0.0)
