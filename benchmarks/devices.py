"""What several devices cost and save: passes over large data, and a sweep, on 1, 2, 4 and 8 of them.

Each number of devices is a process of its own. Without an accelerator XLA divides the CPU into as many devices
(`--xla_force_host_platform_device_count`), which share its cores: no gain is to be expected there, and the table shows
what it costs to hand calls around. On GPUs or TPUs it shows what is gained, for as many as there are.

A pass is one evaluation of the log-likelihood and its gradient over all data, as `inference/large.py` has it: of four
million numbers in float32, and of half a million rows of eight columns in float64, with four components each. The sweep
fits 64 seeds to 2,000 numbers, without a search. Each process first does everything once, which compiles; seconds are
medians of rounds, and ratios are to one device. `bits` says whether results are those of one device.

    python -m benchmarks.devices [--counts 1 2 4 8] [--rounds 7]

Seen on 2026-11-29 on 2 cores of an AMD EPYC with `--rounds 5`, while others kept them busy with a load of about 10. So
CPU seconds say more than the clock, whose ratios went from 0.6 to 2.4. Nothing was measured on a GPU.

| work | CPU seconds on 1 device | ratio on 2 | on 4 | on 8 | bits |
| --- | --- | --- | --- | --- | --- |
| pass, numbers | 0.029 | 1.21 | 1.28 | 1.29 | same |
| pass, 8 columns | 0.079 | 1.08 | 1.14 | 1.01 | same |
| sweep | 1.103 | 1.01 | 1.05 | 1.22 | same |
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import jax
import numpy as np

from benchmarks import keep, loaded, parser, print_table, ratios_option, with_seeds
from benchmarks.large_data import rows, write_draws
from gmm_pipeline.execution import computing, executors
from gmm_pipeline.inference import batching, devices, large
from gmm_pipeline.inference.fitting import start

NUMBERS, ROWS, SEEDS, FEW = 2**22, 2**19, 64, 2000
FORCED = "--xla_force_host_platform_device_count"
FIT = ("n_components=4", "prior=flat", "restarts=1")


def one_pass(file: Path, overrides: Sequence[str]) -> Callable[[], str]:
    """A pass over the data of a file, at a start; a digest of its sums."""
    job = loaded("data=file", f"data.path={file}", *FIT, *overrides).fit
    (part,) = large.condensed([job])
    mixture, everything = start(part, part.key), large._Everything.of(job, batching.default_workers())
    return lambda: digest(everything.evaluated(mixture))


def sweep(overrides: Sequence[str]) -> Callable[[], str]:
    """A sweep over seeds, in batches; a digest of its answers."""
    job = loaded(*FIT, "search=none", "steps=500", f"data.n_draws={FEW}", *overrides)
    jobs = [job._replace(fit=fit) for fit in with_seeds(job.fit, range(SEEDS))]
    batches = [[jobs[run] for run in some] for some in batching.batches(batching.program_of(job.fit), range(SEEDS))]
    settings = {"threefry_partitionable": True, "precision": "auto", "compilation_cache": None}

    def compute() -> str:
        count = len(devices.used())
        execution = {"kind": "threads", "workers": None, "devices": count, "address": None}
        with executors.opened(execution) as executor:
            found = [one for batch in computing.compute(batches, settings, executor) for one in batch]
        return digest([one.answer.fitted for one in found if one.answer is not None])

    return compute


def digest(found: Any) -> str:
    """Of all numbers, to the last bit."""
    return hashlib.sha256(b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(found))).hexdigest()


def measure(folder: Path, count: int, rounds: int, overrides: Sequence[str]) -> dict[str, Any]:
    """Seconds, CPU seconds and digests with one number of devices; nothing if there are not so many."""
    if count > len(devices.alike()):
        return {}
    devices.use(count)
    found = {}
    for name, work in {
        "pass, numbers": one_pass(folder / "numbers.npy", overrides),
        "pass, 8 columns": one_pass(folder / "rows.npy", overrides),
        "sweep": sweep(overrides),
    }.items():
        bits, seconds, cpu_seconds = work(), [], []
        for _ in range(rounds):
            began, used = time.perf_counter(), time.process_time()
            work()
            seconds.append(time.perf_counter() - began)
            cpu_seconds.append(time.process_time() - used)
        found[name] = {"seconds": median(seconds), "cpu_seconds": median(cpu_seconds), "bits": bits}
    return {"kind": jax.local_devices()[0].device_kind, "work": found}


def main(arguments: argparse.Namespace) -> None:
    """Print the table."""
    if arguments.measure:
        folder, count = arguments.measure
        found = measure(Path(folder), int(count), arguments.rounds, arguments.overrides)
        sys.stdout.write(json.dumps(found))
        return
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        write_draws(Path(folder) / "numbers.npy", NUMBERS)
        np.save(Path(folder) / "rows.npy", rows(ROWS))
        for count in arguments.counts:  # this process takes none of their memory
            flags = f"{os.environ.get('XLA_FLAGS', '')} {FORCED}={count}"  # which accelerators do not heed
            command = [sys.executable, "-m", "benchmarks.devices", "--measure", folder, str(count)]
            command += ["--rounds", str(arguments.rounds), *arguments.overrides]
            finished = subprocess.run(
                command, env={**os.environ, "XLA_FLAGS": flags}, stdout=subprocess.PIPE, text=True, check=True
            )
            found[count] = json.loads(finished.stdout)
    counts, table, of_cpu = [count for count in arguments.counts if found[count]], [], {}
    for name, one in found[counts[0]]["work"].items():
        for count in counts:
            seen = found[count]["work"][name]
            ratios = [f"{seen[clock] / one[clock]:.2f}" for clock in ("seconds", "cpu_seconds")]
            of_cpu[f"{name}: CPU seconds with {count} devices / 1"] = seen["cpu_seconds"] / one["cpu_seconds"]
            bits = "same" if seen["bits"] == one["bits"] else "OTHER"
            table.append(
                [name, str(count), f"{seen['seconds']:.3f}", ratios[0], f"{seen['cpu_seconds']:.3f}", *ratios[1:], bits]
            )
    sys.stdout.write(f"devices of kind {found[counts[0]]['kind']}\n\n")
    keep(arguments.json, {name: ratio for name, ratio in of_cpu.items() if " 1 devices" not in name})
    print_table(["work", "devices", "seconds", "ratio", "CPU seconds", "ratio", "bits"], table)


if __name__ == "__main__":
    options = ratios_option(parser(__doc__))
    options.add_argument("--counts", type=int, nargs="+", default=[1, 2, 4, 8], help="numbers of devices; first, 1")
    options.add_argument("--rounds", type=int, default=7, help="how often each is measured")
    options.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    main(options.parse_args())
