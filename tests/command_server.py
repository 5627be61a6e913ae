"""A process that has imported what commands import, and runs each command in a child that it forks.

Reads [folder, arguments, environment, bytes of the largest file] as a line of JSON, answers with the exit code. The
arguments `-c` and a script run the script instead. Warm in all children: modules, parsers, Hydra's plugins, the files
of `conf/`, and the tables of an empty store of MLflow, which the first of them makes and the others copy. Nothing that
a command sets itself is set before the fork, and no thread is started.
"""

import copy
import importlib
import json
import os
import resource
import sqlite3
import sys
import time
import traceback
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult
from omegaconf import grammar_parser

from gmm_pipeline import __main__ as program
from gmm_pipeline.configuration.config import config_directory
from gmm_pipeline.tracking import store as tracking_store

# What the commands import as soon as they need it.
NEEDED = (
    *("jax", "optax", "pyarrow.csv", "pyarrow.dataset", "pyarrow.parquet"),
    *("gmm_pipeline.configuration.command_errors", "gmm_pipeline.configuration.command_help"),
    *(f"gmm_pipeline.stages.{command}" for command in program.COMMANDS if command != "plan"),
    *("gmm_pipeline.execution.launcher", "gmm_pipeline.report.run_page", "gmm_pipeline.report.sweep_page"),
    *(f"gmm_pipeline.pictures.{name}" for name in ("animations", "record_figures", "sweep_figures")),
)


def warm_parsers() -> None:
    """Let the parsers of overrides and interpolations learn their grammars, which is most of their first use."""
    OverridesParser.create().parse_overrides(["a=1", "+a.b=[1,x]", "a=1,2", "a={b: 'c d'}", "a=range(0,4)", "a=b.csv"])
    for path in config_directory().rglob("*.yaml"):
        for line in path.read_text(encoding="utf-8").splitlines():
            if "${" in line and not line.startswith("#"):
                grammar_parser.parse(line.partition(": ")[2].strip("\"'"))


def keep_configs() -> None:
    """Read the program's own YAMLs once, which is a third of composing a config; each composition gets copies."""
    Plugins.instance()  # registers sources
    files: Any = SourcesRegistry.instance().resolve("file")
    own, load = files("own", f"file://{config_directory()}"), files.load_config
    names = [path.relative_to(config_directory()).as_posix() for path in config_directory().rglob("*.yaml")]
    kept = {name: load(own, name) for name in names}

    def load_config(source: Any, config_path: str) -> ConfigResult:
        found = kept.get(source._normalize_file_name(config_path)) if source.path == own.path else None
        return replace(copy.deepcopy(found), provider=source.provider) if found else load(source, config_path)

    files.load_config = load_config


def make_stores_from(empty: Path) -> None:
    """Let MLflow make its tables, by 67 migrations, in the first store alone."""
    for name, value in tracking_store.ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    importlib.import_module("mlflow.store.tracking.sqlalchemy_store")
    utils: Any = importlib.import_module("mlflow.store.db.utils")
    migrate, newest = utils._initialize_tables, utils._get_latest_schema_revision()

    def initialize(engine: Any) -> None:
        with closing(engine.raw_connection()) as pooled, closing(sqlite3.connect(empty)) as kept:
            ours = pooled.driver_connection
            if kept.execute("select count(*) from sqlite_master").fetchone() == (0,):
                migrate(engine)
                ours.backup(kept)
            else:
                kept.backup(ours)

    utils._initialize_tables = initialize
    utils._get_latest_schema_revision = lambda: newest


def run(folder: str, arguments: list[str], environment: dict[str, str], largest: int | None) -> None:
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
    program.main()


def serve() -> None:
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            code: Any = 0
            try:
                run(*json.loads(line))
            except SystemExit as ended:
                code = ended.code
            except BaseException:
                traceback.print_exc()
                code = 1
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)  # noqa: T201 (the answer)


if __name__ == "__main__":
    for module in NEEDED:
        importlib.import_module(module)
    warm_parsers()
    keep_configs()
    make_stores_from(Path(sys.argv[1]))
    serve()
