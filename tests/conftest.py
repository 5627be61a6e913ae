"""What all tests share: strict shapes, one compilation cache, the real command line."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import jax
import pytest
from hypothesis import settings

from gmm_pipeline import command_help, config

ROOT = Path(__file__).parent.parent
REFERENCE = ROOT.parent / "shared" / "reference"

# Three tolerances, and no others without a reason beside them.
EXACT = 0.0
ROUNDING_32 = 1e-5  # relative; float32 has 6e-8, and sums of thousands of terms lose two digits
ROUNDING_64 = 1e-12  # relative; float64 has 1e-16

# Examples are the same in each run; the first of each shape compiles, which is no sign of a slow test.
settings.register_profile("reproducible", derandomize=True, deadline=None)
settings.load_profile("reproducible")

jax.config.update("jax_numpy_rank_promotion", "raise")  # catches (n,) − (n, 1)

config.register()
command_help.register()


@pytest.fixture(scope="session")
def compilation_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compiled")


Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def cli(tmp_path: Path, compilation_cache: Path) -> Cli:
    """The real command line, in a process and an empty folder of its own."""

    def run(*arguments: str, cwd: Path = tmp_path, **environment: str) -> subprocess.CompletedProcess[str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW", "HYDRA"))}
        return subprocess.run(
            [sys.executable, "-m", "gmm_pipeline", *arguments],
            cwd=cwd,
            env={**inherited, "JAX_COMPILATION_CACHE_DIR": str(compilation_cache), **environment},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run


@pytest.fixture
def reference() -> Path:
    if not REFERENCE.is_dir():
        pytest.skip("the reference data are not beside this checkout")
    return REFERENCE
