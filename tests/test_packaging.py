"""What `pip install .` gives: the package with its configs, working in a folder far from the checkout."""

import importlib.metadata
import json
import os
import subprocess
import sys

import pytest
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


def test_the_console_script_is_the_same_program():
    (script,) = importlib.metadata.entry_points(group="console_scripts", name="gmm-pipeline")
    assert script.value == "gmm_pipeline.__main__:main"


def test_the_lock_has_hashes_and_names_no_index():
    lock = (ROOT / "requirements.lock").read_text()
    requirements = [line for line in lock.splitlines() if line and not line.startswith((" ", "#"))]
    assert all("==" in line for line in requirements)
    assert lock.count("--hash=sha256:") >= len(requirements)
    assert "://" not in lock
