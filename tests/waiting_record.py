"""A record of a fit to waiting times that no fit made, with all that a tracker is told."""

import hashlib
from pathlib import Path

import numpy as np
from omegaconf import OmegaConf

from gmm_pipeline.model.mixture import Mixture
from gmm_pipeline.records import artifacts
from gmm_pipeline.records.files import whole_file, write_json, write_text

COMMAND = "python -m gmm_pipeline fit data=waiting optimizer=adam seed=3 optimizer.learning_rate=0.05"
OVERRIDES = COMMAND.split()[4:]
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360f8cfc0f01f00050001ff"
    "56c72f0d0000000049454e44ae426082"
)


def write_record(record: Path, *, diverged: bool = False, n_steps: int = 1000, config: dict | None = None) -> Path:
    steps = np.unique(np.append(np.arange(0, n_steps, 5), n_steps))
    approach = 1 - np.exp(-steps / 150)[:, None]
    locs = [70.0, 70.0] + approach * [-15.4, 10.1]
    scales = [14.0, 14.0] + approach * [-8.1, -8.1]
    weights = np.stack([0.5 - 0.14 * approach[:, 0], 0.5 + 0.14 * approach[:, 0]], axis=1)
    losses = 1034.0 + 300 * np.exp(-steps / 100)
    if diverged:
        losses[-3:], locs[-3:] = np.nan, np.nan
    mixtures = Mixture(weights, locs, scales)
    final = Mixture(weights[-1], locs[-1], scales[-1])
    settings = {
        "data": {"_target_": "gmm_pipeline.records.datasets.from_file", "path": "waiting.csv", "column": None},
        "optimizer": {"_target_": "optax.adam", "learning_rate": 0.05},
        "prior": {"alpha_prior": [1.0, 1.0]},
        "n_components": 2,
        "seed": 3,
        "tracking": {"uri": "http://server"},
        **(config or {}),
    }
    write_text(record / artifacts.CONFIG, OmegaConf.to_yaml(OmegaConf.create(settings)))
    digest = hashlib.sha256(b"waiting").hexdigest()
    data = {
        "name": "waiting",
        "digest": digest,
        "n_data": 272,
        "unit": "minutes",
        "source": str(record.parent / "waiting.csv"),
        "source_type": "file",
        "truth": None,
    }
    write_json(record / artifacts.DATA, data)
    write_json(record / artifacts.PARAMETERS, artifacts.mixture_as_json(final) | {"unconstrained": {}})
    loss = losses[-1]
    metrics = {"loss": loss, "log_likelihood": -loss, "bic": 2 * loss + 28.0, "aic": 2 * loss + 10, "entropy": np.inf}
    write_json(record / artifacts.METRICS, metrics)
    artifacts.write_history(record / artifacts.HISTORY, artifacts.History(steps, losses, mixtures))
    write_text(record / "fit.log", "done\n")
    write_text(record / ".hydra" / "overrides.yaml", "- seed=3\n")
    write_text(record / artifacts.FIGURES / "fit.svg", "<svg xmlns='http://www.w3.org/2000/svg'/>")
    with whole_file(record / artifacts.FIGURES / "fit.png") as stream:
        stream.write(PIXEL)
    write_json(
        record / artifacts.RECORD,
        {
            "format": artifacts.FORMAT,
            "status": "diverged" if diverged else "finished",
            "name": record.name,
            "command": COMMAND,
            "started": "2026-03-01T12:00:00.250+01:00",
            "ended": "2026-03-01T12:00:03.500+01:00",
            "overrides": OVERRIDES,
            "provenance": {
                "git": {"commit": "0123456789abcdef0123456789abcdef01234567", "dirty": True},
                "user": "ann",
                "python": "3.11.7",
                "platform": "Linux-x86_64",
                "versions": {"jax": "0.7.0", "optax": "0.2.5"},
                "device": "cpu",
            },
            "timings": {"compile": 1.2, "fit": 0.4},
        },
    )
    return record
