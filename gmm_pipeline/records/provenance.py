"""What a result was made with: code, versions, machine."""

import getpass
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

LIBRARIES = ("gmm-pipeline", "jax", "jaxlib", "optax", "numpy", "hydra-core", "omegaconf", "mlflow")


def provenance(device: str) -> dict[str, Any]:
    """Git state of the code, user, versions and device.

    Args:
        device: the kind of device the fit ran on, as JAX names it.
    """
    return {
        "git": git_state(Path(__file__).parent),
        "user": _user(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {name: importlib.metadata.version(name) for name in LIBRARIES},
        "device": device,
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
        return {"commit": None, "dirty": None}
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
