"""What a result was made with: code, versions, machine."""

import copy
import functools
import getpass
import hashlib
import importlib.metadata
import inspect
import os
import platform
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

LIBRARIES = ("gmm-pipeline", "jax", "jaxlib", "optax", "numpy", "hydra-core", "omegaconf", "mlflow")
COMPUTING = ("jax", "jaxlib", "optax", "numpy")
"""Libraries that decide the bits of a result."""
NO_GIT = {"commit": None, "dirty": None}
"""Outside of a checkout."""


def provenance(device: str) -> dict[str, Any]:
    """Git state of the code, user, versions and device.

    Args:
        device: the kind of device the fit ran on, as JAX names it.
    """
    return {**copy.deepcopy(_provenance()), "device": device}


@functools.cache
def _provenance() -> dict[str, Any]:
    """Found out once: git takes longer than writing a record."""
    return {
        "git": git_state(Path(__file__).parent),
        "user": _user(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {name: importlib.metadata.version(name) for name in LIBRARIES},
    }


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run as a number that has no name
        return str(os.getuid())


def git_state(folder: Path) -> dict[str, Any]:
    """Commit of the checkout that a folder belongs to and whether it has uncommitted changes; None outside of one."""
    tracked = _git(folder, "ls-files", "--error-unmatch", "__init__.py")
    commit = None if tracked is None else _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return dict(NO_GIT)
    return {"commit": commit, "dirty": bool(_git(folder, "status", "--porcelain"))}


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        finished = subprocess.run(  # noqa: S603 - fixed arguments, no shell
            ["git", "-C", str(folder), *arguments],  # noqa: S607 - git is where the user has it
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return finished.stdout.strip()


def memory() -> float:
    """Bytes of physical memory of this machine."""
    return float(os.sysconf("SC_PAGE_SIZE")) * os.sysconf("SC_PHYS_PAGES")


@functools.lru_cache(maxsize=256)
def code_digest(*functions: Callable[..., Any]) -> str:
    """SHA-256 of what computes: this package's source, the files of other functions, libraries, platform, device.

    Args:
        functions: plug-ins, whose source counts where they are not a library's.
    """
    import jax

    package = Path(__file__).parent.parent
    files = {*package.rglob("*.py"), *(file for file in map(_source, functions) if file is not None)}
    sha = hashlib.sha256()
    for file in sorted(files):
        sha.update(file.read_bytes())
    versions = [f"{name} {importlib.metadata.version(name)}" for name in COMPUTING]
    for text in (*versions, platform.machine(), jax.devices()[0].device_kind):
        sha.update(text.encode())
    return sha.hexdigest()


def _source(function: Callable[..., Any]) -> Path | None:
    """The file of a function of the user's; None for one of an installed library, which has a version."""
    try:
        file = Path(inspect.getfile(function))
    except TypeError:  # built in
        return None
    return None if "site-packages" in file.parts else file
