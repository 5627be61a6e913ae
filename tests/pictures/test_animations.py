"""Films are decoded again with the tools of a viewer: PIL for the gif, an ffmpeg process for the mp4."""

import base64
import re
import subprocess
import sys
import warnings

import imageio_ffmpeg
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageSequence

from gmm_pipeline.analysis import curves
from gmm_pipeline.errors import InputError
from gmm_pipeline.model.mixture import Mixture
from gmm_pipeline.pictures import animations
from gmm_pipeline.records.artifacts import History

SMALL = {"name": "x", "unit": "s", "size": [3.5, 2.25], "dpi": 50}


def history_of(n_records: int, n_components: int, every: int = 1) -> History:
    share = np.linspace(0.0, 1.0, n_records)[:, None]
    locs = share * 4.0 * np.arange(n_components)
    flat = np.ones_like(locs)
    losses = 100.0 + 50.0 * np.exp(-np.arange(n_records) / 3.0)
    return History(every * np.arange(n_records), losses, Mixture(flat / n_components, locs, flat))


def film_of(history: History, frames: int, **changes):
    data = np.random.default_rng(0).normal(2.0, 3.0, 300)
    return animations.animate_training(history, data, frames=frames, **{**SMALL, **changes})


def decoded(path) -> tuple[dict, np.ndarray]:
    frames = imageio_ffmpeg.read_frames(str(path))
    meta = next(frames)
    width, height = meta["size"]
    return meta, np.stack([np.frombuffer(frame, np.uint8).reshape(height, width, 3) for frame in frames])


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    told = []
    paths = animations.save_animation(
        film_of(history_of(40, 3), 12),
        tmp_path_factory.mktemp("record") / "animation",
        formats=["gif", "mp4", "html"],
        fps=10,
        hold=0.5,
        progress=lambda done, total: told.append((done, total)),
    )
    return dict(zip(("gif", "mp4", "html"), paths, strict=True)), told


def test_gif_has_every_frame_holds_the_last_and_loops(files):
    with Image.open(files[0]["gif"]) as gif:
        frames, durations = [], []
        for frame in ImageSequence.Iterator(gif):
            frames.append(np.asarray(frame.convert("RGB"), np.int16))
            durations.append(gif.info["duration"])
        assert gif.info["loop"] == 0
    assert len(frames) == 12
    assert durations == [100] * 11 + [600]
    assert np.abs(frames[0] - frames[-1]).max() > 100
    assert tuple(frames[0][-1, -1]) == (255, 255, 255)


def test_film_can_be_decoded_and_shows_what_the_gif_shows(files):
    meta, frames = decoded(files[0]["mp4"])
    assert meta["codec"] == "h264" and meta["pix_fmt"].startswith("yuv420p")
    # 3.5 × 2.25 inches at 50 dots are 175 × 112 pixels; an odd width gains a column.
    assert frames.shape == (12 + 5, 112, 176, 3)
    with Image.open(files[0]["gif"]) as gif:
        for index in (0, 11):
            gif.seek(index)
            still = np.asarray(gif.convert("L"), np.float64)
            shown = np.asarray(Image.fromarray(frames[index]).convert("L"), np.float64)[:, :175]
            assert np.corrcoef(still.ravel(), shown.ravel())[0, 1] > 0.97
    assert np.abs(frames[-1].astype(int) - frames[11].astype(int)).mean() < 1.0
    # For playing while it loads, the index comes before the pictures.
    content = files[0]["mp4"].read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


def test_page_needs_no_other_file(files):
    page = files[0]["html"].read_text(encoding="utf-8")
    (film,) = re.findall(r'src="data:video/mp4;base64,([^"]+)"', page)
    assert base64.b64decode(film) == files[0]["mp4"].read_bytes()
    assert 'name="viewport"' in page
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    (attributes,) = re.findall(r"<video ([^>]*)>", page)
    assert {"controls", "autoplay", "loop", "muted"} <= set(attributes.split())


def test_progress_is_told_after_each_frame(files):
    assert files[1] == [(done, 12) for done in range(1, 13)]


@pytest.mark.parametrize("n_components", [1, 12])
@pytest.mark.parametrize("n_records", [1, 2, 9])
def test_films_without_a_warning_whatever_the_size(n_components, n_records, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        film = film_of(history_of(n_records, n_components), 5)
        (path,) = animations.save_animation(film, tmp_path, formats=["gif"], fps=10, hold=1.0)
    assert path == tmp_path / "training.gif"
    with Image.open(path) as gif:
        assert len(list(ImageSequence.Iterator(gif))) == min(n_records, 5)
    figure = film._fig  # pyright: ignore[reportAttributeAccessIssue]
    last = figure.legends[0].get_texts()[-1].get_text()
    assert last == ("mixture" if n_components == 1 else "component 11")


@pytest.mark.parametrize("lost_from", [0, 4])
def test_a_diverged_history_is_filmed_to_its_end(lost_from, tmp_path):
    history = history_of(9, 2)
    lost = np.arange(9) >= lost_from
    history = History(
        history.steps,
        np.where(lost, np.nan, history.losses),
        Mixture(*(np.where(lost[:, None], np.nan, values) for values in history.mixtures)),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (path,) = animations.save_animation(film_of(history, 9), tmp_path, formats=["gif"], fps=10, hold=0.0)
    with Image.open(path) as gif:
        assert len(list(ImageSequence.Iterator(gif))) == 9


def test_far_and_weighted_data_are_filmed(tmp_path):
    history = history_of(4, 2)
    history = history._replace(mixtures=history.mixtures._replace(locs=history.mixtures.locs + 1e6))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        film = animations.animate_training(history, 1e6 + np.array([0.0, 4.0]), np.array([1, 3]), frames=3, **SMALL)
        animations.save_animation(film, tmp_path, formats=["gif"], fps=10, hold=0.0)


def test_no_format_writes_nothing(tmp_path):
    film = film_of(history_of(3, 2), 3)
    assert animations.save_animation(film, tmp_path / "a", formats=[], fps=10, hold=1.0) == []
    assert not (tmp_path / "a").exists()
    assert animations.save_animation(film, tmp_path / "a", formats=["html"], fps=10, hold=1.0)[0].exists()


def test_a_missing_ffmpeg_is_explained(tmp_path, monkeypatch):
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "")
    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", lambda: (_ for _ in ()).throw(RuntimeError("none here")))
    with pytest.raises(InputError, match=r'pip install "gmm_pipeline\[video\]"'):
        animations.save_animation(film_of(history_of(3, 2), 3), tmp_path, formats=["mp4"], fps=10, hold=1.0)


def test_a_failing_ffmpeg_is_quoted(tmp_path, monkeypatch):
    monkeypatch.setattr(animations, "ENCODER", ("-c:v", "no_such_encoder"))
    with pytest.raises(RuntimeError, match="no_such_encoder"):
        animations.save_animation(film_of(history_of(3, 2), 3), tmp_path, formats=["mp4"], fps=10, hold=1.0)
    assert not list(tmp_path.iterdir())


SAVE = """
import sys
from pathlib import Path
import numpy as np
from gmm_pipeline.model.mixture import Mixture
from gmm_pipeline.pictures import animations
from gmm_pipeline.records.artifacts import History
locs = np.linspace(0.0, 4.0, 10)[:, None] * np.arange(2)
history = History(np.arange(10), np.geomspace(9.0, 1.0, 10), Mixture(0.5 + 0 * locs, locs, 1.0 + 0 * locs))
film = animations.animate_training(
    history, np.arange(9.0), name="x", unit="s", frames=6, size=(4.0, 3.0), dpi=50
)
animations.save_animation(film, Path(sys.argv[1]), formats=["gif", "mp4", "html"], fps=10, hold=0.5)
"""


def test_files_are_the_same_bytes_in_two_processes(tmp_path):
    runs = [subprocess.Popen([sys.executable, "-c", SAVE, str(tmp_path / name)]) for name in ("first", "second")]
    assert [run.wait(timeout=120) for run in runs] == [0, 0]
    for suffix in ("gif", "mp4", "html"):
        first, second = ((tmp_path / name / f"training.{suffix}").read_bytes() for name in ("first", "second"))
        assert first == second
        assert len(first) > 1000


@given(
    n_records=st.integers(1, 300),
    n_chosen=st.integers(2, 80),
    scale=st.floats(1e-6, 1e6),
    seed=st.integers(0, 999),
    lost=st.booleans(),
)
@settings(max_examples=20, deadline=None)
def test_chosen_records_rise_from_the_first_to_the_last(n_records, n_chosen, scale, seed, lost):
    generator = np.random.default_rng(seed)
    locs = np.cumsum(generator.standard_cauchy((n_records, 3)), axis=0)
    if lost:
        locs[generator.integers(n_records) :] = np.nan
    flat = np.ones_like(locs)
    history = History(np.arange(n_records), np.zeros(n_records), Mixture(flat / 3.0, locs, flat))
    chosen = curves.choose_records(history, n_chosen)
    assert len(chosen) == min(n_records, n_chosen)
    assert chosen[-1] == n_records - 1
    assert n_records == 1 or chosen[0] == 0
    assert np.all(np.diff(chosen) > 0)
    scaled = history._replace(mixtures=Mixture(flat / 3.0, scale * locs, scale * flat))
    moved = curves.choose_records(scaled, n_chosen)
    # A change of units may move a choice by a record where rounding decides.
    assert np.abs(moved - chosen).max() <= 1


def test_chosen_records_are_dense_where_the_fit_moves():
    n_records, jump = 1000, 700
    locs = np.where(np.arange(n_records) < jump, 0.0, np.minimum(np.arange(n_records) - jump, 20.0))[:, None]
    flat = np.ones_like(locs)
    history = History(np.arange(n_records), np.zeros(n_records), Mixture(flat, locs, flat))
    chosen = curves.choose_records(history, 60)
    assert np.sum(chosen < 30) >= 15
    assert np.sum((chosen >= jump) & (chosen <= jump + 20)) >= 15
