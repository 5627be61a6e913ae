"""Pictures are checked by the numbers on their lines, against quadrature and plain NumPy, never by other pictures."""

import subprocess
import sys
import warnings

import numpy as np
import pytest
from conftest import REAL
from hypothesis import example, given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from papers import PAPER
from PIL import Image

from gmm_pipeline.analysis import curves
from gmm_pipeline.model.mixture import Mixture
from gmm_pipeline.pictures import drawing, estimate_figures, figures, pages, ticks
from gmm_pipeline.pictures.drawing import Column
from gmm_pipeline.records.artifacts import History


def mixture(weights, locs, scales) -> Mixture:
    weights = np.asarray(weights, np.float64)
    return Mixture(weights / weights.sum(), np.asarray(locs, np.float64), np.asarray(scales, np.float64))


def draws(truth: Mixture, n: int) -> np.ndarray:
    generator = np.random.default_rng(0)
    labels = generator.choice(len(truth.weights), p=truth.weights, size=n)
    return generator.normal(truth.locs[labels], truth.scales[labels])


def history_towards(end: Mixture, n_records: int = 30, every: int = 7) -> History:
    """A made-up history that moves from one spot to the end, its loss falling to its least at the last record."""
    share = np.linspace(0.0, 1.0, n_records)[:, None]
    locs = share * end.locs + (1.0 - share) * end.locs.mean()
    scales = np.broadcast_to(end.scales, locs.shape) * (2.0 - share)
    steps = every * np.arange(n_records)
    losses = 1000.0 + 500.0 * np.exp(-0.5 * np.arange(n_records))
    return History(steps, losses, Mixture(np.broadcast_to(end.weights, locs.shape).copy(), locs, scales))


def line(figure: Figure, label: str, row: int = 0) -> Line2D:
    return next(line for line in figure.axes[row].lines if line.get_label() == label)


def points(line: Line2D) -> tuple[np.ndarray, np.ndarray]:
    return np.asarray(line.get_xdata()), np.asarray(line.get_ydata())


def mass(line: Line2D) -> float:
    x, y = points(line)
    return float(np.trapezoid(y, x))


TWO = mixture([1, 5], [-2, 5], [1.1, 2])
SHAPES = {
    "one component": (TWO, mixture([1], [3], [3]), 500),
    "two data": (mixture([1], [0], [1]), mixture([1], [0.5], [1]), 2),
    "twelve components": (mixture(np.ones(12), 4.0 * np.arange(12), np.ones(12)),) * 2 + (3000,),
    "far from zero": (mixture([1, 1], [1e6, 1e6 + 9], [1, 2]),) * 2 + (400,),
    "tiny": (mixture([1, 1], [0, 9e-6], [1e-6, 2e-6]),) * 2 + (400,),
    "no weight": (TWO, mixture([1, 5, 0], [-2, 5, 7], [1.1, 2, 0]), 400),
    "a spike": (TWO, mixture([1, 5, 1], [-2, 5, 7], [1.1, 2, 1e-7]), 400),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_all_pictures_draw_without_a_warning(shape, tmp_path):
    truth, fitted, n = SHAPES[shape]
    data, history = draws(truth, n), history_towards(fitted)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = {
            "data": PAPER.on_axes(figures.draw_density, Column(data, None, "x", "mm"), None, truth),
            "density": PAPER.on_axes(figures.draw_density, Column(data, None, "x", "mm"), fitted, truth),
            "loss": PAPER.on_axes(figures.draw_loss, history),
            "traces": PAPER.on_figure(figures.draw_parameter_traces, history, truth, unit="mm"),
            "weights": PAPER.on_axes(estimate_figures.draw_weights, fitted, truth, unit="mm"),
        }
        paths = [
            pages.save_figure(figure, tmp_path / name, formats=["png"], dpi=40)[0] for name, figure in drawn.items()
        ]
    assert [path.name for path in paths] == [f"{name}.png" for name in drawn]
    for path in paths:
        assert np.ptp(np.asarray(Image.open(path).convert("L"))) > 100


@pytest.mark.parametrize("n_records", [1, 2, 40])
def test_a_diverged_history_draws_without_a_warning(n_records, tmp_path):
    history = history_towards(TWO, n_records)
    lost = Mixture(*(np.where(np.arange(n_records)[:, None] >= 1, np.nan, values) for values in history.mixtures))
    losses = np.where(np.arange(n_records) >= 1, np.nan, history.losses)
    nothing = Mixture(*(np.full(2, np.nan) for _ in range(3)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for number, figure in enumerate(
            [
                PAPER.on_axes(figures.draw_loss, History(history.steps, losses, lost)),
                PAPER.on_axes(figures.draw_loss, History(history.steps, np.full(n_records, np.nan), lost)),
                PAPER.on_figure(figures.draw_parameter_traces, History(history.steps, losses, lost), TWO, unit=None),
                PAPER.on_axes(figures.draw_density, Column(draws(TWO, 50), None, "x", None), nothing, TWO),
                PAPER.on_axes(estimate_figures.draw_weights, nothing, TWO, unit=None),
            ]
        ):
            pages.save_figure(figure, tmp_path / str(number), formats=["png"], dpi=40)


@pytest.mark.parametrize("fitted", [TWO, mixture([1, 5, 1], [-2, 5, 7], [1.1, 2, 1e-4])], ids=["broad", "spike"])
def test_drawn_density_holds_all_its_mass(fitted):
    data = np.append(draws(TWO, 3000), [-12.0, 18.0])
    figure = PAPER.on_axes(figures.draw_density, Column(data, None, "x", None), fitted, TWO)
    # The far data keep the whole mixture inside the picture.
    assert mass(line(figure, "fitted mixture")) == pytest.approx(1.0, abs=2e-3)
    assert mass(line(figure, "true mixture")) == pytest.approx(1.0, abs=2e-3)
    for number, weight in enumerate(fitted.weights):
        assert mass(line(figure, f"component {number}")) == pytest.approx(weight, abs=2e-3)


@given(
    data=st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=60),
    offset=st.sampled_from([0.0, 1e6, -1e9]),
    scale=st.sampled_from([1e-6, 1.0, 1e5]),
    seed=st.integers(0, 99),
)
@example(data=[2e-311], offset=0.0, scale=1.0, seed=0)
@example(data=[0.0, 2e-308], offset=0.0, scale=1.0, seed=0)
@settings(max_examples=20, deadline=None)
def test_histogram_and_what_lies_outside_make_one(data, offset, scale, seed):
    values = offset + scale * np.array(data)
    weights = np.random.default_rng(seed).integers(0, 4, size=len(values)) + (np.arange(len(values)) == 0)
    for sample_weights in (None, weights):
        bars = curves.histogram(values, sample_weights)
        assert np.all(np.diff(bars.edges) > 0.0)
        assert len(bars.densities) <= 5 * curves.MAX_BINS
        area = np.sum(bars.densities * np.diff(bars.edges))
        assert area + bars.share_outside == pytest.approx(1.0, abs=1e-9)


def test_histogram_of_weights_equals_histogram_of_repeats():
    data, counts = np.arange(40.0, 90.0), np.random.default_rng(3).integers(1, 9, 50)
    repeated = np.repeat(data, counts)
    bars = curves.histogram(data, counts)
    expected, _ = np.histogram(repeated, bins=bars.edges, density=True)
    np.testing.assert_allclose(bars.densities, expected, rtol=1e-12)


def test_outliers_take_no_bars_and_are_owned_up_to():
    data = np.append(draws(TWO, 10_000), [1e9, -1e12])
    bars = curves.histogram(data, None)
    assert bars.edges[0] > -30.0 and bars.edges[-1] < 40.0
    assert bars.share_outside == pytest.approx(2.0 / 10_002.0, rel=1e-6)
    figure = PAPER.on_axes(figures.draw_density, Column(data, None, "x", None), None, None)
    assert "0.02 % of the data outside" in figure.get_suptitle()


def test_rounded_data_fill_bars_of_equally_many_values():
    data = np.loadtxt(REAL / "waiting.csv", skiprows=1)
    edges = curves.histogram(data, None).edges
    assert np.all(np.mod(edges, 1.0) == 0.5)
    assert len(set(np.diff(edges))) == 1


@given(st.lists(st.floats(-1e4, 1e4) | st.sampled_from([np.nan, np.inf, 7.0]), min_size=1, max_size=40))
@settings(max_examples=20, deadline=None)
def test_excess_is_the_distance_to_the_least(losses):
    values = np.array(losses)
    excess, best = curves.loss_excess(values)
    finite = values[np.isfinite(values)]
    if not finite.size:
        assert best is None and np.isnan(excess).all()
        return
    assert values[best] == finite.min()
    above = np.isfinite(values) & (values > finite.min())
    np.testing.assert_array_equal(excess[above], values[above] - finite.min())
    assert np.isnan(excess[~above]).all()


def test_loss_picture_shows_losses_less_the_least():
    history = history_towards(TWO)._replace(losses=np.append(np.geomspace(1e4, 1e-3, 28) - 50.0, [-50.0, -50.0]))
    figure = PAPER.on_axes(figures.draw_loss, history)
    curve, mark = figure.axes[0].lines
    steps, shown = points(curve)
    np.testing.assert_array_equal(steps, history.steps)
    np.testing.assert_allclose(shown[:28], history.losses[:28] + 50.0, rtol=1e-12)
    assert np.isnan(shown[28:]).all()
    assert figure.axes[0].get_yscale() == "log"
    assert list(points(mark)[0]) == [history.steps[28]]
    assert "least -50 nats, at step 196" in figure.get_suptitle()


@pytest.mark.parametrize(
    ("steps", "scale"), [(np.arange(0, 21), "linear"), (np.arange(0, 1001), "symlog"), (np.array([0, 5000]), "symlog")]
)
def test_step_axis_shows_step_zero_and_the_last(steps, scale):
    figure = Figure()
    axes = figure.subplots()
    ticks.set_step_axis(axes, steps)
    assert axes.get_xscale() == scale
    low, high = axes.get_xlim()
    assert low < 0 and high > steps[-1]


def test_traces_and_true_lines_share_a_colour_in_order_of_loc():
    truth = mixture([5, 1], [5, -2], [2, 1.1])
    figure = PAPER.on_figure(figures.draw_parameter_traces, history_towards(TWO), truth, unit="minutes")
    labels = [axes.get_ylabel() for axes in figure.axes]
    assert labels == ["weight", "loc / minutes", "scale / minutes"]
    levels = figure.axes[1].lines[:2]
    assert [points(level)[1][0] for level in levels] == [-2, 5]
    ends = [points(line(figure, f"component {number}", row=1))[1][-1] for number in (0, 1)]
    assert ends == [-2, 5]


def test_labels_carry_name_and_unit():
    data = draws(TWO, 50)
    figure = PAPER.on_axes(figures.draw_density, Column(data, None, "Waiting time in $", "km/s"), None, None)
    assert figure.axes[0].get_xlabel() == "Waiting time in $ / km/s"
    assert figure.axes[0].get_ylabel() == "density / (km/s)⁻¹"
    figure = PAPER.on_axes(figures.draw_density, Column(data, None, "x", None), None, None)
    assert (figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()) == ("x", "density")


def test_components_stay_distinct_beyond_the_palette():
    kinds = {str(drawing.component_style(component)) for component in range(35)}
    assert len(kinds) == 35


def test_legend_stays_off_the_axes():
    twelve = SHAPES["twelve components"][0]
    figure = PAPER.on_axes(figures.draw_density, Column(draws(twelve, 500), None, "x", None), twelve, twelve)
    figure.canvas.draw()
    axes, legend = figure.axes[0].get_window_extent(), figure.legends[0].get_window_extent()
    assert legend.x0 >= axes.x1
    assert legend.y0 >= 0.0 and legend.x1 <= figure.bbox.x1


def test_drawing_leaves_settings_alone():
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    PAPER.on_axes(figures.draw_loss, history_towards(TWO))
    assert dict(mpl.rcParams) == before


SAVE = """
import sys
from pathlib import Path
import numpy as np
from gmm_pipeline.model.mixture import Mixture
from gmm_pipeline.pictures import figures
from gmm_pipeline.pictures.drawing import Column
from gmm_pipeline.pictures.pages import Paper, save_figure
fitted = Mixture(np.array([0.25, 0.75]), np.array([-2.0, 5.0]), np.array([1.0, 2.0]))
paper = Paper((6.4, 3.6), 9.0, "default")
page = paper.on_axes(figures.draw_density, Column(np.arange(9.0), None, "x", "s"), fitted, fitted)
save_figure(page, Path(sys.argv[1]) / "fit", formats=["png", "svg", "pdf"], dpi=50)
"""


def test_files_are_the_same_bytes_in_two_processes(tmp_path):
    runs = [subprocess.Popen([sys.executable, "-c", SAVE, str(tmp_path / name)]) for name in ("first", "second")]
    assert [run.wait(timeout=120) for run in runs] == [0, 0]
    for suffix in ("png", "svg", "pdf"):
        first, second = ((tmp_path / name / f"fit.{suffix}").read_bytes() for name in ("first", "second"))
        assert first == second
        assert len(first) > 1000


def test_ticks_are_plain_text_and_keep_their_powers_of_ten(tmp_path):
    figure = Figure()
    linear, logarithmic = figure.subplots(1, 2)
    linear.set_xlim(1e7, 3e7)
    linear.set_ylim(-2.0, 0.5)
    logarithmic.set_yscale("log")
    logarithmic.set_ylim(1e-6, 10.0)
    ticks.set_log_ticks(logarithmic)
    pages.save_figure(figure, tmp_path / "ticks", formats=["png"], dpi=40)
    labels = [label.get_text() for axes in figure.axes for label in (*axes.get_xticklabels(), *axes.get_yticklabels())]
    assert not any("$" in label for label in labels)
    assert {"1.0", "−2.0"} <= {*labels}
    assert any(label.startswith("10⁻") for label in labels)
    assert "10^{7}" in linear.xaxis.get_major_formatter().get_offset()
    assert [ticks.power_text(number) for number in (1e-6, 2e5, 1.0)] == ["10⁻⁶", "2×10⁵", "10⁰"]
    assert ticks.decade_text(9.9e6) == "10⁷"
