"""Bad runs among good ones: each bad in a way of its own, none of them at the cost of another."""

import argparse
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.comparison import (
    COMPONENTS,
    NAME,
    RESULTS,
    Check,
    child_id,
    differing,
    manifest,
    of_files,
    read_store,
    seen_of,
    sweep_folder,
)
from benchmarks.processes import Command


class Bad(NamedTuple):
    """A run that has no result."""

    config: str
    told: str
    """What its reason must name."""


BAD = {
    "a number out of range": Bad("n_components: 0", "n_components"),
    "a data file that is not there": Bad(
        "defaults: [{override /data: file}]\ndata: {path: missing.csv}", "missing.csv"
    ),
    "more components than distinct values": Bad(
        "defaults: [{override /data: file}]\ndata: {path: three.csv}\nn_components: 5", "distinct values"
    ),
    "NaN in a data file": Bad("defaults: [{override /data: file}]\ndata: {path: nan.csv}", "row 41"),
    "a learning rate that diverges": Bad(
        "defaults: [{override /optimizer: sgd}]\noptimizer: {learning_rate: 1.0e+30}", "not finite"
    ),
    "a prior that raises while it is computed": Bad(
        "defaults: [{override /prior: raising}]", "this prior cannot be computed"
    ),
    "more data than memory": Bad("data: {n_draws: 1000000000000}", "memory"),
}
"""What is wrong with them."""
FILES = {
    "three.csv": "datum\n" + "1.0\n2.0\n3.0\n" * 20,
    "nan.csv": "datum\n" + "1.0\n2.5\n" * 20 + "nan\n",
    "mine/prior/raising.yaml": "_target_: raising_prior.density\n",
    "raising_prior.py": """\
import jax
import numpy as np


def fail(_):
    raise RuntimeError("this prior cannot be computed")


def density(parameters):
    locs = jax.lax.stop_gradient(parameters.component_mus)
    return jax.pure_callback(fail, jax.ShapeDtypeStruct((), np.float32), locs, vmap_method="sequential")
""",
}


def write_cases(folder: Path, good: Sequence[str], seed: int) -> list[str | None]:
    """Write a config for each run of the sweep with bad runs; returns what is wrong with each, None where nothing is.

    Args:
        folder: where the sweep will run.
        good: the config of each run of the undisturbed sweep.
        seed: of the places of the bad runs.
    """
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    places = random.Random(seed).sample(range(len(good)), len(BAD))  # noqa: S311 - no secrets
    wrong = dict(zip(places, BAD, strict=True))
    cases = folder / "mine" / "experiment"
    cases.mkdir()
    for number, text in enumerate(good):
        content = BAD[wrong[number]].config if number in wrong else text
        (cases / f"case_{number}.yaml").write_text(f"# @package _global_\n{content}\n", encoding="utf-8")
    return [wrong.get(number) for number in range(len(good))]


def check_bad(folder: Path, clean: Path, sizes: argparse.Namespace) -> list[Check]:
    """What becomes of a sweep some of whose runs are bad."""
    good = [
        f"n_components: {k}\nseed: {seed}\ndata: {{n_draws: {sizes.draws}}}"
        for k in COMPONENTS
        for seed in range(sizes.seeds)
    ]
    wrong = write_cases(folder, good, sizes.seed)
    # Hydra's sweeper multiplies; runs that differ in anything are options of one group.
    cases = ",".join(f"case_{number}" for number in range(len(good)))
    words = [
        "fit",
        "--multirun",
        "plugins.allow=[raising_prior]",
        f"experiment={cases}",
        f"steps={sizes.steps}",
        f"sweep={NAME}",
    ]
    ended = Command(folder, [*words, *sizes.overrides, "--config-dir", "mine"]).ended()
    swept, undisturbed = sweep_folder(folder), sweep_folder(clean)
    if not (swept / "sweep.json").exists():
        print(ended.output)
        return [Check("a sweep with bad runs begins", f"exit code {ended.code}", kept=False)]
    records = {}
    for number in range(len(good)):
        path = swept / str(number) / "record.json"
        records[number] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    sound = [number for number, reason in enumerate(wrong) if reason is None]
    unsound = [number for number, reason in enumerate(wrong) if reason is not None]
    differ = [f"{n}/{name}" for n in sound for name in differing(swept / str(n), undisturbed / str(n), RESULTS)]
    told = {number: str(records[number].get("error") or "") for number in unsound}
    vague = [name for number in unsound if (name := str(wrong[number])) and BAD[name].told not in told[number]]
    for number in unsound:
        print(f"{wrong[number]}: {records[number].get('status')}: {told[number] or 'no reason'}")
    unfinished = [str(n) for n in sound if records[n].get("status") != "finished"]
    kept = [str(n) for n in unsound if records[n].get("status") not in ("failed", "diverged") or not told[n]]
    traces = ended.output.count("Traceback (most recent call last)")
    counted = f"{len(sound):,} finished"
    about = manifest(folder)
    store = read_store(folder, about["id"])
    statuses = {child.run_id: child.status for child in store.children}
    mistaken = [
        str(number)
        for number in records
        if statuses.get(child_id(about["id"], number)) != ("FINISHED" if wrong[number] is None else "FAILED")
    ]
    return [
        of_files("runs beside bad ones finish", unfinished, len(sound)),
        of_files("their files are as undisturbed", differ, len(sound) * len(RESULTS)),
        of_files("bad runs fail with a reason", kept, len(unsound)),
        of_files("the reasons say what is wrong", vague, len(unsound)),
        Check("exit code of a sweep with bad runs", str(ended.code), ended.code == 1),
        Check("it says how many finished", counted if counted in ended.output else "no", counted in ended.output),
        Check("it prints no traceback", str(traces), traces == 0),
        of_files("statuses in the store are right", mistaken, len(records)),
        Check("the store has one parent, FAILED", seen_of(store.parents), store.parents == [(about["id"], "FAILED")]),
    ]
