"""A sweep in PostgreSQL: is each run there once, when two processes log it at once, and then again?

A server of its own, of the programs `initdb` and `postgres`, in a temporary folder and on a socket there. They refuse
to run as root, so that root starts them as nobody. A sweep of many small runs is made untracked; two processes log it
at the same moment into an empty database, whose tables one of them makes, and then one process again.

    python -m benchmarks.postgres [--runs 200]

Seen on 2026-11-29 on 2 cores that other work kept busy, 200 runs: 14.8 and 4.8 CPU seconds of the two, one of which
wrote all; 2.5 once more; each run was there once.

Prints CPU seconds of the commands, without those of the server. Exit code 1 where a run is missing, incomplete or
there twice.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks import parser, print_table
from benchmarks.processes import Command

SMALL = ("search=none", "steps=20", "restarts=1", "data.n_draws=100", "figures=none", "animation=none")
START_TIMEOUT_S = 30.0
PLACES = ("/usr/local/bin", "/usr/lib/postgresql/*/bin", "/opt/homebrew/opt/postgresql*/bin")
"""Where packages have the programs, which are often not on the search path."""


def missing() -> str | None:
    """What a server lacks here; None if it could be started."""
    programs = [name for name in ("initdb", "postgres") if _program(name) is None]
    if not programs and os.geteuid() == 0 and shutil.which("setpriv") is None:
        programs = ["setpriv"]
    return f"the programs {' and '.join(programs)} of PostgreSQL are not here" if programs else None


def _program(name: str) -> str | None:
    found = [str(path) for place in PLACES for path in sorted(Path("/").glob(f"{place[1:]}/{name}"))]
    return shutil.which(name) or next(iter(found), None)


@contextlib.contextmanager
def served() -> Iterator[str]:
    """A server with an empty database, in a temporary folder; gives its address, whose user needs no password."""
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))  # not below one of ours, which nobody may enter
    become = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.geteuid() == 0 else []
    data, log = folder / "data", folder / "log.txt"
    if become:
        os.chown(folder, 65534, 65534)
    made = [str(_program("initdb")), "-D", str(data), "-U", "ann", "--auth=trust", "--no-sync", "-E", "UTF8"]
    subprocess.run([*become, *made], cwd=folder, check=True, capture_output=True)
    options = ["-D", str(data), "-c", f"unix_socket_directories={folder}", "-c", "listen_addresses=", "-c", "fsync=off"]
    with log.open("wb") as stream:
        server = subprocess.Popen(
            [*become, str(_program("postgres")), *options], cwd=folder, stdout=stream, stderr=subprocess.STDOUT
        )
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while b"ready to accept connections" not in log.read_bytes():
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(log.read_text(encoding="utf-8"))
            time.sleep(0.02)
        yield f"postgresql://ann@/postgres?host={folder}"
    finally:
        server.terminate()
        server.wait()
        shutil.rmtree(folder, ignore_errors=True)


class Found(NamedTuple):
    """What a database has of sweeps."""

    parents: int
    children: int
    numbers: int
    """Different numbers of them."""
    incomplete: int


def runs_in(uri: str) -> Found:
    """Look into a database, without MLflow.

    Args:
        uri: of a database whose user needs no password.
    """
    import psycopg2

    asked = """
        SELECT count(*) FILTER (WHERE sweep.value IS NOT NULL AND number.value IS NULL),
               count(number.value),
               count(DISTINCT (parent.value, number.value)) FILTER (WHERE number.value IS NOT NULL),
               count(*) FILTER (WHERE status NOT IN ('FINISHED', 'FAILED') OR said.value = 'incomplete')
        FROM runs
        LEFT JOIN tags AS sweep ON sweep.run_uuid = runs.run_uuid AND sweep.key = 'gmm_pipeline.sweep_id'
        LEFT JOIN tags AS number ON number.run_uuid = runs.run_uuid AND number.key = 'gmm_pipeline.number'
        LEFT JOIN tags AS parent ON parent.run_uuid = runs.run_uuid AND parent.key = 'mlflow.parentRunId'
        LEFT JOIN tags AS said ON said.run_uuid = runs.run_uuid AND said.key = 'gmm_pipeline.status'
        WHERE lifecycle_stage = 'active'
    """
    with contextlib.closing(psycopg2.connect(uri)) as connection, connection.cursor() as cursor:
        cursor.execute(asked)
        return Found(*cursor.fetchone() or (0, 0, 0, 0))


def main() -> int:
    """Print the table."""
    options = parser(__doc__)
    options.add_argument("--runs", type=int, default=200, help="of the sweep")
    arguments = options.parse_args()
    if (why := missing()) is not None:
        sys.exit(why)
    table = []
    with tempfile.TemporaryDirectory() as scratch, served() as uri:
        folders = [Path(scratch) / name for name in ("first", "second")]
        words = ["fit", "--multirun", *SMALL, *arguments.overrides, f"seed=range(0,{arguments.runs})"]
        made = Command(folders[0], [*words, "tracking=none", "sweep=study"]).succeeded()
        table.append(("sweep, untracked", f"{made.cpu_seconds:.1f}", ""))
        log = ["log", f"run={folders[0] / 'outputs' / 'sweeps' / 'study'}", f"tracking.uri='{uri}'"]
        both = [Command(folder, log) for folder in folders]
        for command in both:
            ended = command.succeeded()
            table.append(("logged by one of two at once", f"{ended.cpu_seconds:.1f}", ended.output.strip()))
        ended = Command(folders[0], log).succeeded()
        table.append(("logged again", f"{ended.cpu_seconds:.1f}", ended.output.strip()))
        found = runs_in(uri)
    print_table(("what", "CPU seconds", "said"), table)
    print(found)
    return int(found != Found(1, arguments.runs, arguments.runs, 0))


if __name__ == "__main__":
    sys.exit(main())
