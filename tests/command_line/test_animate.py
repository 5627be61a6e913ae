"""The command `animate`, on a record that a fit left without an animation."""

import io
import json
from pathlib import Path

import pytest
from conftest import Quick
from PIL import Image


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fitted")


@pytest.fixture
def record(quick: Quick, folder: Path) -> Path:
    """One fit for all tests, in a folder of its own."""
    if not any(folder.iterdir()):
        quiet = ("tracking=none", "figures=none", "animation=none")
        assert (
            quick(
                "fit", *quiet, "search=none", "data.n_draws=120", "steps=60", "history_every=1", cwd=folder
            ).returncode
            == 0
        )
    (found,) = (folder / "outputs" / "fit").iterdir()
    return found


def frames(content: bytes) -> tuple[int, tuple[int, int]]:
    with Image.open(io.BytesIO(content)) as film:
        return getattr(film, "n_frames", 1), film.size


def test_latest_record_is_rendered_and_rendered_again(quick: Quick, folder, record):
    before = {path.name: path.read_bytes() for path in record.iterdir() if path.is_file()}
    assert not (record / "animation").exists()
    chosen = ("animation.formats=[gif]", "animation.size=[4,3]", "animation.dpi=50")
    finished = quick("animate", *chosen, "animation.frames=5", cwd=folder)
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr == ""
    assert "\x1b" not in finished.stdout
    written = record / "animation" / "training.gif"
    assert finished.stdout.splitlines() == [f"animation: {written.relative_to(folder)}"]
    assert frames(written.read_bytes()) == (5, (200, 150))
    again = quick("animate", f"run={record.relative_to(folder)}", *chosen, "animation.frames=9", cwd=folder)
    assert again.returncode == 0, again.stderr
    assert frames(written.read_bytes()) == (9, (200, 150))
    assert {path.name: path.read_bytes() for path in record.iterdir() if path.is_file()} == before
    assert sorted(path.name for path in folder.iterdir()) == ["outputs"]


def test_a_record_elsewhere_is_named_by_its_path(quick: Quick, tmp_path, record):
    arguments = ("animation.formats=[mp4]", "animation.frames=3", "animation.dpi=40")
    finished = quick("animate", f"run={record}", *arguments)
    assert finished.returncode == 0, finished.stderr
    film = record / "animation" / "training.mp4"
    assert finished.stdout.splitlines() == [f"animation: {film}"]
    assert film.read_bytes()[4:8] == b"ftyp"
    assert not any(tmp_path.iterdir())
    elsewhere = quick("animate", f"run={record}", "output=films/mine", *arguments)
    assert elsewhere.stdout == "animation: films/mine/training.mp4\n"
    assert (tmp_path / "films/mine/training.mp4").read_bytes() == film.read_bytes()


def test_missing_record_names_the_nearest(quick: Quick, folder, record):
    assert json.loads((record / "record.json").read_text())["status"] == "finished"
    near = f"outputs/fit/{record.name[:-1]}"
    finished = quick("animate", f"run={near}", cwd=folder)
    assert finished.returncode == 2
    assert finished.stderr.startswith("error: run: ")
    assert f"but got {near}. Did you mean outputs/fit/{record.name}?" in finished.stderr
    assert "Traceback" not in finished.stderr
