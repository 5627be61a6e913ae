"""Pictures of sweeps are checked by what stands on their axes, against the made-up runs they were drawn from."""

import subprocess
import sys
import warnings

import numpy as np
import pytest
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from papers import PAPER
from PIL import Image

from gmm_pipeline.analysis import sweep_answers
from gmm_pipeline.model.mixture import Mixture
from gmm_pipeline.pictures import sweep_curves, sweep_figures
from gmm_pipeline.records import artifacts
from gmm_pipeline.records.artifacts import History
from gmm_pipeline.records.sweeps import Manifest, ManifestRun, SweepRun
from gmm_pipeline.report import rendering

TRUTH = Mixture(np.array([0.25, 0.75]), np.array([-2.0, 5.0]), np.array([1.1, 2.0]))


def sweep_run(number, overrides, loss, k=2, *, data="ab", status="finished", truth=TRUTH, unit=None) -> SweepRun:
    random = np.random.default_rng(number)
    lost = status == "failed"
    known = {"loss": loss, "log_likelihood": loss and -loss, "bic": loss and 2.0 * loss + 20.0 * k, "n_components": k}
    parameters = random.dirichlet(np.ones(k)), np.sort(random.normal(size=k)), random.uniform(0.1, 3.0, k)
    return SweepRun(
        number=number,
        overrides=tuple(overrides.split()),
        status=status,
        error=None,
        metrics={} if lost else known,
        fitted=None if lost else Mixture(*(np.full(k, np.nan) if loss is None else v for v in parameters)),
        truth=None if lost else truth,
        data_name=None if lost else "x",
        data_digest=None if lost else data,
        unit=unit,
        digest=None,
        record=str(number),
    )


def seeds_and_components(n_seeds=10, ks=(1, 2, 3), spread=40.0) -> list[SweepRun]:
    runs = []
    for k in ks:
        for seed in range(n_seeds):
            loss = 1000.0 / k + (spread * k if seed % 4 == 3 else 1e-5 * seed)
            runs.append(sweep_run(len(runs), f"n_components={k} seed={seed}", loss, k))
    runs.append(sweep_run(len(runs), "n_components=2 seed=98", None, status="diverged"))
    runs.append(sweep_run(len(runs), "n_components=9 seed=99", None, status="failed"))
    return runs


def dots(figure: Figure, panel: int = 0) -> np.ndarray:
    """The dots of a panel, without the star and the rings of the truth."""
    found = [c for c in figure.axes[panel].collections if isinstance(c, PathCollection) and c.get_rasterized()]
    return np.concatenate([np.ma.getdata(collection.get_offsets()) for collection in found])


def heights(line: Line2D) -> np.ndarray:
    return np.asarray(line.get_ydata())


def texts(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(Text) if isinstance(text, Text))


def labels(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_each_run_is_a_dot_above_the_lowest_criterion():
    runs = seeds_and_components()
    figure = PAPER.on_axes(sweep_figures.draw_information_criterion, runs, "bic")
    found = dots(figure)
    bic = {run.number: run.metrics["bic"] or 0.0 for run in runs[:-2]}
    expected = sorted(value - min(bic.values()) for value in bic.values())
    np.testing.assert_allclose(sorted(found[:, 1]), expected, atol=1e-9)
    assert np.all(np.abs(found[:, 0] - np.round(found[:, 0])) < 0.3)
    (line,) = [line for line in figure.axes[0].lines if len(heights(line)) == 3]
    lowest = [
        min(value for run, value in zip(runs, bic.values(), strict=False) if run.metrics["n_components"] == k)
        for k in (1, 2, 3)
    ]
    np.testing.assert_allclose(heights(line), np.array(lowest) - min(lowest), atol=1e-9)
    assert "lowest BIC 726.7: 3 components, run 20" in figure.get_suptitle()
    assert "2 of 32 runs without a sound result" in texts(figure)
    assert figure.axes[0].get_ylabel() == "BIC − lowest"
    low, high = figure.axes[0].get_ylim()
    assert low < 0.0 and high > found[:, 1].max()


def test_criteria_of_different_data_have_zeros_of_their_own():
    runs = [
        sweep_run(n, f"data={d}", 100.0 * n + 10.0 * k, k, data=d)
        for n, (d, k) in enumerate([("a", 1), ("a", 2), ("b", 1), ("b", 2)])
    ]
    figure = PAPER.on_axes(sweep_figures.draw_information_criterion, runs, "bic")
    assert sorted(dots(figure)[:, 1]) == [0.0, 0.0, 240.0, 240.0]
    assert "2 data sets" in texts(figure)
    assert figure.axes[0].get_ylabel() == "BIC − lowest of the same data"


def test_final_losses_stand_sorted_over_their_share_with_hits_counted():
    runs = seeds_and_components()
    settings = [s for s in sweep_answers.settings_of(runs, "bic") if np.isfinite(s.excess).any()]
    figure = PAPER.on_figure(sweep_figures.draw_final_loss, settings)
    titles = [axes.get_title() for axes in figure.axes]
    # Seeds 3 and 7 of ten end elsewhere, and a run of two components diverged.
    assert titles == [
        "n_components=1\n8 of 10 reached the best",
        "n_components=2\n8 of 11 reached the best",
        "n_components=3\n8 of 10 reached the best",
    ]
    shares, excess = dots(figure, 1).T
    np.testing.assert_allclose(shares, (np.arange(10) + 0.5) / 11)
    np.testing.assert_allclose(excess, [1e-2] * 8 + [80.0, 80.0])
    assert "without a result" in labels(figure)


def test_no_more_panels_than_can_be_read_and_the_rest_is_owned_up_to():
    runs = [sweep_run(n, f"n_components={n // 2} seed={n % 2}", float(n), n // 2) for n in range(2, 30)]
    figure = PAPER.on_figure(sweep_figures.draw_final_loss, sweep_answers.settings_of(runs, "bic"))
    assert len([axes for axes in figure.axes if axes.get_visible()]) == 8
    assert "the best 8 of 14 settings" in texts(figure)


def test_fitted_parameters_are_those_of_the_runs_and_the_truth():
    runs = seeds_and_components(ks=(1, 2), spread=0.0)
    figure = PAPER.on_figure(sweep_figures.draw_fitted_parameters, runs)
    for panel, k in enumerate((1, 2)):
        mine = [
            run.fitted
            for run in runs
            if run.fitted is not None and run.metrics["n_components"] == k and run.status == "finished"
        ]
        expected = np.concatenate([np.column_stack([fitted.locs, fitted.scales]) for fitted in mine])
        np.testing.assert_allclose(np.sort(dots(figure, panel), axis=0), np.sort(expected, axis=0))
        rings = [c for c in figure.axes[panel].collections if isinstance(c, PathCollection) and not c.get_rasterized()]
        for ring in rings:
            np.testing.assert_array_equal(
                np.ma.getdata(ring.get_offsets()), np.column_stack([TRUTH.locs, TRUTH.scales])
            )
        assert len(rings) == 2
    assert labels(figure) == ["component 0", "component 1", "true"]


def test_a_truth_that_differs_is_left_out_and_said():
    other = TRUTH._replace(locs=TRUTH.locs + 1.0)
    runs = [sweep_run(n, f"seed={n}", 1.0, truth=(TRUTH, other)[n % 2], unit="minutes") for n in range(4)]
    figure = PAPER.on_figure(sweep_figures.draw_fitted_parameters, runs)
    assert "the true mixture differs between runs" in texts(figure) and "true" not in labels(figure)
    assert (figure.axes[0].get_xlabel(), figure.get_supylabel()) == ("loc / minutes", "scale / minutes")
    unknown = [run._replace(truth=None) for run in runs]
    assert "true" not in texts(PAPER.on_figure(sweep_figures.draw_fitted_parameters, unknown))


def history(losses) -> History:
    steps = 10 * np.arange(len(losses))
    return History(steps, np.array(losses, np.float64), Mixture(*(np.ones((len(losses), 1)),) * 3))


def test_loss_curves_are_medians_in_the_order_of_numbers():
    histories = [
        history(losses) for losses in ([9, 5, 2], [8, 4, 1], [7, 6, 3], [9, 9, 9], [9, 8, 7], [9, np.nan, np.nan])
    ]
    figure = PAPER.on_axes(
        sweep_curves.draw_loss_curves, histories, "rate", ["10"] * 3 + ["9"] * 3, np.ones(6), n_runs=7
    )
    assert labels(figure) == ["9\n1 of 3 diverged", "10"]
    first, second = figure.axes[0].lines
    np.testing.assert_allclose(heights(first), [8.0, 8.0, 8.0])
    np.testing.assert_allclose(heights(second), [7.0, 4.0, 1.0])
    assert "6 of 7 runs" in texts(figure)
    assert figure.axes[0].get_ylabel() == "loss − best / nats"


@pytest.mark.parametrize("values", [[str(0.001 * 1.5**n) for n in range(30)], ["adam", "sgd", "lion"]])
def test_many_numbers_have_a_colour_bar_and_names_a_legend(values):
    histories = [history([9.0 + n, 2.0, 1.0]) for n in range(len(values))]
    figure = PAPER.on_axes(
        sweep_curves.draw_loss_curves, histories, "key", values, np.ones(len(values)), n_runs=len(values)
    )
    assert len({str(line.get_color()) for line in figure.axes[0].lines}) == len(values)
    assert (len(figure.axes) == 2) == (len(values) > 12)
    if len(values) <= 12:
        assert labels(figure) == values


def sweep_on_disk(folder, runs) -> Manifest:
    for run in runs:
        if run.fitted is not None:
            loss = run.metrics["loss"]
            losses = np.array([loss + 50.0, loss + 3.0, loss]) if loss is not None else np.full(3, np.nan)
            artifacts.write_history(folder / run.record / "history.npz", history(losses))
    asked = [ManifestRun(run.number, run.overrides, None) for run in runs]
    return Manifest("0" * 32, "study", "fit", "2026-01-01T00:00:00+00:00", "bic", asked)


def rates(n_seeds: int) -> list[SweepRun]:
    return [sweep_run(n, f"optimizer.rate={0.1 * (1 + n % 3)} seed={n // 3}", 5.0 + n % 3) for n in range(3 * n_seeds)]


ALL = {"information_criterion", "final_loss", "fitted_parameters"}
SWEEPS = {
    "seeds and components": (seeds_and_components(), ALL),
    "huge differences": (seeds_and_components(spread=1e6), ALL),
    "no difference": (seeds_and_components(spread=0.0), ALL),
    "one K": (seeds_and_components(ks=(2,)), {"final_loss", "fitted_parameters"}),
    "one seed": (seeds_and_components(1)[:3], {"information_criterion", "fitted_parameters"}),
    "rates": (rates(3), {"final_loss", "fitted_parameters", "loss_curves"}),
    "rates of one seed": (rates(1), {"fitted_parameters", "loss_curves"}),
    "many components": (seeds_and_components(2, range(1, 14)), ALL),
    "one run": (seeds_and_components(1, (2,))[:1], set()),
    "all failed": ([sweep_run(n, f"seed={n}", None, status="failed") for n in range(4)], set()),
    "all diverged": ([sweep_run(n, f"optimizer=sgd{n}", None, status="diverged") for n in range(4)], set()),
    "no run": ([], set()),
}


@pytest.mark.parametrize("name", SWEEPS)
def test_what_makes_sense_is_drawn_without_a_warning(tmp_path, name):
    runs, expected = SWEEPS[name]
    manifest = sweep_on_disk(tmp_path, runs)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        known = {"objective": "bic", "formats": ["png", "svg"], "paper": PAPER, "dpi": 50}
        paths = sweep_figures.draw_sweep(tmp_path, manifest, runs, **known)
    assert {path.stem for path in paths} == expected and len(paths) == 2 * len(expected)
    assert expected <= set(rendering.PICTURES)  # where a page says what each of them shows
    assert {path.parent for path in paths} <= {tmp_path / "figures"}
    for path in paths:
        if path.suffix == ".png":
            assert np.ptp(np.asarray(Image.open(path).convert("L"))) > 100


def test_legends_stay_off_the_axes():
    runs = seeds_and_components(ks=range(1, 8))
    for figure in (
        PAPER.on_axes(sweep_figures.draw_information_criterion, runs, "bic"),
        PAPER.on_figure(sweep_figures.draw_fitted_parameters, runs),
        PAPER.on_figure(sweep_figures.draw_final_loss, sweep_answers.settings_of(runs, "bic")[:7]),
    ):
        figure.canvas.draw()
        legend = figure.legends[0].get_window_extent()
        for axes in figure.axes:
            assert not (axes.get_visible() and legend.overlaps(axes.get_window_extent()))
        assert legend.x0 >= 0.0 and legend.y0 >= 0.0 and legend.x1 <= figure.bbox.x1


SAVE = """
import sys
from pathlib import Path
import numpy as np
from gmm_pipeline.model.mixture import Mixture
from gmm_pipeline.pictures import sweep_figures
from gmm_pipeline.pictures.pages import Paper
from gmm_pipeline.records.sweeps import Manifest, SweepRun
runs = []
for number in range(6):
    k = 1 + number % 2
    fitted = Mixture(np.ones(k) / k, np.arange(k) + 0.1 * number, np.ones(k))
    metrics = {"loss": float(number), "bic": 9.0 - number, "n_components": k}
    overrides = (f"n_components={k}", f"seed={number}")
    runs.append(SweepRun(number, overrides, "finished", None, metrics, fitted, fitted, "x", "a", None, None, "0"))
manifest = Manifest("0", "study", "fit", "", "bic", [])
folder = Path(sys.argv[1])
known = {"objective": "bic", "formats": ["png", "svg"], "paper": Paper((6.4, 3.6), 9.0, "default"), "dpi": 50}
assert len(sweep_figures.draw_sweep(folder, manifest, runs, **known)) == 6
"""


def test_files_are_the_same_bytes_in_two_processes(tmp_path):
    processes = [subprocess.Popen([sys.executable, "-c", SAVE, str(tmp_path / name)]) for name in ("first", "second")]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    for path in (tmp_path / "first" / "figures").iterdir():
        assert path.read_bytes() == (tmp_path / "second" / "figures" / path.name).read_bytes()
        assert path.stat().st_size > 1000
