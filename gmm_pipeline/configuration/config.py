"""Where configs are found, how Hydra learns their schemas, and what they set of JAX."""

import functools
import importlib.resources
import os
from pathlib import Path

from omegaconf import OmegaConf

from gmm_pipeline import environment
from gmm_pipeline.configuration.schemas import SCHEMAS, Precision
from gmm_pipeline.errors import InputError

OF_DEVICES = ("JAX_PLATFORMS", "JAX_PLATFORM_NAME")
"""Environment variables that choose JAX's devices; the second is the older one."""


def config_directory() -> Path:
    """Where `conf/` is: inside the installed package, or beside it in a checkout."""
    package = Path(str(importlib.resources.files("gmm_pipeline")))
    installed = package / "conf"
    return installed if installed.is_dir() else package.parent / "conf"


def register() -> None:
    """Register the schemas, and the resolvers that `conf/` uses, with Hydra."""
    from hydra.core.config_store import ConfigStore

    for command, schema in SCHEMAS.items():
        ConfigStore.instance().store(name=f"{command}_schema", node=schema)
    OmegaConf.register_new_resolver("gmm.ceil_div", lambda number, by: -(-int(number) // int(by)), replace=True)
    OmegaConf.register_new_resolver("gmm.or", lambda value, other: other if value is None else value, replace=True)
    OmegaConf.register_new_resolver("gmm.env", lambda name, other: os.environ.get(name) or other, replace=True)
    OmegaConf.register_new_resolver("gmm.experiment", environment.experiment, replace=True)
    # Cached, so that all jobs of one launch agree.
    OmegaConf.register_new_resolver("gmm.unique", lambda: os.urandom(3).hex(), use_cache=True, replace=True)


def configure_jax(*, threefry_partitionable: bool, precision: Precision, compilation_cache: str | None) -> None:
    """Set what JAX keeps as global state: random bits, float type, and the folder of compiled programs.

    Args:
        threefry_partitionable: whether random bits are those of today's JAX.
        precision: float type of the fit; float64 of several columns is set for each fit.
        compilation_cache: folder of compiled programs; `user` for the user's own cache folder, None for none.
    """
    import jax

    from gmm_pipeline.inference import lowered
    from gmm_pipeline.records import compiled

    jax.config.update("jax_threefry_partitionable", threefry_partitionable)
    jax.config.update("jax_enable_x64", precision is Precision.float64)
    lowered.keep_in(compiled.keep_in(compilation_cache))


@functools.cache
def check_jax() -> None:
    """Refuse environment variables with which JAX cannot compute.

    Raises:
        InputError: which variable.
    """
    import jax

    if jax.config.values["jax_disable_jit"]:
        raise InputError(
            "JAX_DISABLE_JIT",
            expected="none: a fit is one compiled program",
            came=os.environ.get("JAX_DISABLE_JIT", "True"),
            remedy="Unset it.",
        )
    check_devices()


@functools.cache
def check_devices() -> None:
    """Refuse environment variables that name devices which JAX does not have.

    Raises:
        InputError: which variable.
    """
    import jax

    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # JAX asserts that a plug-in for CUDA is there
        variable = next((name for name in OF_DEVICES if name in os.environ), OF_DEVICES[0])
        asked = os.environ.get(variable, "none")
        extra = f', and pip install "gmm_pipeline[{asked}]" for {asked}' if asked in ("cuda", "tpu") else ""
        said = str(error).splitlines()[0] if str(error) else "no plug-in for it is installed"
        raise InputError(
            variable,
            expected="devices that this machine has and JAX can use",
            came=f"{asked} ({said})",
            remedy=f"Use {variable}=cpu for the processor{extra}.",
        ) from error
