"""Real data with the best optima known, through the real command line and with default restarts."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from conftest import REAL

FEW = ("tracking=none", "figures=none", "animation=none")
HIT = 1e-3  # nats; a fiftieth of a standard error, which is why parameters are compared less strictly
PARAMETERS = ("weights", "locs", "scales")


def best_known(name: str, n_components: int, scales: str) -> dict:
    rows = json.loads((REAL / "optima.json").read_text())[name]
    return next(row for row in rows if row["n_components"] == n_components and row["scales_are"] == scales)


def read(folder: Path) -> tuple[dict, dict]:
    metrics, parameters = (json.loads((folder / name).read_text()) for name in ("metrics.json", "parameters.json"))
    return metrics, parameters


def test_waiting_reaches_the_best_optimum_known(quick, tmp_path):
    finished = quick(
        "fit",
        "data=file",
        f"data.path={REAL / 'waiting.csv'}",
        "data.column=waiting_minutes",
        "data.unit=minutes",
        "n_components=2",
        "prior=flat",
        *FEW,
    )
    assert finished.returncode == 0, finished.stderr
    (folder,) = (tmp_path / "outputs" / "fit").iterdir()
    metrics, parameters = read(folder)
    best = best_known("waiting", 2, "free")
    assert metrics["log_likelihood"] == pytest.approx(best["log_likelihood"], abs=HIT)
    assert metrics["bic"] == pytest.approx(best["bic"], abs=2 * HIT)
    assert metrics["converged"]
    assert metrics["n_degenerate"] == 0
    for name in PARAMETERS:
        np.testing.assert_allclose(parameters[name], best[name], rtol=2e-3)


def test_galaxies_reach_the_best_optimum_known_in_either_unit(quick, tmp_path):
    in_km = REAL / "galaxies.csv"
    rows = list(csv.DictReader(in_km.open()))
    in_1000_km = tmp_path / "thousands.csv"
    in_1000_km.write_text("velocity\n" + "\n".join(str(float(row["velocity_km_s"]) / 1000) for row in rows) + "\n")
    best, found = best_known("galaxies", 3, "free"), {}
    for unit, path in ((1.0, in_1000_km), (1000.0, in_km)):
        folder = tmp_path / f"fit_{unit:g}"
        finished = quick(
            "fit", "data=file", f"data.path={path}", "n_components=3", "prior=flat", f"hydra.run.dir={folder}", *FEW
        )
        assert finished.returncode == 0, finished.stderr
        metrics, found[unit] = read(folder)
        assert metrics["log_likelihood"] == pytest.approx(best["log_likelihood"] - len(rows) * np.log(unit), abs=HIT)
        assert metrics["n_degenerate"] == 0
    for name, factor in (("weights", 1.0), ("locs", 1000.0), ("scales", 1000.0)):
        np.testing.assert_allclose(found[1.0][name], best[name], rtol=2e-3)
        np.testing.assert_allclose(np.asarray(found[1000.0][name]), factor * np.asarray(found[1.0][name]), rtol=2e-3)


def test_acidity_reaches_the_best_optima_known_with_equal_and_free_scales(quick, tmp_path):
    finished = quick(
        "fit",
        "--multirun",
        "data=file",
        f"data.path={REAL / 'acidity.csv'}",
        "n_components=2",
        "prior=flat",
        "scales=equal,free",
        "sweep=kinds",
        *FEW,
    )
    assert finished.returncode == 0, finished.stderr
    bic = {}
    for number, scales in enumerate(("equal", "free")):
        metrics, parameters = read(tmp_path / "outputs" / "sweeps" / "kinds" / str(number))
        best = best_known("acidity", 2, scales)
        assert metrics["log_likelihood"] == pytest.approx(best["log_likelihood"], abs=HIT)
        assert metrics["n_parameters"] == best["n_parameters"]
        assert (len(set(parameters["scales"])) == 1) == (scales == "equal")
        for name in PARAMETERS:
            np.testing.assert_allclose(parameters[name], best[name], rtol=2e-3)
        bic[scales] = metrics["bic"]
    assert bic["equal"] < bic["free"]
