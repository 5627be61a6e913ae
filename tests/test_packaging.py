"""What `pip install .` gives: the package with its configs, working in a folder far from the checkout."""

import email
import importlib.metadata
import json
import os
import subprocess
import sys
import tarfile
import tomllib

import pytest
import yaml
from conftest import ROOT


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the wheel's content, on no path that leads to the checkout."""
    dist, site = tmp_path_factory.mktemp("dist"), tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(dist)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = dist.glob("*.whl")
    unpacked = subprocess.run(
        [sys.executable, "-m", "zipfile", "-e", str(wheel), str(site)], capture_output=True, text=True, check=False
    )
    assert unpacked.returncode == 0, unpacked.stderr
    return site


def test_the_wheel_fits_with_its_own_configs(installed, tmp_path, compilation_cache):
    finished = subprocess.run(
        [sys.executable, "-m", "gmm_pipeline", "fit", "steps=50", "tracking=none", "figures=none", "animation=none"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed), "JAX_COMPILATION_CACHE_DIR": str(compilation_cache)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    (record,) = (tmp_path / "outputs" / "fit").iterdir()
    written = json.loads((record / "record.json").read_text())
    assert written["provenance"]["git"]["commit"] is None  # it ran from the wheel, not from the checkout
    assert (installed / "gmm_pipeline" / "conf" / "fit.yaml").is_file()


def test_the_wheel_holds_every_config_and_no_tests(installed):
    shipped = {str(path.relative_to(installed / "gmm_pipeline" / "conf")) for path in installed.rglob("conf/**/*.yaml")}
    assert shipped == {str(path.relative_to(ROOT / "conf")) for path in (ROOT / "conf").rglob("*.yaml")}
    assert not list(installed.rglob("test_*.py"))


PROGRAM = """
import sys, types
from gmm_pipeline.configuration import command_help, config
from gmm_pipeline.execution.plugins import register_plugins

class BatchLauncher:
    def __init__(self, plan_only=None): self.plan_only = plan_only
    def setup(self, *, hydra_context, task_function, config): self.name = config.hydra.job.name
    def launch(self, job_overrides, initial_job_idx):
        print(self.name, self.plan_only, initial_job_idx, [list(overrides) for overrides in job_overrides])
        return []

sys.modules["gmm_pipeline.execution.launcher"] = types.ModuleType("launcher")
sys.modules["gmm_pipeline.execution.launcher"].BatchLauncher = BatchLauncher
import hydra
config.register()
command_help.register()
register_plugins()
register_plugins()
hydra.main(version_base="1.3", config_path=str(config.config_directory()), config_name="fit")(lambda cfg: None)()
"""


def with_launcher(*arguments, path, cwd):
    """Output of a program that only composes, with a stand-in for what the launcher hands everything to."""
    finished = subprocess.run(
        [sys.executable, "-c", PROGRAM, "hydra/launcher=batch", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


@pytest.fixture(params=["wheel", "checkout", "checkout beside a package that owns the namespace"])
def program_path(request, tmp_path, installed):
    """Where the program is imported from."""
    if request.param == "wheel":
        return [installed]
    if request.param == "checkout":
        return [ROOT]
    (tmp_path / "other" / "hydra_plugins").mkdir(parents=True)
    (tmp_path / "other" / "hydra_plugins" / "__init__.py").touch()
    return [tmp_path / "other", ROOT]


def test_hydra_finds_the_launcher_and_its_settings(program_path, tmp_path):
    shown = with_launcher("--cfg", "hydra", "-p", "hydra.launcher", path=program_path, cwd=tmp_path)
    assert "_target_: hydra_plugins.gmm_batch_launcher.GmmBatchLauncher\n" in shown
    swept = with_launcher("seed=1,2", "+hydra.launcher.plan_only=true", "--multirun", path=program_path, cwd=tmp_path)
    assert swept == "fit True 0 [['seed=1'], ['seed=2']]\n"


def test_the_wheel_leaves_the_plug_ins_namespace_open(installed):
    assert [path.name for path in (installed / "hydra_plugins").iterdir()] == ["gmm_batch_launcher.py"]


def test_the_launchers_module_imports_nothing_of_the_package(tmp_path):
    script = "import sys, hydra_plugins.gmm_batch_launcher; assert 'gmm_pipeline' not in sys.modules"
    finished = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr


def test_the_source_distribution_holds_what_a_wheel_is_built_from(tmp_path):
    built = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        names = {name.partition("/")[2] for name in packed.getnames()}
    sources = [path for folder in ("conf", "gmm_pipeline", "hydra_plugins") for path in (ROOT / folder).rglob("*.*")]
    assert {str(path.relative_to(ROOT)) for path in sources if path.suffix in (".py", ".yaml")} <= names


def test_the_wheel_carries_the_license_and_says_where_to_read_on(installed):
    (metadata,) = installed.glob("gmm_pipeline-*.dist-info/METADATA")
    said = email.message_from_string(metadata.read_text())
    assert said["License-Expression"] == "Apache-2.0"
    assert (metadata.parent / "licenses" / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()
    places = dict(url.split(", ") for url in said.get_all("Project-URL") or [])
    assert set(places) == {"Documentation", "Changelog"}
    assert all((ROOT / place).is_file() for place in places.values())


def test_a_citation_names_this_version_and_license():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])


def test_the_console_script_is_the_same_program():
    (script,) = importlib.metadata.entry_points(group="console_scripts", name="gmm-pipeline")
    assert script.value == "gmm_pipeline.__main__:main"


def test_the_lock_has_hashes_and_names_no_index():
    lock = (ROOT / "requirements.lock").read_text()
    requirements = [line for line in lock.splitlines() if line and not line.startswith((" ", "#"))]
    assert all("==" in line for line in requirements)
    assert lock.count("--hash=sha256:") >= len(requirements)
    assert "://" not in lock
