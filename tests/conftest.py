"""What all tests share: strict shapes, one compilation cache, the real command line."""

import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")  # threads that wait for each other spin; libraries read it when imported

import checked_calls
import jax
import pytest
from command_server import keep_configs
from hypothesis import settings

from gmm_pipeline.configuration import command_help, config
from gmm_pipeline.inference import calls, lowered, search_passes
from gmm_pipeline.records import compiled

ROOT = Path(__file__).parent.parent
REAL = ROOT / "tests" / "data"

# Three tolerances, and no others without a reason beside them.
EXACT = 0.0
ROUNDING_32 = 1e-5  # relative; float32 has 6e-8, and sums of thousands of terms lose two digits
ROUNDING_64 = 1e-12  # relative; float64 has 1e-16

# Examples are the same in each run; the first of each shape compiles, which is no sign of a slow test.
settings.register_profile("reproducible", derandomize=True, deadline=None, max_examples=15)
settings.load_profile("reproducible")

# Most of the time of these tests goes into compiling shapes for milliseconds of use. Here and in the commands XLA does
# so in a hurry; in the notebooks, and where a sweep is held to the bits of its runs alone, as it does for users. What
# took long to compile is kept for the other processes of these tests and for their next run: a program is found by a
# digest of itself, its options and versions.
PROGRAMS = ROOT / ".pytest_cache" / "compiled"
IN_A_HURRY = (
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true --xla_cpu_use_fusion_emitters=false"
)
with pytest.MonkeyPatch.context() as environment:
    environment.setenv("XLA_FLAGS", IN_A_HURRY)
    jax.devices()  # reads them, once for all
jax.config.update("jax_compilation_cache_dir", str(PROGRAMS))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)

jax.config.update("jax_numpy_rank_promotion", "raise")  # catches (n,) − (n, 1)

config.register()
command_help.register()
keep_configs()

gc.set_threshold(50_000, 20, 20)  # imports and tracing make many objects, of which few are garbage


# One process runs a whole file, whose tests share fixtures. These come first, so that none is left alone with one.
LONGEST = (
    *("test_documentation.py", "test_sweep_runs.py", "test_readme.py", "test_config.py", "test_launcher.py"),
    "test_example_notebooks.py",
    *("test_mistakes.py", "test_pipeline.py", "test_ui.py"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name not in LONGEST)


def pytest_collection_finish() -> None:
    gc.freeze()  # what was imported stays


def pytest_sessionfinish(session: pytest.Session) -> None:
    if not hasattr(session.config, "workerinput"):
        compiled.trim(PROGRAMS)


def _jax_settings_put_back() -> Iterator[None]:
    before = {name: jax.config.values[name] for name in ("jax_enable_x64", "jax_threefry_partitionable")}
    yield
    for name, value in before.items():
        jax.config.update(name, value)


@pytest.fixture(autouse=True)
def shapes_are_checked_anew() -> None:
    checked_calls.calls.clear()


# What a command in this process, or a fixture of a file, sets of JAX's global state is not there for the next one.
after_each_test = pytest.fixture(autouse=True)(_jax_settings_put_back)
after_each_file = pytest.fixture(scope="module", autouse=True)(_jax_settings_put_back)


@pytest.fixture(scope="module")
def quickly_compiled() -> Iterator[None]:
    """Programs of fits as little optimised as all else here, which flags do not make them: for files whose fits take
    longer to compile than to run, and whose bits are not compared with those of a command.
    """
    made = lowered._program

    def hurried(function: Callable[..., Any], static: str, options: dict[str, Any] | None) -> Callable[..., Any]:
        return made(function, static, {**(options or {}), "xla_backend_optimization_level": 0})

    caches = (calls._run, search_passes.compiled)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lowered, "_program", hurried)
        for cache in caches:
            cache.cache_clear()
        yield
    for cache in caches:
        cache.cache_clear()


@pytest.fixture(scope="session")
def compilation_cache() -> Path:
    """Compiled programs, for all processes of these tests."""
    PROGRAMS.mkdir(parents=True, exist_ok=True)
    return PROGRAMS


@pytest.fixture(scope="session", autouse=True)
def no_test_writes_into_the_users_own(compilation_cache: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("JAX_COMPILATION_CACHE_DIR", str(compilation_cache))
        yield


def hurried(cache: Path) -> dict[str, str]:
    """The environment of a command: that of the tests, less what is set of MLflow and Hydra; programs are kept."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW", "HYDRA"))}
    return {**inherited, "JAX_COMPILATION_CACHE_DIR": str(cache), "XLA_FLAGS": IN_A_HURRY}


Cli = Callable[..., subprocess.CompletedProcess[str]]
Quick = Callable[..., "Ended"]


class Ended(NamedTuple):
    """How a forked command ended."""

    returncode: int
    stdout: str
    stderr: str


Fork = Callable[..., Ended]


@pytest.fixture(scope="session")
def server(compilation_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen[str]]:
    # As a command and not as a file: modules are looked for in the folder where a child is, as by `python -m`.
    script = (ROOT / "tests" / "command_server.py").read_text(encoding="utf-8")
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path_factory.mktemp("store") / "empty.db")],
        env=hurried(compilation_cache),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture(scope="session")
def fork(server: subprocess.Popen[str]) -> Fork:
    """The command line in a child of a process that has imported everything, in a folder: as separate as processes are,
    without the seconds of imports for each. With `largest`, no file of it can have more bytes: as on a full disk.
    """

    def run(folder: Path, *arguments: str, largest: int | None = None, **environment: str) -> Ended:
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write(json.dumps([str(folder), arguments, environment, largest]) + "\n")
        server.stdin.flush()
        returncode = int(server.stdout.readline())
        return Ended(returncode, Path(f"{folder}.stdout").read_text(), Path(f"{folder}.stderr").read_text())

    return run


@pytest.fixture
def cli(tmp_path: Path, compilation_cache: Path) -> Cli:
    """The real command line, in a process and an empty folder of its own."""

    def run(*arguments: str, cwd: Path = tmp_path, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "gmm_pipeline", *arguments],
            cwd=cwd,
            env={**hurried(compilation_cache), **environment},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run


@pytest.fixture
def quick(fork: Fork, tmp_path: Path) -> Callable[..., Ended]:
    """The command line as `cli` has it, in a child of `fork`."""

    def run(*arguments: str, cwd: Path = tmp_path, **settings: Any) -> Ended:
        return fork(cwd, *arguments, **settings)

    return run
