"""The devices of this process that compute: calls of compiled programs go to them in turn, each to one of them.

A call is computed by one device alone, so that its bits do not depend on how many there are: a stronger promise than
the same within rounding. Arrays that are sharded over devices (`jax.sharding`) would need one program for all of
them, but are summed in as many parts as there are devices. The price: each device compiles a program for itself, and a
call that is too large for one of them has nowhere to go.

How many are used is a setting of the process, as JAX's own are: it decides where something is computed, never what.
Nothing here is about CPUs alone, but it was tested on CPUs alone, which XLA divides into devices
(`--xla_force_host_platform_device_count`).
"""

import contextlib
from typing import Any

import jax

from gmm_pipeline.errors import InputError

Device = Any
"""A `jax.Device`."""

_most: list[int] = []


def alike() -> list[Device]:
    """The devices of this process that are of the kind of the first: others would give other bits."""
    first, *others = jax.local_devices()
    return [first, *(device for device in others if device.device_kind == first.device_kind)]


def use(count: int | None) -> None:
    """Compute with so many devices from now on.

    Args:
        count: the first of them; None for all that are alike.

    Raises:
        InputError: there are not so many.
    """
    there = alike()
    if count is not None and count > len(there):
        raise InputError(
            "execution.devices",
            expected=f"all, or a number up to {len(there)}: what JAX has here of {there[0].device_kind}",
            came=str(count),
            remedy="Use execution.devices=all.",
        )
    _most[:] = [] if count is None else [count]


def used() -> list[Device]:
    """The devices that calls go to."""
    return alike()[: _most[0] if _most else None]


def current() -> Device:
    """The device that this thread computes on."""
    chosen: Any = getattr(jax.config, "jax_default_device")  # noqa: B009 - its attributes are made at run time
    return chosen if isinstance(chosen, jax.Device) else jax.local_devices()[0]


def on(device: Device | None) -> contextlib.AbstractContextManager[object]:
    """Compute on a device; None for the one that this thread computes on anyway.

    Args:
        device: one of `used`.
    """
    return contextlib.nullcontext() if device is None else jax.default_device(device)


def of_calls(workers: int) -> list[Device | None]:
    """The devices that calls go to in turn; None alone where there is nothing to choose.

    Args:
        workers: threads that compute; one alone belongs to a sweep, which has chosen the device of the thread.
    """
    there = used()
    # Naming the only device would compile everything again.
    return [*there] if workers > 1 and len(there) > 1 else [None]


def are_accelerators() -> bool:
    """Whether data have to be sent to the devices."""
    return jax.default_backend() != "cpu"


def room() -> float:
    """Bytes that are free on the fullest device; 0 on CPUs, to which nothing is sent, and where it is unknown."""
    if not are_accelerators():
        return 0.0
    stats = [device.memory_stats() or {} for device in used()]
    return float(min(one.get("bytes_limit", 0) - one.get("bytes_in_use", 0) for one in stats))
