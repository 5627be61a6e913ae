"""The DVC pipeline, in clones of what it needs of the checkout: what runs when, to which bytes, and what DVC tells."""

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT, hurried
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from gmm_pipeline.configuration.schemas import COMMANDS_OWN

NEEDED = (".dvc", ".dvcignore", ".gitignore", "conf", "dvc.yaml", "gmm_pipeline", "hydra_plugins", "params.yaml")
SMALL = {
    "data": {"n_draws": 200},
    "steps": 60,
    "restarts": 1,
    "figures": {"formats": ["png"], "dpi": 30},
    "animation": {"formats": ["gif"], "frames": 3, "dpi": 30},
}
COMPOSE = "python -m gmm_pipeline fit --config-name pipeline --cfg job --resolve > params.yaml"
METRICS = "outputs/pipeline/fit/metrics.json"

Dvc = Callable[..., str]


def composed(conf: Path) -> Any:
    with initialize_config_dir(str(conf), version_base="1.3"):
        return OmegaConf.to_container(compose("pipeline"), resolve=True, enum_to_str=True)


def stages() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


def params_of(stage: dict[str, Any]) -> set[str]:
    """The keys of params.yaml that a stage depends on."""
    named = [entry if isinstance(entry, str) else entry.get("params.yaml", []) for entry in stage.get("params", [])]
    return {name for entry in named for name in ([entry] if isinstance(entry, str) else entry)}


def test_params_are_what_conf_composes():
    assert yaml.safe_load((ROOT / "params.yaml").read_text()) == composed(ROOT / "conf"), f"update it: {COMPOSE}"


def test_each_param_belongs_to_a_stage():
    listed = {name: params_of(stage) for name, stage in stages().items()}
    in_all = set().union(*listed.values())
    assert set(composed(ROOT / "conf")) - in_all == {*COMMANDS_OWN, "timings"} - {"output"}
    assert in_all <= set(composed(ROOT / "conf"))
    # What the sweep varies itself, it does not depend on, nor on what a fit by itself alone heeds.
    varied = set(yaml.safe_load((ROOT / "conf/study.yaml").read_text())["study"])
    assert listed["sweep"] == listed["fit"] - varied - {"csv_rows"}


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory, compilation_cache: Path) -> dict[str, str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    name = {f"GIT_{role}_{what}": "nobody" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    site = str(tmp_path_factory.mktemp("site"))
    return {**hurried(compilation_cache), "PATH": path, "DVC_SITE_CACHE_DIR": site, **name}


@pytest.fixture(scope="module")
def at(environment: dict[str, str]) -> Callable[..., str]:
    """A command in a folder, whose own package it runs."""

    def run(folder: Path, *command: str) -> str:
        ended = subprocess.run(
            command,
            cwd=folder,
            env={**environment, "PYTHONPATH": str(folder)},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    return run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, at: Callable[..., str]) -> tuple[Path, str]:
    """A repository with a small pipeline that ran once, committed, and what that said."""
    folder = tmp_path_factory.mktemp("pipeline")
    for name in NEEDED:
        if (ROOT / name).is_dir():
            unwanted = shutil.ignore_patterns("__pycache__", "tmp", "cache", "config.local")
            shutil.copytree(ROOT / name, folder / name, ignore=unwanted)
        else:
            shutil.copy(ROOT / name, folder / name)
    with (folder / "conf/pipeline.yaml").open("a") as stream:
        yaml.safe_dump(SMALL, stream)
    (folder / "conf/study.yaml").write_text("study: {n_components: '2', seed: '0,1'}\n")
    (folder / "params.yaml").write_text(yaml.safe_dump(composed(folder / "conf")))
    at(folder, "git", "init", "--quiet")
    said = at(folder, "dvc", "repro")
    at(folder, "git", "add", "--all")
    at(folder, "git", "commit", "--quiet", "--message", "made")
    return folder, said


@pytest.fixture
def repository(made: tuple[Path, str], at: Callable[..., str]) -> Path:
    """The same, as it was committed."""
    folder, _ = made
    if at(folder, "git", "status", "--porcelain"):
        at(folder, "git", "checkout", "--quiet", ".")
        at(folder, "dvc", "checkout", "--quiet")
    return folder


def ran(said: str) -> list[str]:
    return re.findall(r"^Running stage '(\w+)'", said, flags=re.MULTILINE)


def edit(folder: Path, group: str, **values: Any) -> None:
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params[group] |= values
    (folder / "params.yaml").write_text(yaml.safe_dump(params))


def test_from_nothing_everything_runs_and_nothing_twice(made, at):
    folder, said = made
    assert sorted(ran(said)) == sorted(stages())
    again = at(folder, "dvc", "repro")
    assert ran(again) == []
    assert "up to date" in again
    # What is not to be in git is ignored.
    tracked = at(folder, "git", "ls-files").splitlines()
    assert "dvc.lock" in tracked
    assert not [name for name in tracked if name.startswith("outputs/")]


def test_a_clean_clone_gives_the_same_bytes(repository, at, tmp_path):
    at(tmp_path, "git", "clone", "--quiet", str(repository), "clone")
    clone = tmp_path / "clone"
    assert "simulate" in ran(at(clone, "dvc", "repro", "report"))
    # Outputs are in dvc.lock by their digests.
    assert at(clone, "git", "status", "--porcelain") == ""
    assert (clone / METRICS).read_bytes() == (repository / METRICS).read_bytes()


def test_an_edit_reruns_what_depends_on_it(repository, at):
    def changed() -> set[str]:
        return set(json.loads(at(repository, "dvc", "status", "--json")))

    edit(repository, "animation", fps=10.0)
    assert ran(at(repository, "dvc", "repro", "animate")) == ["animate"]
    assert changed() == {"report"}
    edit(repository, "prior", concentration=3.0)
    assert changed() == {"fit", "sweep", "report"}
    edit(repository, "data", seed=1)
    assert changed() == {"simulate", "fit", "sweep", "report"}


def test_an_experiment_is_composed_run_and_compared(repository, at):
    said = at(repository, "dvc", "exp", "run", "--name", "by-sgd", "-S", "optimizer=sgd", "-S", "steps=70", "fit")
    assert ran(said) == ["fit"]
    params = yaml.safe_load((repository / "params.yaml").read_text())
    assert params["optimizer"] == yaml.safe_load((ROOT / "conf/optimizer/sgd.yaml").read_text())
    assert (params["steps"], params["schedule"]["decay_steps"]) == (70, 70)

    metrics = json.loads((repository / METRICS).read_text())
    rows = csv.DictReader(io.StringIO(at(repository, "dvc", "exp", "show", "--csv")))
    (shown,) = [row for row in rows if row["Experiment"] == "by-sgd"]
    assert (shown["optimizer._target_"], shown["steps"]) == ("optax.sgd", "70")
    assert float(shown["bic"]) == metrics["bic"]

    n_steps = json.loads(at(repository, "dvc", "metrics", "diff", "--json"))[METRICS]["n_steps"]
    assert n_steps["new"] == metrics["n_steps"]
    assert n_steps["old"] != n_steps["new"]

    plots = json.loads(at(repository, "dvc", "plots", "diff", "--json"))["data"]
    assert set(plots) >= {"loss", "candidates", "outputs/pipeline/fit/figures/fitted_density.png"}
    (loss,) = plots["loss"]
    points = loss["content"]["data"]["values"]
    assert {point["rev"] for point in points} == {"workspace", "HEAD"}
    assert max(int(point["step"]) for point in points if point["rev"] == "workspace") == metrics["n_steps"]
