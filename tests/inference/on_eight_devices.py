"""A sweep and a fit of large data on some of eight devices; prints what they gave and how many computed, as JSON.

Run in a process of its own, with XLA's flag for eight devices of the CPU.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest

import gmm_pipeline
from gmm_pipeline.inference import calls, devices, large

RANDOM = np.random.default_rng(8)
DATA = RANDOM.permutation(np.concatenate([RANDOM.normal(-2.0, 1.0, 1500), RANDOM.normal(1.0, 0.4, 1500)]))
QUICK: dict[str, Any] = {"prior": "flat", "restarts": 1, "optimizer": "squarem", "steps": 20}
LARGE: dict[str, Any] = {
    "most_data": 1000,
    "most_rows": 1000,
    "condensed_to": 200,
    "rounds": 1,
    "mixtures": 8,
    "kept": 2,
}
BLOCK, AT_ONCE = 128, 2

computed_on: set[str] = set()
sent: list[int] = []


def noting(made: Callable[..., Callable[..., Any]]) -> Callable[..., Callable[..., Any]]:
    """A maker of programs, whose programs note the devices of their results."""

    def maker(*arguments: Any) -> Callable[..., Any]:
        program = made(*arguments)

        def run(*arguments: Any, **fixed: Any) -> Any:
            found = program(*arguments, **fixed)
            computed_on.update(str(device) for leaf in jax.tree.leaves(found) for device in leaf.devices())
            return found

        return run

    return maker


def numbers(fit: gmm_pipeline.Fit) -> list[list[float]]:
    """Of an answer, to the last bit."""
    exact = (fit.weights, fit.locs, fit.scales, fit.metrics["log_likelihood"], fit.metrics["loss"])
    return [np.ravel(one).tolist() for one in exact]


def swept(count: int | str) -> list[Any]:
    """A sweep of nine batches."""
    execution = {"devices": count, "workers": 3}
    found = gmm_pipeline.sweep(DATA, seed=range(9), n_components=2, search="none", **QUICK, execution=execution)
    return [numbers(fit) for fit in found if isinstance(fit, gmm_pipeline.Fit)]


def fitted(count: int | str) -> list[Any]:
    """A fit of 24 blocks."""
    return numbers(gmm_pipeline.fit(DATA, search=LARGE, **QUICK, execution={"devices": count, "workers": 8}))


def by_devices(run: Callable[[int | str], list[Any]], *counts: int | str) -> dict[str, Any]:
    """The results by the number of devices, and how many of them computed."""
    found = {}
    for count in counts:
        computed_on.clear()
        found[str(count)] = {"numbers": run(count), "devices": len(computed_on)}
    return found


def main() -> None:
    """Print all of it."""
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(large, "BLOCK", BLOCK)
        patch.setattr(calls, "_run", noting(calls._run))
        found["sweep"] = by_devices(swept, 1, "all")
        patch.undo()
        patch.setattr(large, "BLOCK", BLOCK)
        patch.setattr(large, "_evaluation", noting(large._evaluation))
        found["large"] = by_devices(fitted, 1, "all")
        # As on an accelerator.
        patch.setattr(large, "AT_ONCE", AT_ONCE)
        patch.setattr(large, "_block", noted_block(large._block))
        patch.setattr(devices, "are_accelerators", lambda: True)
        patch.setattr(devices, "room", lambda: 1e6)
        found["accelerators"] = by_devices(fitted, 1, 3)
    sys.stdout.write(json.dumps({**found, "sent": sent}))


def noted_block(block: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    """Makes blocks of data, and notes which."""

    def made(values: Any, number: int, length: int, *, fill: bool = True) -> np.ndarray:
        if fill and len(values) == len(DATA):
            sent.append(number)
        return block(values, number, length, fill=fill)

    return made


if __name__ == "__main__":
    main()
