"""Commands as processes of their own, seen from outside: what a user waits for and what a machine has to hold.

A process gets the user's environment, less what would move caches and stores away from its folder. Its output goes to
files, since a pipe that nobody reads would stop it.
"""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024
"""Bytes in the unit of `ru_maxrss`."""
LAST_LINE = re.compile(r"seconds: (.*)$")


class Ended(NamedTuple):
    """A process that has ended."""

    seconds: float
    peak: int
    """Bytes of memory at its height."""
    code: int
    """Exit code; negative where a signal ended it."""
    output: str
    """What it wrote to both streams."""
    cpu_seconds: float
    """Of it and of its children that have ended."""


class Command:
    """A command of `gmm_pipeline`, from its start on."""

    def __init__(self, folder: Path, words: Sequence[str], cache: Path | None = None):
        """Start it, in a session of its own.

        Args:
            folder: where it runs; made where it is absent.
            words: after `python -m gmm_pipeline`.
            cache: of compiled programs; None for the usual place, in `folder`.
        """
        folder.mkdir(parents=True, exist_ok=True)
        kept = {name: text for name, text in os.environ.items() if not name.startswith(("JAX_COMPILATION", "MLFLOW_"))}
        if cache is not None:
            kept["JAX_COMPILATION_CACHE_DIR"] = str(cache)
        self._log = folder / "output.txt"
        self._words = words
        self._began = time.perf_counter()
        with self._log.open("w", encoding="utf-8") as stream:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "gmm_pipeline", *words],
                cwd=folder,
                env=kept,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def ended(self) -> Ended:
        """Wait for its end."""
        # Popen's own wait would reap the process and lose what it used.
        _, status, usage = os.wait4(self._process.pid, 0)
        seconds = time.perf_counter() - self._began
        code = os.waitstatus_to_exitcode(status)
        self._process.returncode = code
        output, cpu_seconds = self._log.read_text(encoding="utf-8"), usage.ru_utime + usage.ru_stime
        return Ended(seconds, usage.ru_maxrss * MAXRSS_UNIT, code, output, cpu_seconds)

    def interrupt(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def killed_after(self, seconds: float) -> bool:
        """Kill it and all that it started once it has run for so long; false where it ended before by itself."""
        while time.perf_counter() - self._began < seconds:
            if os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                return False
            time.sleep(0.005)
        os.killpg(self._process.pid, signal.SIGKILL)
        return True

    def succeeded(self) -> Ended:
        """Wait for its end; where it failed, so does this program, and says why."""
        ended = self.ended()
        if ended.code != 0:
            command = shlex.join(["python", "-m", "gmm_pipeline", *self._words])
            sys.exit(f"{command}\nended with exit code {ended.code}:\n{ended.output}")
        return ended


def break_down(sweep: Path) -> dict[str, float]:
    """Seconds by section, as the sweep itself noted at its end."""
    *_, last = (sweep / "sweep.log").read_text(encoding="utf-8").splitlines()
    found = LAST_LINE.search(last)
    if found is None:
        sys.exit(f"{sweep / 'sweep.log'} does not end with a break-down: {last}")
    parts = (part.rsplit(" ", 1) for part in found[1].split(", "))
    return {name: float(seconds) for name, seconds in parts}


def programs(sweep: Path) -> int:
    """How many programs the sweep was computed in: one is traced and compiled for each."""
    lines = (sweep / "sweep.log").read_text(encoding="utf-8").splitlines()
    return sum(" program of " in line for line in lines)
