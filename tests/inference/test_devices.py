"""Calls on several devices: which of them compute, and that they give the bits of one."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from conftest import IN_A_HURRY, ROUNDING_32, hurried

from gmm_pipeline.errors import InputError
from gmm_pipeline.inference import devices

N, BLOCK, AT_ONCE = 3000, 128, 2
N_BATCHES = 3


@pytest.fixture(scope="module")
def found(compilation_cache: Path) -> dict[str, Any]:
    """What `on_eight_devices.py` prints."""
    script = Path(__file__).with_name("on_eight_devices.py")
    flags = f"{IN_A_HURRY} --xla_force_host_platform_device_count=8"
    finished = subprocess.run(
        [sys.executable, str(script)],
        env={**hurried(compilation_cache), "XLA_FLAGS": flags},
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


def test_batches_of_a_sweep_go_to_all_devices_and_give_the_bits_of_one(found):
    one, all_ = found["sweep"].values()
    assert (one["devices"], all_["devices"]) == (1, N_BATCHES)
    assert len(one["numbers"]) == 9
    assert one["numbers"] == all_["numbers"]


def test_blocks_of_large_data_go_to_all_devices_and_give_the_bits_of_one(found):
    one, all_ = found["large"].values()
    assert (one["devices"], all_["devices"]) == (1, 8)
    assert one["numbers"] == all_["numbers"]


def test_accelerators_compute_several_blocks_at_once_and_are_sent_the_data_once(found):
    one, several = found["accelerators"].values()
    assert (one["devices"], several["devices"]) == (1, 3)
    assert one["numbers"] == several["numbers"]
    for ours, of_cpu in zip(one["numbers"], found["large"]["1"]["numbers"], strict=True):
        np.testing.assert_allclose(ours, of_cpu, rtol=ROUNDING_32)
    n_calls = -(-N // (BLOCK * AT_ONCE))
    assert sorted(found["sent"]) == sorted([*range(n_calls)] * 2)


def test_more_devices_than_there_are_are_refused():
    there = jax.local_device_count()
    with pytest.raises(InputError, match=rf"execution.devices: expected all, or a number up to {there}"):
        devices.use(there + 1)


def test_only_devices_of_one_kind_compute(monkeypatch):
    class Device:
        def __init__(self, kind: str, free: int):
            self.device_kind, self.free = kind, free

        def memory_stats(self) -> dict[str, int] | None:
            return {"bytes_limit": self.free + 5, "bytes_in_use": 5} if self.free else None

    fast, slow, other = Device("fast", 70), Device("slow", 10), Device("fast", 50)
    monkeypatch.setattr(jax, "local_devices", lambda: [fast, slow, other])
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert devices.used() == [fast, other]
    assert devices.of_calls(2) == [fast, other]
    assert devices.of_calls(1) == [None]
    assert devices.room() == 50.0
    other.free = 0
    assert devices.room() == 0.0
