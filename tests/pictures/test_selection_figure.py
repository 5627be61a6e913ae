"""Pictures of selections are checked by what stands on their axes, against the made-up candidates they show."""

import math
import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.text import Text
from papers import PAPER

from gmm_pipeline.analysis.candidates import Point, lines_of, points_of
from gmm_pipeline.model.covariances import MODELS
from gmm_pipeline.pictures.selection_figure import draw_selection, draw_selection_table

FREE = {2: 462.1, 3: 441.6, 4: 443.4}
EQUAL = {1: 489.5, 2: 478.3, 3: 451.1, 4: 450.7}
POINTS = [
    *(Point(k, True, value, None, None) for k, value in EQUAL.items()),
    *(Point(k, False, value, None, None) for k, value in FREE.items()),
]
BEST = 5


def texts(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(Text) if isinstance(text, Text))


def labels(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def line_of(figure: Figure, color: str) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of components and heights of the line through candidates of a kind, which has no markers."""
    lines = figure.axes[0].lines
    (found,) = [line for line in lines if line.get_marker() in ("", "None") and line.get_color() == color]
    return np.asarray(found.get_xdata()), np.asarray(found.get_ydata())


def markers(figure: Figure, marker: str) -> list[tuple[float, float]]:
    found = [line for line in figure.axes[0].lines if line.get_marker() == marker]
    return [(float(x), float(y)) for line in found for x, y in zip(*map(np.ravel, line.get_data()), strict=True)]


def inside(figure: Figure, y: float) -> bool:
    low, high = figure.axes[0].get_ylim()
    return low <= y <= high


def test_each_kind_of_scales_is_a_line_above_the_lowest_that_begins_at_one_component():
    figure = PAPER.on_axes(draw_selection, POINTS, "bic", BEST)
    for values, color in ((FREE, "#0072B2"), (EQUAL, "#E69F00")):
        numbers, heights = line_of(figure, color)
        assert numbers.tolist() == [1, 2, 3, 4]
        expected = [({**EQUAL, **values} if k == 1 else values)[k] - FREE[3] for k in (1, 2, 3, 4)]
        np.testing.assert_allclose(heights, expected)
        assert all(inside(figure, y) for y in expected)
    assert figure.axes[0].get_ylabel() == "BIC − lowest"
    assert figure.get_suptitle() == "lowest BIC 441.6: 3 components, free scales"
    assert labels(figure) == ["free scales", "equal scales", "chosen"]
    assert figure.axes[0].get_yscale() == "linear"


def test_a_degenerate_candidate_is_no_reference_and_on_no_line():
    points = [*POINTS, Point(5, False, 420.0, None, "degenerate"), Point(5, True, -5000.0, None, "degenerate")]
    figure = PAPER.on_axes(draw_selection, points, "bic", BEST)
    numbers, heights = line_of(figure, "#0072B2")
    assert heights.min() == 0.0
    assert numbers.max() < 4.5
    crosses = markers(figure, "x")
    assert len(crosses) == 2
    assert crosses[0] == pytest.approx((5, 420.0 - FREE[3]), abs=0.2)
    # Far below: at the edge, with its value beside it.
    assert crosses[1][1] == figure.axes[0].get_ylim()[0] > -100.0
    assert "−5,442" in texts(figure)
    assert "degenerate: left out" in labels(figure)


def test_a_candidate_without_a_value_is_a_cross_at_the_bottom():
    points = [*POINTS, Point(5, False, math.nan, None, "diverged"), Point(6, False, None, None, None)]
    figure = PAPER.on_axes(draw_selection, points, "bic", BEST)
    assert [round(x) for x, _ in markers(figure, "x")] == [5, 6]
    assert {y for _, y in markers(figure, "x")} == {0.0}
    assert {"diverged: no value", "no value"} <= set(labels(figure))


def test_where_more_is_better_the_highest_is_at_the_bottom():
    points = [Point(k, False, -100.0 - (k - 2.0) ** 2, 0.5 * k, None) for k in (1, 2, 3)]
    figure = PAPER.on_axes(draw_selection, points, "held_out", 1)
    np.testing.assert_allclose(line_of(figure, "#0072B2")[1], [1.0, 0.0, 1.0])
    assert figure.get_suptitle() == "highest held-out log-likelihood −100.0: 2 components, free scales"
    bars = [found.get_segments()[0] for found in figure.axes[0].collections if isinstance(found, LineCollection)]
    np.testing.assert_allclose([bar[:, 1] for bar in bars], [[0.5, 1.5], [-1.0, 1.0], [-0.5, 2.5]])
    assert all(inside(figure, y) for bar in bars for y in bar[:, 1])
    assert "± standard error\nof the difference" in labels(figure)


def test_candidates_far_apart_are_all_seen():
    values = [1e4, 402.0, 400.0, 455.0]
    points = [Point(k, False, value, None, None) for k, value in enumerate(values, start=1)]
    figure = PAPER.on_axes(draw_selection, points, "icl", 2)
    assert figure.axes[0].get_yscale() == "symlog"
    assert "up to 10: linear" in labels(figure)
    heights = [figure.axes[0].transData.transform((0.0, value - 400.0))[1] for value in values]
    assert min(abs(np.diff(sorted(heights)))) > 0.03 * figure.bbox.height
    assert all(inside(figure, value - 400.0) for value in values)


@pytest.mark.parametrize("one", [Point(1, True, 489.5, None, None), Point(3, False, -2.0, None, None)])
def test_one_candidate_is_a_picture(one):
    figure = PAPER.on_axes(draw_selection, [one], "sbic", 0)
    assert (one.n_components, 0.0) in markers(figure, "o")
    assert "singular BIC" in figure.get_suptitle()


@pytest.mark.parametrize("value", [math.nan, 300.0])
def test_no_candidate_can_be_chosen(value):
    figure = PAPER.on_axes(draw_selection, [Point(2, False, value, None, "degenerate")], "bic", None)
    assert "no candidate can be chosen" in texts(figure)
    assert "chosen" not in labels(figure)


def test_sixteen_candidates_have_a_tick_each():
    points = [Point(k, False, float(k), None, None) for k in range(1, 17)]
    figure = PAPER.on_axes(draw_selection, points, "aic", 0)
    assert figure.axes[0].get_xticks().tolist() == list(range(1, 17))


def test_drawing_leaves_the_settings_of_others_alone():
    before = dict(mpl.rcParams)
    PAPER.on_axes(draw_selection, POINTS, "bic", BEST)
    assert dict(mpl.rcParams) == before


SAVE = """
import sys
from pathlib import Path
from gmm_pipeline.pictures.pages import Paper, save_figure
from gmm_pipeline.analysis.candidates import Point
from gmm_pipeline.model.covariances import MODELS
from gmm_pipeline.pictures.selection_figure import draw_selection
points = [Point(k, k > 2, 100.0 - k, 0.5, None) for k in range(1, 5)]
page = Paper((6.4, 3.6), 9.0, "default").on_axes(draw_selection, points, "bic", 3)
save_figure(page, Path(sys.argv[1]), formats=["png", "svg"], dpi=100)
"""


def test_files_are_the_same_bytes_in_two_processes(tmp_path):
    processes = [subprocess.Popen([sys.executable, "-c", SAVE, str(tmp_path / name)]) for name in ("a", "b")]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    for suffix in ("png", "svg"):
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()


COLUMNS = {
    "n_components": [1, 2, 2],
    "scales": ["equal", "free", "equal"],
    "chosen": [False, True, False],
    "bic": [20.0, 10.0, 12.0],
    "held_out": [-9.0, -5.0, -6.0],
    "held_out_gap_error": [1.5, None, 0.5],
    "degenerate": [0, 0, 1],
    "diverged": [False, False, False],
}


def test_table_of_a_record_becomes_its_candidates():
    first, second, third = points_of(COLUMNS, "held_out")
    assert first == Point(1, True, -9.0, 1.5, None)
    assert second == Point(2, False, -5.0, None, None)
    assert third == Point(2, True, -6.0, 0.5, "degenerate")
    assert [point.error for point in points_of(COLUMNS, "bic")] == [None] * 3


def test_where_tests_chose_their_p_values_stand_over_a_criterion():
    columns = COLUMNS | {"p_value": [0.01, 0.4, 0.4]}
    figure = PAPER.on_axes(draw_selection_table, columns, 1, "likelihood_ratio")
    assert figure.axes[0].get_ylabel() == "BIC − lowest"
    assert figure.get_suptitle().startswith("chosen by tests: 2 components, free scales; p: ")
    said = {text.get_text(): text.get_position()[0] for text in figure.axes[0].texts}
    assert {"p = 0.01": 1.5, "p = 0.4": 2.5}.items() <= said.items()
    assert "K components against K + 1" in texts(figure)
    assert "p =" not in texts(PAPER.on_axes(draw_selection_table, columns, 1, "bic"))


def candidates_of_models() -> dict[str, list]:
    """A table of all 14 models for one to four components; EVE has no candidate of one, and VVI wins at three."""
    rows = [
        (k, model, 1000.0 - 10.0 * number - 50.0 * (3 - abs(3 - k)))
        for number, model in enumerate(MODELS)
        for k in (1, 2, 3, 4)
        if (k, model) != (1, "EVE")
    ]
    rows = [(k, model, 500.0 if (k, model) == (3, "VVI") else value) for k, model, value in rows]
    number, covariance, bic = map(list, zip(*rows, strict=True))
    return {"n_components": number, "covariance": covariance, "bic": bic}


def test_each_covariance_model_is_a_line_of_its_own_colour_or_dashes():
    columns = candidates_of_models()
    chosen = int(np.argmin(columns["bic"]))
    figure = PAPER.on_axes(draw_selection_table, columns, chosen, "bic")
    lines = [line for line in figure.axes[0].lines if len(np.ravel(line.get_xdata())) > 2]
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 14
    assert all(np.asarray(line.get_xdata()).tolist() == [1, 2, 3, 4] for line in lines)
    assert labels(figure)[0] == "VVI"
    assert sorted(labels(figure)[:14]) == sorted(MODELS)
    assert figure.get_suptitle() == "lowest BIC 500.0: 3 components, VVI"
    legend = figure.legends[0].get_window_extent()
    assert legend.height < figure.bbox.height


def test_one_component_begins_the_lines_of_all_models_that_are_the_same_for_it():
    points = points_of(candidates_of_models(), "bic")
    lines = lines_of(points)
    assert all(points[line[0]].n_components == 1 for line in lines.values())
    # EVE with one component has a full covariance.
    first = points[lines["EVE"][0]]
    assert first.covariance in ("EEE", "VEE", "VVE", "EEV", "VEV", "EVV", "VVV")
    assert points[lines["VVI"][0]].covariance == "VVI"
    alone = [point for point in points if point.n_components > 1 or point.covariance in ("EII", "EEI", "EEE")]
    assert {kind: alone[line[0]].covariance for kind, line in lines_of(alone).items()} == {
        model: "EII" if model.endswith("II") else "EEI" if model.endswith("I") else "EEE" for model in MODELS
    }
