"""Real data with the best optima known, through the real command line."""

import csv
import json

import numpy as np
import pytest

FEW = ("tracking=none", "figures=none", "animation=none")


def best_known(reference, name: str, n_components: int) -> dict:
    rows = json.loads((reference / "optima.json").read_text())[name]
    return next(row for row in rows if row["n_components"] == n_components and row["scales_are"] == "free")


def read(folder) -> tuple[dict, dict]:
    return tuple(json.loads((folder / name).read_text()) for name in ("metrics.json", "parameters.json"))


def test_waiting_reaches_the_best_optimum_known(cli, tmp_path, reference):
    finished = cli(
        "fit",
        "data=file",
        f"data.path={reference / 'waiting.csv'}",
        "data.column=waiting_minutes",
        "data.unit=minutes",
        "n_components=2",
        "prior=flat",
        *FEW,
    )
    assert finished.returncode == 0, finished.stderr
    (folder,) = (tmp_path / "outputs" / "fit").iterdir()
    metrics, parameters = read(folder)
    best = best_known(reference, "waiting", 2)
    assert metrics["log_likelihood"] == pytest.approx(best["log_likelihood"], abs=1e-3)
    for name in ("weights", "locs", "scales"):
        # The optimum is flat: a thousandth of a nat is about a fiftieth of a standard error.
        np.testing.assert_allclose(parameters[name], best[name], rtol=2e-3)


def test_galaxies_reach_the_best_optimum_known_in_either_unit(cli, tmp_path, reference):
    in_km = reference / "galaxies.csv"
    rows = list(csv.DictReader(in_km.open()))
    in_1000_km = tmp_path / "thousands.csv"
    in_1000_km.write_text("velocity\n" + "\n".join(str(float(row["velocity_km_s"]) / 1000) for row in rows) + "\n")
    best, found = best_known(reference, "galaxies", 3), {}
    for unit, path in ((1.0, in_1000_km), (1000.0, in_km)):
        finished = cli(
            "fit",
            "--multirun",
            "data=file",
            f"data.path={path}",
            "n_components=3",
            "prior=flat",
            "init=kmeans,quantile",
            "seed=range(0,8)",
            f"hydra.sweep.dir=sweep_{unit:g}",
            *FEW,
        )
        assert finished.returncode == 0, finished.stderr
        answers = [read(folder) for folder in (tmp_path / f"sweep_{unit:g}").iterdir() if folder.is_dir()]
        # A collapsed component has any likelihood it likes.
        sound = [answer for answer in answers if min(answer[1]["scales"]) > 0.05 * unit]
        found[unit] = max(sound, key=lambda answer: answer[0]["log_likelihood"])
        shifted = best["log_likelihood"] - len(rows) * np.log(unit)
        assert found[unit][0]["log_likelihood"] == pytest.approx(shifted, abs=1e-3)
        assert max(answer[0]["log_likelihood"] for answer in sound) < shifted + 1e-3
    for name, factor in (("weights", 1.0), ("locs", 1000.0), ("scales", 1000.0)):
        np.testing.assert_allclose(
            np.asarray(found[1000.0][1][name]), factor * np.asarray(found[1.0][1][name]), rtol=2e-3
        )
