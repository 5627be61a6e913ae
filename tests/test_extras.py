"""An installation without the extras: what still works, and the message for each missing piece.

A library is hidden from the search for modules, as if it had never been installed.
"""

import importlib
import importlib.util
import os
import shutil
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT
from omegaconf import OmegaConf

from gmm_pipeline import extras, program
from gmm_pipeline.configuration import animation_formats
from gmm_pipeline.configuration.config import config_directory
from gmm_pipeline.errors import InputError
from gmm_pipeline.stages import report

Hide = Callable[[str], None]
DEFAULT = OmegaConf.load(config_directory() / "animation" / "default.yaml").formats


@pytest.fixture
def hide(monkeypatch: pytest.MonkeyPatch) -> Hide:
    """Hides a module from imports and from the search for it."""
    search = importlib.util.find_spec
    hidden: list[str] = []
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in hidden else search(name))

    def one(module: str) -> None:
        hidden.append(module)
        monkeypatch.setitem(sys.modules, module, None)

    return one


@pytest.fixture
def without_ffmpeg(hide: Hide, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hide("imageio_ffmpeg")
    monkeypatch.delenv(extras.FFMPEG, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))


def test_each_extra_is_named_by_its_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {"video", "report", "optuna", "sklearn", "arviz"} <= set(project["optional-dependencies"])
    for package, extra in (
        ("imageio-ffmpeg", "video"),
        ("plotly", "report"),
        ("jinja2", "report"),
        ("hydra-optuna-sweeper", "optuna"),
        ("scikit-learn", "sklearn"),
        ("arviz", "arviz"),
    ):
        assert program.extra_with(package) == extra
        assert not [one for one in project["dependencies"] if one.startswith(package)]


@pytest.mark.parametrize("module", ["plotly", "jinja2"])
def test_a_report_without_its_extra_is_refused_at_once(hide, module):
    hide(module)
    with pytest.raises(InputError, match=rf'^report: .*{module}.*Install it: pip install "gmm_pipeline\[report\]"\.$'):
        report.run(OmegaConf.create({}), started=0.0)  # before any key is read


def test_the_estimator_without_its_extra_is_one_import_error(hide, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("gmm_pipeline.sklearn")]:
        monkeypatch.delitem(sys.modules, name)
    hide("sklearn")
    with pytest.raises(ImportError, match=r'needs scikit-learn\. Install it: pip install "gmm_pipeline\[sklearn\]"\.$'):
        importlib.import_module("gmm_pipeline.sklearn")


@pytest.mark.usefixtures("without_ffmpeg")
def test_without_ffmpeg_the_default_is_a_gif_and_a_chosen_video_is_refused():
    assert animation_formats.possible(DEFAULT) == ["gif"]
    assert animation_formats.possible(["gif"]) == ["gif"]
    assert animation_formats.possible([]) == []
    for chosen in (["mp4"], ["html"], ["gif", "mp4"]):
        with pytest.raises(InputError, match=r'^animation\.formats: .*pip install "gmm_pipeline\[video\]"'):
            animation_formats.possible(chosen)
    with pytest.raises(InputError, match="or set animation"):
        extras.ffmpeg()


@pytest.mark.usefixtures("without_ffmpeg")
def test_an_ffmpeg_on_the_search_path_is_used_and_a_named_one_first(monkeypatch, tmp_path):
    program_there = tmp_path / ("ffmpeg.exe" if os.name == "nt" else "ffmpeg")
    program_there.write_text("")
    program_there.chmod(0o755)
    assert extras.ffmpeg() == shutil.which("ffmpeg") == str(program_there)
    assert animation_formats.possible(DEFAULT) == list(DEFAULT)
    monkeypatch.setenv(extras.FFMPEG, "/elsewhere/ffmpeg")
    assert extras.ffmpeg() == "/elsewhere/ffmpeg"
