"""Pictures of estimates are checked by the numbers on their axes, against those they were given."""

import warnings

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch
from papers import PAPER

from gmm_pipeline.analysis import curves
from gmm_pipeline.analysis.starts import worth_drawing
from gmm_pipeline.model.mixture import Mixture
from gmm_pipeline.model.noise import Noise
from gmm_pipeline.model.vocabulary import SAME_OPTIMUM
from gmm_pipeline.pictures import drawing, estimate_figures, figures, pages
from gmm_pipeline.pictures.drawing import Column
from gmm_pipeline.records.reading import Intervals

TWO = Mixture(np.array([0.2, 0.8]), np.array([-2.0, 5.0]), np.array([1.0, 2.0]))
LOWER = Mixture(np.array([0.1, 0.7]), np.array([-2.5, 4.5]), np.array([0.8, 1.7]))
UPPER = Mixture(np.array([0.35, 0.9]), np.array([-1.5, 5.5]), np.array([1.3, 2.4]))
INTERVALS = Intervals(LOWER, UPPER, 0.95, "bootstrap")
MANY = Mixture(np.append([0.4, 0.3, 0.25], np.full(47, 0.05 / 47)), np.arange(50.0), np.linspace(1.0, 2.0, 50))


def labels(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def bars_of(figure: Figure) -> list[np.ndarray]:
    return [
        segment
        for lines in figure.axes[0].collections
        if isinstance(lines, LineCollection)
        for segment in map(np.asarray, lines.get_segments())
    ]


def test_few_components_are_all_named_and_of_many_the_heavy_ones():
    assert curves.named(np.array([0.999, 0.001])).chosen.tolist() == [0, 1]
    chosen, _, rest = curves.named(MANY.weights, always=[9])
    assert chosen.tolist() == [0, 1, 2, 9]
    assert rest == "46 below 1 %"
    even = np.full(40, 1.0 / 40.0)
    assert len(curves.named(even).chosen) == curves.MOST_NAMED
    assert curves.named(even).rest == "24 more"
    assert len(curves.named(np.full(50, np.nan)).chosen) == curves.MOST_NAMED
    assert curves.named(TWO.weights).rest == ""


def test_legends_of_fifty_components_fit_beside_the_picture():
    data = np.linspace(0.0, 50.0, 200)
    figure = PAPER.on_axes(figures.draw_density, Column(data, None, "x", None), MANY, None)
    assert labels(figure) == ["data", "fitted mixture", *(f"component {k}" for k in range(3)), "47 below 1 %"]
    figure.canvas.draw()
    legend = figure.legends[0].get_window_extent()
    assert legend.y0 >= 0.0 and legend.y1 <= figure.bbox.y1
    named = [
        row.get_text()
        for row in PAPER.on_axes(estimate_figures.draw_weights, MANY, TWO, unit=None).axes[0].get_yticklabels()
    ]
    assert named[3:] == ["47 below 1 %, together", "true component, loc −2.0", "true component, loc 5.0"]


def test_degenerate_components_are_marked_on_the_axis():
    figure = PAPER.on_axes(
        figures.draw_density, Column(np.linspace(-5.0, 9.0, 50), None, "x", None), TWO, None, degenerate=[1]
    )
    (mark,) = [line for line in figure.axes[0].lines if line.get_marker() == "X"]
    assert np.asarray(mark.get_xdata()).tolist() == [5.0]
    assert "degenerate" in labels(figure)
    sound = PAPER.on_axes(figures.draw_density, Column(np.linspace(-5.0, 9.0, 50), None, "x", None), TWO, None)
    assert "degenerate" not in labels(sound)


def test_weights_have_bars_where_their_intervals_are_known():
    figure = PAPER.on_axes(estimate_figures.draw_weights, TWO, TWO, intervals=INTERVALS, unit=None)
    ends = [[segment[:, 0].min(), segment[:, 0].max()] for segment in bars_of(figure)]
    np.testing.assert_allclose(ends, [[0.1, 0.35], [0.7, 0.9]])
    assert "95 % interval\n(bootstrap)" in labels(figure)
    half = LOWER._replace(weights=np.array([np.nan, 0.7]))
    figure = PAPER.on_axes(
        estimate_figures.draw_weights, TWO, None, intervals=INTERVALS._replace(lower=half), unit=None
    )
    (segment,) = bars_of(figure)
    np.testing.assert_allclose(segment, [[0.7, 1.0], [0.9, 1.0]])
    none = PAPER.on_axes(estimate_figures.draw_weights, TWO, None, unit=None)
    assert not bars_of(none) and not none.legends


def test_the_noise_has_a_bar_and_a_line():
    noise = Noise(0.1, -np.log(20.0), lower=0.05, upper=0.2)
    own = TWO._replace(weights=0.9 * TWO.weights)
    figure = PAPER.on_axes(estimate_figures.draw_weights, own, None, noise=noise, intervals=INTERVALS, unit=None)
    assert [row.get_text() for row in figure.axes[0].get_yticklabels()][2:] == ["noise"]
    np.testing.assert_allclose(bars_of(figure)[-1], [[0.05, 2.0], [0.2, 2.0]])
    figure = PAPER.on_axes(
        figures.draw_density, Column(np.linspace(-5.0, 9.0, 50), None, "x", None), own, None, noise=noise
    )
    (line,) = [line for line in figure.axes[0].lines if line.get_label() == "noise"]
    np.testing.assert_allclose(np.asarray(line.get_ydata()), 0.1 / 20.0)
    assert np.asarray(line.get_xdata()).tolist() == [-5.0, 9.0]  # there is no noise where no data are


def test_replicates_are_counted_or_owned_up_to():
    random = np.random.default_rng(2)
    replicates = Mixture(*(random.normal(leaf, 0.02, (200, 2)) for leaf in TWO))
    replicates.locs[0, 0] = 99.0
    for leaf in replicates:
        leaf[7] = np.nan
    figure = PAPER.on_figure(
        estimate_figures.draw_bootstrap, replicates, TWO, TWO, intervals=INTERVALS, asymptotic=INTERVALS, unit="mm"
    )
    steps = [patch for axes in figure.axes[:6] for patch in axes.patches if isinstance(patch, StepPatch)]
    counts = [np.sum(patch.get_data()[0]) for patch in steps]
    assert counts == [199, 198, 199, 199, 199, 199]
    assert figure.get_suptitle() == "1 of 200 replicates without a sound fit; 1 value beyond the panels"
    assert figure.axes[4].get_xlabel() == "loc / mm"


@pytest.mark.parametrize("n_sound", [0, 1, 30])
def test_any_number_of_sound_replicates_draws_without_a_warning(n_sound, tmp_path):
    one = Mixture(np.ones(1), np.zeros(1), np.ones(1))
    replicates = Mixture(*(np.where(np.arange(30)[:, None] < n_sound, leaf, np.nan) for leaf in one))
    known = Intervals(one, one, 0.95, "bootstrap")
    nothing = Mixture(*(np.full(1, np.nan),) * 3)
    unknown = Intervals(nothing, nothing, 0.95, "asymptotic")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = PAPER.on_figure(
            estimate_figures.draw_bootstrap,
            replicates,
            one,
            None,
            intervals=known if n_sound else unknown,
            asymptotic=unknown,
            unit=None,
        )
        pages.save_figure(figure, tmp_path / "bootstrap", formats=["png"], dpi=40)


def start(value, outcome, *, converged=True):
    return {"log_posterior": value, "outcome": outcome, "converged": converged, "n_steps": 9}


def test_starts_stand_below_the_best_of_the_sound_ones():
    starts = [
        start(-105.0, "worse", converged=False),
        start(-100.0, "reached"),
        start(-60.0, "degenerate"),
        start(None, "diverged"),
    ]
    assert worth_drawing(starts)
    assert not worth_drawing([start(-100.0, "reached")] * 3)
    assert not worth_drawing(starts[:1])
    figure = PAPER.on_axes(estimate_figures.draw_restarts, starts)
    drawn = [line for line in figure.axes[0].lines if line.get_marker() not in ("", "None")]
    places = [(float(np.ravel(line.get_xdata())[0]), float(np.ravel(line.get_ydata())[0])) for line in drawn]
    floor = SAME_OPTIMUM
    assert places == [(1.0, floor), (2.0, 5.0), (3.0, floor), (4.0, figure.axes[0].get_ylim()[1])]
    below = PAPER.on_axes(estimate_figures.draw_restarts, starts, -90.0).axes[0].lines
    heights = [float(np.ravel(line.get_ydata())[0]) for line in below if line.get_marker() not in ("", "None")]
    assert heights[:3] == [10.0, 15.0, floor]  # below what a search found
    assert to_hex(drawn[1].get_markerfacecolor()) == "#ffffff"
    assert to_hex(drawn[0].get_color()) == drawing.COLORS[1].lower()
    assert labels(figure)[:2] == ["reached the best: 1", "a worse optimum: 1"]
    assert labels(figure)[-1] == "hollow: not converged"
