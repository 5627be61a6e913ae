"""What a result was made with: code, versions, machine, device, and the settings of JAX.

What cannot change within a process is determined once, since git and package metadata take longer than writing a
record.
"""

import contextlib
import functools
import getpass
import hashlib
import importlib.metadata
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gmm_pipeline.records.code_state import code_state, source_digest

COMPUTING = ("jax", "jaxlib", "optax", "numpy", "scipy", "ml_dtypes")
"""Libraries that decide the bits of a result."""
LIBRARIES = (
    "gmm-pipeline",
    *COMPUTING,
    *("hydra-core", "omegaconf", "pyarrow", "pyyaml"),
    *("mlflow", "matplotlib", "pillow", "celluloid", "imageio-ffmpeg", "plotly", "rich"),
)
"""Libraries that a record names."""
SETTINGS = (
    "enable_x64",
    "threefry_partitionable",
    "default_prng_impl",
    "default_matmul_precision",
    "numpy_dtype_promotion",
    "random_seed_offset",
    "disable_jit",
    "disable_most_optimizations",
    "num_cpu_devices",
    "platforms",
)
"""Settings of JAX that affect a result, without their prefix."""
NO_GIT = {"commit": None, "dirty": None, "diff": None}
"""Outside of a checkout."""


def provenance(device: str = "") -> dict[str, Any]:
    """Git state of the code, user, versions, machine, device and settings of JAX.

    Args:
        device: the kind of device that the fit ran on, as JAX names it; empty if nothing was computed.
    """
    made_with = {**_of_process(), "device": device}
    if device:
        made_with |= {"devices": dict(_devices()), "jax": {"settings": _settings(), "environment": _environment()}}
    return made_with


@functools.cache
def _of_process() -> dict[str, Any]:
    code = code_state()
    return {
        "git": {"commit": code.commit, "dirty": code.dirty, "diff": code.diff_digest},
        "user": _user(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpu": {"model": _cpu_model(), "cores": os.cpu_count()},
        "versions": dict(_versions()),
    }


@functools.cache
def _versions() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        # Not every installation has every library.
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not on Linux
        return platform.processor()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor())


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run as a user id without a name
        return str(os.getuid())


@functools.cache
def _devices() -> dict[str, Any]:
    import jax

    return {"count": jax.device_count(), "platform": jax.default_backend()}


def _settings() -> dict[str, Any]:
    """Current settings of JAX; a run sets some of them."""
    import jax

    values = {name: jax.config.values.get(f"jax_{name}") for name in SETTINGS}
    return {name: getattr(value, "value", value) for name, value in values.items()}


def _environment() -> dict[str, str]:
    """Environment variables of JAX and XLA."""
    named = sorted(name for name in os.environ if name.startswith("JAX_") or name in ("XLA_FLAGS", "LIBTPU_INIT_ARGS"))
    return {name: os.environ[name] for name in named}


def vector_instructions() -> str:
    """What this machine's CPU can do, on which the last bits of sums depend; empty where the system does not say."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


def memory() -> float:
    """Bytes of physical memory of this machine."""
    return float(os.sysconf("SC_PAGE_SIZE")) * os.sysconf("SC_PHYS_PAGES")


@functools.lru_cache(maxsize=256)
def code_digest(*functions: Callable[..., Any]) -> str:
    """SHA-256 of what computes: this package's source, the files of other functions, libraries, platform, device.

    Args:
        functions: plug-ins, whose source counts unless they belong to a library.
    """
    import jax

    versions = [f"{name} {_versions().get(name)}" for name in COMPUTING]
    parts = (source_digest(*functions), *versions, platform.machine(), jax.local_devices()[0].device_kind)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
