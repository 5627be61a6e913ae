"""Pages of this program and figures of somebody else: what is read stays readable, and what is theirs stays theirs."""

# Matplotlib's artists are typed as their bases.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportGeneralTypeIssues=false
# pyright: reportOptionalMemberAccess=false

import itertools

import matplotlib as mpl
import numpy as np
import pytest
import several_columns
from matplotlib.figure import Figure
from papers import ONE_COLUMN, PAPER
from test_figures import draws, history_towards, mixture
from test_sweep_figures import seeds_and_components

from gmm_pipeline.analysis import sweep_answers
from gmm_pipeline.analysis.candidates import Point
from gmm_pipeline.model.noise import Noise
from gmm_pipeline.pictures import (
    classification_figures,
    estimate_figures,
    figures,
    pages,
    pairs_figure,
    plane_traces,
    sweep_figures,
)
from gmm_pipeline.pictures.drawing import Column
from gmm_pipeline.pictures.selection_figure import draw_selection

THREE, FOUR = mixture([1, 5, 2], [-2e4, 5e4, 9e4], [1.1e4, 2e4, 4e3]), several_columns.mixture(4)
X = Column(draws(THREE, 200), None, "velocity", "km/s")
DATA, RESPONSIBILITIES = several_columns.draws(FOUR, 200)
IRIS = ("sepal_length", "sepal_width", "petal_length", "petal_width")
COLUMNS = pairs_figure.Columns(DATA, None, FOUR, FOUR, RESPONSIBILITIES, IRIS, "cm")
UNITS, OFFSETS = np.array([1e9, 1e-9, 1.0, 1e4]), np.array([5e9, 0.0, 1e3, 1e6])
LONG_NUMBERS = COLUMNS._replace(
    data=DATA * UNITS + OFFSETS,
    fitted=FOUR._replace(locs=FOUR.locs * UNITS + OFFSETS, covariances=FOUR.covariances * np.outer(UNITS, UNITS)),
    truth=None,
    names=("annual gross revenue", "concentration_of_dissolved_oxygen", "x", "population"),
    unit=None,
    omitted="78 of 600 rows have missing cells and are not shown",
)
NOISE = Noise(0.1, -12.0)
CANDIDATES = [Point(k, False, 1e3 / k + k, None, None) for k in range(1, 17)]
LONG = history_towards(THREE)._replace(steps=86 * np.arange(30))
ON_AXES = {
    "density": (figures.draw_density, (X, THREE, THREE), {}),
    "classification": (classification_figures.draw_classification, (X, THREE), {"noise": NOISE}),
    "uncertainty": (classification_figures.draw_uncertainty, (X, THREE), {"noise": NOISE}),
    "loss": (figures.draw_loss, (LONG,), {}),
    "weights": (estimate_figures.draw_weights, (THREE, THREE), {"unit": "km/s", "noise": NOISE}),
    "selection": (draw_selection, (CANDIDATES, "bic", 3), {}),
    "plane": (pairs_figure.draw_columns, (COLUMNS,), {}),
    "doubts": (pairs_figure.draw_uncertainty, (COLUMNS,), {}),
    "sweep": (sweep_figures.draw_information_criterion, (seeds_and_components(ks=range(1, 8)), "bic"), {}),
}
ON_FIGURE = {
    "traces": (figures.draw_parameter_traces, (LONG, THREE), {"unit": "km/s"}),
    "movements": (plane_traces.draw_movements, (several_columns.history_towards(FOUR), None), {}),
    "pairs": (pairs_figure.draw_pairs, (COLUMNS._replace(truth=None),), {}),
    "pairs of long numbers": (pairs_figure.draw_pairs, (LONG_NUMBERS,), {}),
    "final loss": (
        sweep_figures.draw_final_loss,
        (sweep_answers.settings_of(seeds_and_components(ks=range(1, 6)), "bic"),),
        {},
    ),
}


def extents(texts):
    return [text.get_window_extent() for text in texts if text.get_text() and text.get_visible()]


@pytest.mark.parametrize("name", [*ON_AXES, *ON_FIGURE])
def test_in_one_column_nothing_is_printed_over_anything(name):
    draw, values, named = {**ON_AXES, **ON_FIGURE}[name]
    page = (ONE_COLUMN.on_axes if name in ON_AXES else ONE_COLUMN.on_figure)(draw, *values, **named)
    page.canvas.draw()
    shown = [axes for axes in page.axes if axes.get_visible()]
    for axis in (axis for axes in shown for axis in (axes.xaxis, axes.yaxis)):
        ticks = [tick for tick in axis.get_major_ticks() if tick.label1.get_visible()]
        low, high = sorted(axis.get_view_interval())
        labels = extents(tick.label1 for tick in ticks if low <= tick.get_loc() <= high)
        assert not any(one.overlaps(other) for one, other in itertools.pairwise(labels))
    every = [axis for axes in shown for axis in (axes.xaxis, axes.yaxis)]
    names = extents([*(axis.label for axis in every), *(axis.get_offset_text() for axis in every)])
    assert not any(one.overlaps(other) for one, other in itertools.combinations(names, 2))
    for axes, legend in itertools.product(shown, page.legends):
        assert not axes.get_tightbbox().overlaps(legend.get_window_extent())
    for text in page.findobj(mpl.text.Text):
        if text.get_text() and text.get_visible():
            assert text.get_fontsize() >= 6.0
    everything = page.get_tightbbox()  # in inches
    assert everything.x0 >= -0.02 and everything.x1 <= page.get_figwidth() + 0.02
    assert everything.y0 >= -0.02 and everything.y1 <= page.get_figheight() + 0.02


@pytest.mark.parametrize("name", ON_AXES)
def test_axes_of_somebody_else_are_returned_with_nothing_around_them_changed(name):
    figure = Figure(figsize=(9.0, 4.0), layout="constrained")
    mine, other = figure.subplots(1, 2)
    settings, size = dict(mpl.rcParams), figure.get_size_inches().tolist()
    draw, values, named = ON_AXES[name]
    assert draw(*values, ax=mine, **named) is mine
    assert dict(mpl.rcParams) == settings and figure.get_size_inches().tolist() == size
    assert not figure.legends and figure.get_suptitle() == "" and not other.has_data()
    assert mine.has_data() and mine.spines["top"].get_visible()


def test_panels_of_somebody_else_are_their_figure_or_part_of_it():
    whole = Figure(figsize=(9.0, 4.0), layout="constrained")
    left, right = whole.subfigures(1, 2)
    draw, values, named = ON_FIGURE["traces"]
    rows = draw(*values, figure=left, **named)
    assert [axes.figure for axes in rows] == [left] * 3 and not right.axes
    assert whole.get_size_inches().tolist() == [9.0, 4.0] and len(left.legends) == 1


def test_a_tall_legend_of_somebody_else_stands_below_the_axes():
    figure = Figure(figsize=(5.0, 4.0), layout="constrained")
    axes = figure.subplots()
    twenty = mixture(np.ones(14), 4.0 * np.arange(14), np.ones(14))
    figures.draw_density(X._replace(data=draws(twenty, 300)), twenty, None, ax=axes)
    figure.draw_without_rendering()
    assert axes.get_legend().get_window_extent().y1 <= axes.get_window_extent().y0


def test_style_is_ours_or_that_of_the_settings():
    draw, values, named = ON_AXES["loss"]
    with mpl.rc_context({"axes.facecolor": "#123456", "font.size": 17.0}):
        ours, theirs = (PAPER._replace(style=style).on_axes(draw, *values, **named) for style in ("default", "none"))
    assert mpl.colors.to_hex(ours.axes[0].get_facecolor()) == "#ffffff"
    assert mpl.colors.to_hex(theirs.axes[0].get_facecolor()) == "#123456"
    assert [page.axes[0].xaxis.label.get_fontsize() for page in (ours, theirs)] == [9.0, 17.0]


def test_pyplot_keeps_a_page_that_is_to_be_shown():
    from matplotlib import pyplot

    draw, values, named = ON_AXES["loss"]
    pyplot.switch_backend("agg")
    page = PAPER._replace(shown=True).on_axes(draw, *values, **named)
    assert isinstance(page, pages.Page) and pyplot.gcf() is page
    pyplot.close(page)
