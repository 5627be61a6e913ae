"""Records and sweeps that no fit made, in milliseconds: what pages are tried on."""

from pathlib import Path

import numpy as np

from gmm_pipeline.model.mixture import Mixture
from gmm_pipeline.records import artifacts, sweeps
from gmm_pipeline.records.artifacts import History
from gmm_pipeline.records.assignments import Assignments, write_assignments
from gmm_pipeline.records.files import as_yaml, write_json, write_text
from gmm_pipeline.records.json_files import read_json
from gmm_pipeline.records.sweep_table import write_table
from gmm_pipeline.records.sweeps import Manifest, ManifestRun

TRUTH = Mixture(np.array([0.25, 0.75]), np.array([-2.0, 5.0]), np.array([1.0, 2.0]))
LIMIT = 1.96
CONFIG = {
    "data": {"_target_": "gmm_pipeline.records.datasets.generate", "seed": 100},
    "n_components": 2,
    "criterion": "bic",
    "selection": {"smallest": 1, "largest": 2, "scales": ["free", "equal"]},
    "prior": {"_target_": "gmm_pipeline.model.priors.flat"},
    "optimizer": {"_target_": "optax.adam", "learning_rate": 0.1},
    "steps": 60,
    "restarts": 3,
    "seed": 0,
    "scales": "free",
    "tolerance": 1e-6,
    "gradient_tolerance": 1e-3,
    "precision": "float32",
}
PROVENANCE = {
    "git": {"commit": "0123456789abcdef", "dirty": True},
    "user": "someone",
    "python": "3.11.7",
    "versions": {"jax": "0.10.2", "numpy": "2.4.6"},
    "device": "cpu",
}


def draws(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Data of the truth and their components."""
    random = np.random.default_rng(7)
    labels = (random.random(n) >= TRUTH.weights[0]).astype(np.int32)
    return random.normal(TRUTH.locs[labels], TRUTH.scales[labels]), labels


def write_run(folder: Path, *, n: int = 300, bic: float = 1500.5, diverged: bool = False, **about) -> Path:
    """A run that finished, or diverged, on draws of the truth.

    Args:
        folder: of the record.
        n: number of data.
        bic: a number that is told.
        diverged: without a result.
        **about: more of what `record.json` says.
    """
    data, labels = draws(n)
    nothing = Mixture(*(np.full(2, np.nan) for _ in Mixture._fields))
    fitted = nothing if diverged else TRUTH
    errors = nothing if diverged else Mixture(np.full(2, 0.025), np.array([0.13, 0.12]), np.array([0.09, 0.11]))
    ends = {
        name: artifacts.mixture_as_json(Mixture(*(v + sign * LIMIT * e for v, e in zip(fitted, errors, strict=True))))
        for name, sign in (("lower", -1.0), ("upper", 1.0))
    }
    interval = {"standard_errors": artifacts.mixture_as_json(errors), **ends}
    steps = np.arange(0, 61, 5)
    losses = np.full(len(steps), np.nan) if diverged else 750.0 + 200.0 * np.exp(-0.2 * steps)
    history = Mixture(*(np.repeat(values[None], len(steps), axis=0) for values in fitted))
    write_text(folder / artifacts.CONFIG, as_yaml(CONFIG))
    write_json(
        folder / artifacts.DATA,
        {
            "name": "two_modes",
            "unit": None,
            "source": f"{n} draws",
            "source_type": "generated",
            "n_data": n,
            "digest": "ab" * 32,
            "truth": artifacts.mixture_as_json(TRUTH),
        },
    )
    write_json(
        folder / artifacts.PARAMETERS,
        {**artifacts.mixture_as_json(fitted), "scales_are": "free", "degenerate": [], "level": 0.95, **interval},
    )
    known = {"loss": 750.25, "log_likelihood": -750.25, "log_prior": 0.0, "aic": bic - 15.0, "bic": bic}
    write_json(
        folder / artifacts.METRICS,
        {
            **(dict.fromkeys(known) if diverged else known),
            "n_data": n,
            "n_components": 2,
            "n_parameters": 5,
            "n_steps": 60,
            "converged": not diverged,
            "gradient_norm": None if diverged else 1e-4,
            "n_degenerate": 0,
            "hit_rate": 0.0 if diverged else 2 / 3,
            "largest_z": None if diverged else 0.0,
        },
    )
    outcomes = ["diverged"] * 3 if diverged else ["reached", "worse", "reached"]
    values = {"reached": -750.25, "worse": -760.5, "diverged": None}
    write_json(
        folder / artifacts.RESTARTS,
        {
            "restarts": [
                {"log_posterior": values[one], "outcome": one, "converged": not diverged, "n_steps": 60}
                for one in outcomes
            ]
        },
    )
    artifacts.write_history(folder / artifacts.HISTORY, History(steps, losses, history))
    write_assignments(folder, Assignments(data, None, labels, np.full((n, 2), 0.5)), csv_rows=0)
    write_json(
        folder / artifacts.RECORD,
        {
            "format": artifacts.FORMAT,
            "status": "diverged" if diverged else "finished",
            **({"error": "after 60 steps its loss or parameters are not finite"} if diverged else {}),
            "name": folder.name,
            "command": "python -m gmm_pipeline fit steps=60",
            "overrides": ["steps=60"],
            "verdict": ["it diverged" if diverged else "converged in 60 steps"],
            "digest": "cd" * 32,
            "started": "2026-01-02T03:04:05.678901+00:00",
            "ended": "2026-01-02T03:04:07.678901+00:00",
            "provenance": PROVENANCE,
            "timings": {"total": 2.0},
            **about,
        },
    )
    return folder


def enrich(record: Path) -> Path:
    """Let a record look as if its number of components had been chosen, its errors bootstrapped, and it been drawn."""
    parameters = read_json(record / artifacts.PARAMETERS)
    bootstrap = {name: parameters[name] for name in ("standard_errors", "lower", "upper")}
    write_json(record / artifacts.PARAMETERS, {**parameters, "bootstrap": bootstrap})
    write_text(record / artifacts.CONFIG, as_yaml({**CONFIG, "n_components": "auto"}))
    rows = [(1, "equal", "false", 1570.5), (2, "equal", "false", 1503.0), (2, "free", "true", 1500.5)]
    write_text(
        record / artifacts.SELECTION,
        "n_components,scales,chosen,degenerate,diverged,converged,log_likelihood,bic\n"
        + "".join(f"{k},{scales},{chosen},0,false,true,-300.5,{bic}\n" for k, scales, chosen, bic in rows),
    )
    write_text(
        record / artifacts.FIGURES / "weights.svg", '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 4"/>'
    )
    write_text(record / artifacts.FIGURES / "weights.png", "the other format")
    write_text(record / artifacts.ANIMATION / "training.mp4", "a film")
    return record


def write_sweep(folder: Path, *, n_runs: int = 12) -> Path:
    """A sweep over learning rates and seeds; each fifth run diverged, and run 3 is the best.

    Args:
        folder: of the sweep.
        n_runs: more than 3.
    """
    asked = []
    for number in range(n_runs):
        diverged = number % 5 == 4
        rate = "1e30" if diverged else ("0.01", "0.1", "0.5")[number % 3]
        overrides = (f"optimizer.learning_rate={rate}", f"seed={number}", "steps=60")
        asked.append(ManifestRun(number, overrides, None))
        # 900 sorts before 1,500 as a number, and after it as text.
        bic = 900.25 if number == 3 else 1500.5 + number
        about = {"overrides": list(overrides), "sweep": {"name": folder.name, "id": "ef", "number": number}}
        write_run(folder / str(number), n=120, bic=bic, diverged=diverged, **about)
    manifest = Manifest(
        "ef", folder.name, "python -m gmm_pipeline fit -m steps=60", "2026-01-02T03:04:05+00:00", "bic", asked
    )
    sweeps.write_manifest(folder, manifest)
    write_table(folder, sweeps.read_runs(folder, manifest))
    return folder
