"""A fit from Python leaves the record that the command leaves, is loaded from it, and draws its pictures."""

import shlex
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

import gmm_pipeline as gmm
from gmm_pipeline.records.json_files import read_json

RANDOM = np.random.default_rng(8)
DATA = np.concatenate([RANDOM.normal(0.0, 1.0, 60), RANDOM.normal(6.0, 1.0, 60)])
COUNTS = RANDOM.integers(1, 4, len(DATA)).astype(float)
KEYS = {"n_components": 2, "prior": "flat", "optimizer": "em", "steps": 60, "search": "none", "restarts": 3}
DRAWN = {"figures": {"formats": ["png"], "dpi": 40}, "animation": "none"}


@pytest.fixture(scope="module")
def fit(tmp_path_factory: pytest.TempPathFactory) -> gmm.Fit:
    folder = tmp_path_factory.mktemp("fits") / "mine"
    return gmm.fit(DATA, sample_weight=COUNTS, record=folder, **KEYS, **DRAWN)


def test_a_record_is_the_fit_and_is_loaded_as_it(fit: gmm.Fit) -> None:
    assert fit.record is not None
    again, bare = gmm.load(fit.record), gmm.fit(DATA, sample_weight=COUNTS, **KEYS, **DRAWN)
    assert bare.record is None
    for other in (again, bare):
        assert repr(other) == repr(fit)
        assert (other.metrics, other.verdict, other.columns) == (fit.metrics, fit.verdict, fit.columns)
        for name in ("weights", "locs", "scales", "labels", "responsibilities"):
            np.testing.assert_array_equal(getattr(other, name), getattr(fit, name))
        for ours, theirs in zip(other.intervals(0.9), fit.intervals(0.9), strict=True):
            for leaf, same in zip(ours, theirs, strict=True):
                np.testing.assert_array_equal(leaf, same)
    assert (fit.record / "figures" / "fitted_density.png").is_file()
    assert "tracking" not in read_json(fit.record / "record.json")


def test_the_command_of_a_record_gives_the_same_bits(fit: gmm.Fit, tmp_path: Path) -> None:
    assert fit.record is not None
    about = read_json(fit.record / "record.json")
    command = shlex.split(about["command"])
    assert command[:4] == ["python", "-m", "gmm_pipeline", "fit"]
    again = gmm.fit(fit.record / "data.parquet", overrides=command[6:], record=tmp_path / "again")
    assert again.record is not None
    assert read_json(again.record / "record.json")["digests"]["results"] == about["digests"]["results"]


def test_a_folder_in_use_is_refused_and_a_failed_fit_leaves_none(fit: gmm.Fit, tmp_path: Path) -> None:
    with pytest.raises(gmm.InputError, match=r"record: expected a folder that is empty or not there yet"):
        gmm.fit(DATA, record=fit.record, **KEYS)
    with pytest.raises(gmm.InputError, match="data"):
        gmm.fit(np.full(5, np.nan), record=tmp_path / "none", **KEYS)
    assert not (tmp_path / "none").exists()
    (tmp_path / "file").touch()
    with pytest.raises(gmm.InputError, match="record: expected a folder that can be made"):
        gmm.fit(DATA, record=tmp_path / "file" / "folder", **KEYS)


def test_pictures_are_drawn_into_axes_or_on_a_page(fit: gmm.Fit) -> None:
    figure, ax = plt.subplots()
    assert fit.plot.uncertainty(ax=ax) is ax
    assert ax.lines or ax.collections or ax.patches
    page = fit.plot()
    assert page.figure.get_figwidth() == fit.config["figures"]["size"][0]  # pyright: ignore[reportAttributeAccessIssue]
    panels = plt.figure()
    drawn = fit.plot.parameter_traces(figure=panels)
    assert len(panels.axes) == 3 and drawn
    plt.close("all")
    assert {"fitted_density", "loss", "weights"} <= set(dir(fit.plot))
    with pytest.raises(gmm.InputError, match=r"plot: expected .*, but got 'los'\. Did you mean 'loss'\?"):
        fit.plot("los")
    with pytest.raises(gmm.InputError, match=r"plot\.parameter_traces: expected figure=, but got ax="):
        fit.plot.parameter_traces(ax=ax)
    with pytest.raises(AttributeError, match="no picture 'selection'"):
        fit.plot.selection()
    del figure


def test_the_training_is_a_film(fit: gmm.Fit, tmp_path: Path) -> None:
    film = fit.animate(frames=3, dpi=30)
    assert film.gif.startswith(b"GIF89a")
    assert film.save(tmp_path / "film.gif").read_bytes() == film.gif
    assert "data:image/gif;base64," in film._repr_html_()
    with pytest.raises(gmm.InputError, match=r"animate: expected .*, but got speed"):
        fit.animate(speed=2)
    with pytest.raises(gmm.InputError, match=r"animation\.frames: expected a whole number, but got 'x'"):
        fit.animate(frames="x")
    with pytest.raises(gmm.InputError, match="ax: expected Matplotlib axes, or None, but got int 3"):
        fit.plot(ax=3)  # pyright: ignore[reportArgumentType]


def test_a_page_is_written_beside_the_record_and_needs_one(fit: gmm.Fit) -> None:
    assert fit.record is not None
    page = fit.report(simulations=100)
    assert page == fit.record / "report.html"
    assert "<html" in page.read_text(encoding="utf-8")
    bare = gmm.fit(DATA, **KEYS)
    with pytest.raises(gmm.InputError, match="report: expected a fit with a record"):
        bare.report()


def test_a_fit_is_logged_if_asked_and_the_run_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    made = gmm.fit(DATA, tracking={"uri": store}, figures="none", animation="none", **KEYS)
    assert made.record is None
    assert not list(temporary.iterdir())
    import mlflow

    (run,) = mlflow.MlflowClient(store).search_runs(["1"])
    assert run.data.metrics["bic"] == made.metrics["bic"]
    found = gmm.load(run.info.run_id, tracking_uri=store)
    assert found.record is None
    assert repr(found) == repr(made)
    with pytest.warns(UserWarning, match="Nothing is lost: the record at .* is complete"):
        gmm.fit(DATA, tracking={"uri": "http://127.0.0.1:9"}, figures="none", animation="none", **KEYS)
    (kept,) = temporary.iterdir()
    assert gmm.load(kept).metrics == made.metrics


def test_a_fit_in_an_active_run_is_logged_into_it(tmp_path: Path) -> None:
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    try:
        experiment = mlflow.create_experiment("theirs", (tmp_path / "files").as_uri())
        with mlflow.start_run(experiment_id=experiment) as run:
            made = gmm.fit(DATA, tracking="mlflow", figures="none", animation="none", **KEYS)
            assert mlflow.active_run() is not None
            logged = mlflow.get_run(run.info.run_id)
            assert logged.data.metrics["bic"] == made.metrics["bic"]
            assert logged.data.params["n_components"] == "2"
    finally:
        mlflow.set_tracking_uri(None)  # pyright: ignore[reportArgumentType]
