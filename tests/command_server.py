"""A process that has imported what commands import, and runs each command in a child that it forks.

Reads [folder, arguments, environment, bytes of the largest file, fault] as a line of JSON, answers with the exit code.
The arguments `-c` and a script run the script instead. Warm in all children: modules, parsers, Hydra's plugins, the
files of `conf/`, and the tables of an empty store of MLflow, which the first of them makes and the others copy. Nothing
that a command sets itself is set before the fork, and no thread is started.

A fault is null or [signal, seconds, step, whom]: the child begins its step with that number and gets the signal, or so
many seconds pass and it goes to `all` of the child and what it started, to the `one` or to a `worker` of it, as soon as
there is one. Instead of its number, the step may be a list of them: at each, the folder is copied to FOLDER.at.STEP, as
it would be left if the child were killed there. A step is what changes files: opening one to write, renaming or
removing one, making a folder, or a statement of SQL that is no question. How many there were is left in FOLDER.steps.
"""

import contextlib
import functools
import gc
import importlib
import json
import os
import pickle
import resource
import shutil
import signal
import sqlite3
import sys
import threading
import time
import traceback
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any, cast

from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult
from omegaconf import grammar_parser

from gmm_pipeline import __main__ as program
from gmm_pipeline.configuration.config import config_directory
from gmm_pipeline.records import code_state, provenance
from gmm_pipeline.tracking import store as tracking_store

# What the commands import as soon as they need it.
NEEDED = (
    *("jax", "optax", "pyarrow.csv", "pyarrow.dataset", "pyarrow.parquet"),
    *("gmm_pipeline.configuration.command_errors", "gmm_pipeline.configuration.command_help"),
    *(f"gmm_pipeline.stages.{command}" for command in program.COMMANDS if command != "plan"),
    *("gmm_pipeline.execution.launcher", "gmm_pipeline.report.run_page", "gmm_pipeline.report.sweep_page"),
    *(f"gmm_pipeline.pictures.{name}" for name in ("animations", "record_figures", "sweep_figures")),
    *("gmm_pipeline.configuration.config_files", "gmm_pipeline.configuration.positional"),
    *("gmm_pipeline.execution.plugins", "gmm_pipeline.stages.rerun_arguments"),
    *("jaxlib.mlir.dialects.builtin", "jaxlib.mlir.dialects.mhlo", "jax.experimental.multihost_utils"),
    *("scipy.optimize", "mlflow.store.tracking.sqlalchemy_store", "hydra._internal.logging_config"),
    *("contourpy", "matplotlib.style", "matplotlib.backends.backend_svg", "encodings.cp437", "rich._emoji_codes"),
    *(f"PIL.{kind}ImagePlugin" for kind in ("Bmp", "Gif", "Jpeg", "Ppm")),
    *("jinja2", "plotly.offline"),
)


def warm_parsers() -> None:
    """Let the parsers of overrides and interpolations learn their grammars, which is most of their first use."""
    OverridesParser.create().parse_overrides(["a=1", "+a.b=[1,x]", "a=1,2", "a={b: 'c d'}", "a=range(0,4)", "a=b.csv"])
    for path in config_directory().rglob("*.yaml"):
        for line in path.read_text(encoding="utf-8").splitlines():
            if "${" in line and not line.startswith("#"):
                grammar_parser.parse(line.partition(": ")[2].strip("\"'"))


def warm_answers() -> None:
    """Ask once what each command asks: JAX for its plug-ins, a record for versions and the state of the code."""
    entry_points: Any = functools.cache(metadata.entry_points)
    metadata.entry_points = entry_points
    entry_points(group="jax_plugins")
    provenance._versions()
    code_state.code_state()
    code_state.source_digest()


def keep_configs() -> None:
    """Read the program's own YAMLs and parse interpolations once, which is a third of composing a config.

    Each composition gets copies, by pickling: that takes a sixth of a deep copy.
    """
    Plugins.instance()  # registers sources
    files: Any = SourcesRegistry.instance().resolve("file")
    own, load = files("own", f"file://{config_directory()}"), files.load_config
    names = [path.relative_to(config_directory()).as_posix() for path in config_directory().rglob("*.yaml")]
    kept = {name: pickle.dumps(load(own, name)) for name in names}

    def load_config(source: Any, config_path: str) -> ConfigResult:
        found = kept.get(source._normalize_file_name(config_path)) if source.path == own.path else None
        return replace(pickle.loads(found), provider=source.provider) if found else load(source, config_path)  # noqa: S301 (made above)

    files.load_config = load_config
    parse, modules = functools.cache(grammar_parser.parse), cast(Any, sys.modules)
    for module in ("omegaconf._utils", "omegaconf.base"):
        modules[module].parse = parse


def make_stores_from(empty: Path) -> None:
    """Let MLflow make its tables, by 67 migrations, in the first store alone."""
    for name, value in tracking_store.ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    importlib.import_module("mlflow.store.tracking.sqlalchemy_store")
    utils: Any = importlib.import_module("mlflow.store.db.utils")
    migrate, newest = utils._initialize_tables, utils._get_latest_schema_revision()

    def initialize(engine: Any) -> None:
        if engine.dialect.name != "sqlite":
            migrate(engine)
            return
        with contextlib.closing(engine.raw_connection()) as pooled, contextlib.closing(sqlite3.connect(empty)) as kept:
            ours = pooled.driver_connection
            if kept.execute("select count(*) from sqlite_master").fetchone() == (0,):
                migrate(engine)
                ours.backup(kept)
            else:
                kept.backup(ours)

    utils._initialize_tables = initialize
    utils._get_latest_schema_revision = lambda: newest


MOST_SECONDS = 120.0


class Steps:
    """Counts what changes files, and sends this process a signal at the step with a number, or stops it at several."""

    def __init__(self, number: int, at: int | list[int] | None):
        several = isinstance(at, list)
        self.count, self._number, self._at = 0, signal.SIGSTOP if several else number, at if several else [at]
        self._connect = sqlite3.connect
        for module in ("sqlite3", "sqlite3.dbapi2"):
            setattr(sys.modules[module], "connect", self._connected)  # noqa: B010 - the names of MLflow's and ours
        sys.addaudithook(self._seen)

    def _connected(self, *arguments: Any, **settings: Any) -> sqlite3.Connection:
        connection = self._connect(*arguments, **settings)
        connection.set_trace_callback(self._asked)
        return connection

    def _asked(self, statement: str) -> None:
        if not statement.startswith(("SELECT", "PRAGMA")):
            # An exception in here would be lost, and with it an interrupt.
            self._step(later=self._number not in (signal.SIGKILL, signal.SIGSTOP))

    def _seen(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir") or (event == "open" and writes(*arguments)):
            self._step()

    def _step(self, *, later: bool = False) -> None:
        self.count += 1
        if self.count not in self._at:
            return
        if later:
            threading.Timer(0.001, os.kill, (os.getpid(), self._number)).start()
        else:
            os.kill(os.getpid(), self._number)


def writes(path: Any, mode: str | None, flags: int) -> bool:
    """Whether a file is opened to be changed."""
    return bool(flags & (os.O_WRONLY | os.O_RDWR)) and not str(path).startswith(("/dev/", "/proc/"))


def run(folder: str, arguments: list[str], environment: dict[str, str], largest: int | None, fault: Any = None) -> None:
    os.chdir(folder)
    os.environ.update(environment)
    if largest is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(f"{folder}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    if arguments[:1] == ["-c"]:
        exec(arguments[1], {"__name__": "__main__"})  # noqa: S102 (of a page or test)
        return
    sys.argv = [program.__file__, *arguments]
    program.STARTED = time.perf_counter()
    if fault is None:
        program.main()
        return
    steps = Steps(fault[0], fault[2])
    try:
        program.main()
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is done
        Path(f"{folder}.steps").write_text(str(steps.count), encoding="utf-8")


def code_of(child: int, folder: str, fault: Any) -> int:
    """The exit code of a child, which gets the signal of a fault at its time; one that does not end then is killed."""
    if fault is None:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    begun = time.monotonic()
    sent = [(begun + fault[1], fault[0], fault[3])] if fault[1] is not None else []
    sent.append((begun + MOST_SECONDS, signal.SIGKILL, "all"))
    steps = iter(fault[2] if isinstance(fault[2], list) else ())
    while True:
        found, status = os.waitpid(child, os.WNOHANG | os.WUNTRACED)
        if found and os.WIFSTOPPED(status):
            shutil.copytree(folder, f"{folder}.at.{next(steps)}", symlinks=True)
            os.kill(child, signal.SIGCONT)
            continue
        if found:
            return os.waitstatus_to_exitcode(status)
        while sent and time.monotonic() > sent[0][0] and gets(child, *sent[0][1:]):
            sent.pop(0)
        time.sleep(0.002)


def gets(child: int, number: int, whom: str) -> bool:
    """Send a signal; returns whether there was somebody to get it."""
    if whom == "all":
        os.killpg(child, number)
    elif whom == "one":
        os.kill(child, number)
    else:
        children = Path(f"/proc/{child}/task/{child}/children").read_text(encoding="ascii").split()
        workers = [one for one in children if b"popen_loky" in Path(f"/proc/{one}/cmdline").read_bytes()]
        if not workers:
            return False
        os.kill(int(workers[0]), number)
    return True


def serve() -> None:
    for line in sys.stdin:
        request = json.loads(line)
        fault = request[4] if len(request) > 4 else None
        child = os.fork()
        if child == 0:
            code: Any = 0
            try:
                if fault is not None:
                    os.setpgid(0, 0)
                    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
                run(*request)
            except SystemExit as ended:
                code = ended.code
            except BaseException:
                traceback.print_exc()
                code = 1
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        if fault is not None:
            with contextlib.suppress(OSError):
                os.setpgid(child, child)  # whoever comes first
        print(code_of(child, request[0], fault), flush=True)  # noqa: T201 (the answer)


if __name__ == "__main__":
    gc.disable()  # what is imported stays; children collect what they make
    for module in NEEDED:
        with contextlib.suppress(ModuleNotFoundError):  # older versions lack some
            importlib.import_module(module)
    warm_parsers()
    warm_answers()
    keep_configs()
    make_stores_from(Path(sys.argv[1]))
    gc.freeze()
    gc.enable()
    serve()
