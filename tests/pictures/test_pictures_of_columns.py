"""Pictures of several columns are checked by what is drawn: ellipses against eigenvalues, panels, labels, densities."""

# Matplotlib's artists are typed as their bases.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportIndexIssue=false, reportOptionalMemberAccess=false

from typing import Any

import numpy as np
import pytest
from matplotlib.collections import PathCollection
from papers import PAPER
from several_columns import draws, history_towards, mixture

from gmm_pipeline.analysis import planes as plane_numbers
from gmm_pipeline.model.natural import MultivariateMixture
from gmm_pipeline.pictures import (
    agreement_figures,
    animations,
    drawing,
    estimate_figures,
    pairs_figure,
    plane_traces,
    planes,
)
from gmm_pipeline.records.reading import Intervals

TWO, FIVE = mixture(2), mixture(5)
NAMES = tuple("abcdefghi")


def columns_of(fitted, n, truth=None):
    data, responsibilities = draws(fitted, n)
    return pairs_figure.Columns(data, None, fitted, truth, responsibilities, NAMES[: data.shape[1]], "cm")


def plane(n=300, truth=None, degenerate=(), **changes):
    shown = pairs_figure.plane_of(columns_of(TWO, n, truth), narrow=False)._replace(**changes)
    return PAPER.on_axes(planes.draw_plane, shown, degenerate=degenerate)


def ellipses(axes, component):
    """Lines around a component, by its colour, inner first."""
    color = drawing.component_style(component)["color"]
    return [np.asarray(line.get_xydata()) for line in axes.lines if line.get_color() == color]


def test_ellipses_have_the_axes_of_the_covariances_eigenvalues():
    (axes,) = plane().axes
    for component in range(3):
        drawn = ellipses(axes, component)
        assert len(drawn) == 2
        for points, radius in zip(drawn, (1.0, 2.0), strict=True):
            distances = np.linalg.norm(points - TWO.locs[component], axis=1)
            lengths = np.sqrt(np.linalg.eigvalsh(TWO.covariances[component]))
            np.testing.assert_allclose([distances.min(), distances.max()], radius * lengths, rtol=1e-12)


def test_observations_have_the_colour_of_their_component_and_grow_with_doubt():
    data, responsibilities = draws(TWO, 300)
    (axes,) = plane().axes
    labels, certainty = responsibilities.argmax(axis=0), responsibilities.max(axis=0)
    scatters = [one for one in axes.collections if isinstance(one, PathCollection)]
    assert len(scatters) == 3
    for component, scatter in enumerate(scatters):
        np.testing.assert_allclose(scatter.get_offsets(), data[labels == component])
        order = np.argsort(certainty[labels == component])
        assert (np.diff(np.asarray(scatter.get_sizes())[order]) <= 1e-9).all()


def test_many_observations_are_counted_in_hexagons():
    (axes,) = plane(planes.MOST_POINTS + 1).axes
    counts = next(
        one.get_array() for one in axes.collections if one.get_array() is not None and len(one.get_array()) > 9
    )
    assert counts.sum() == planes.MOST_POINTS + 1  # all are inside of this window


def test_legend_and_labels_name_what_is_drawn():
    figure = plane(truth=TWO, degenerate=[2])
    (axes,), (legend,) = figure.axes, figure.legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("a / cm", "b / cm")
    assert texts[:3] == ["component 0: 0.500", "component 1: 0.333", "component 2: 0.167, degenerate"]
    assert any(text.startswith("true") for text in texts)
    assert [line.get_marker() for line in axes.lines].count("X") == 1


def test_an_unfinished_component_is_left_out_of_a_picture():
    broken = TWO._replace(locs=np.where(np.arange(3)[:, None] == 1, np.nan, TWO.locs))
    (axes,) = plane(50, fitted=broken).axes
    assert [len(ellipses(axes, component)) for component in range(3)] == [2, 0, 2]


def test_lines_of_equal_density_enclose_their_shares_of_the_data():
    data, _ = draws(TWO, 2000)
    counts = np.random.default_rng(1).integers(0, 4, 2000).astype(float)
    levels = plane_numbers.levels_of(TWO, data, counts, (0.5, 0.95))
    from scipy.stats import multivariate_normal

    parts = [w * multivariate_normal(m, c).pdf(data) for w, m, c in zip(*TWO, strict=True)]
    shares = [np.average(sum(parts) >= level, weights=counts) for level in levels]
    np.testing.assert_allclose(shares, [0.95, 0.5], atol=3.0 / counts.sum() * 2.0)


def test_pairs_have_a_panel_for_each_pair_and_limits_that_agree():
    figure = PAPER.on_figure(pairs_figure.draw_pairs, columns_of(FIVE, 200, FIVE))
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert len(shown) == 15
    grid = np.array(figure.axes).reshape(5, 5)
    assert [axes.get_xlabel() for axes in grid[-1]] == [f"{name} / cm" for name in NAMES[:5]]
    for column in range(5):
        assert len({grid[row, column].get_xlim() for row in range(column, 5)}) == 1
    for row, column in ((3, 1), (4, 0)):
        pair = [column, row]
        inner, _ = ellipses(grid[row, column], 0)
        lengths = np.sqrt(np.linalg.eigvalsh(FIVE.covariances[0][np.ix_(pair, pair)]))
        distances = np.linalg.norm(inner - FIVE.locs[0, pair], axis=1)
        np.testing.assert_allclose([distances.min(), distances.max()], lengths, rtol=1e-12)


def test_pairs_show_the_columns_that_separate_most_and_say_so():
    wide = mixture(9)
    figure = PAPER.on_figure(pairs_figure.draw_pairs, columns_of(wide, 100)._replace(unit=None))
    between = np.average((wide.locs - wide.weights @ wide.locs) ** 2, axis=0, weights=wide.weights)
    within = wide.weights @ np.diagonal(wide.covariances, axis1=1, axis2=2)
    best = sorted(np.argsort(between / within)[-6:])
    assert [axes.get_xlabel() for axes in figure.axes[-6:]] == ["abcdefghi"[column] for column in best]
    assert figure.get_suptitle() == "the 6 of 9 columns that separate the components most"


def test_the_projection_draws_all_components_within_named_directions():
    (axes,) = PAPER.on_axes(pairs_figure.draw_columns, columns_of(FIVE, 100)).axes
    assert [len(ellipses(axes, component)) for component in range(3)] == [2, 2, 2]
    assert set("abcde") & set(axes.get_xlabel())


def test_parallel_coordinates_stand_at_the_standardised_locs():
    (axes,) = PAPER.on_axes(pairs_figure.draw_parallel, FIVE, columns=NAMES[:5]).axes
    mean = FIVE.weights @ FIVE.locs
    second = FIVE.weights @ (FIVE.locs**2 + np.diagonal(FIVE.covariances, axis1=1, axis2=2))
    heights = [line.get_ydata() for line in axes.lines if line.get_label().startswith("component")]
    np.testing.assert_allclose(heights, (FIVE.locs - mean) / np.sqrt(second - mean**2), rtol=1e-9)


def test_movements_end_at_the_end():
    history = history_towards(FIVE)
    weights, distances, sizes = PAPER.on_figure(plane_traces.draw_movements, history, FIVE).axes
    named = [line for line in distances.lines if line.get_label().startswith("component")]
    away = history.mixtures.locs[0, 1] - FIVE.locs[1]
    expected = np.sqrt(away @ np.linalg.solve(FIVE.covariances[1], away))
    np.testing.assert_allclose(named[1].get_ydata()[[0, -1]], [expected, 0.0], rtol=1e-9)
    # Four times a covariance is twice the size.
    np.testing.assert_allclose(sizes.lines[0].get_ydata()[[0, -1]], [2.0, 1.0], rtol=1e-9)
    assert weights.get_ylabel() == "weight"


@pytest.mark.parametrize("end", [TWO, FIVE], ids=["two columns", "five columns"])
def test_an_animation_ends_with_the_final_ellipses(end, tmp_path):
    data, _ = draws(end, 60)
    told = {
        "name": "made",
        "columns": NAMES[: end.locs.shape[1]],
        "unit": "cm",
        "frames": 3,
        "size": PAPER.size,
        "dpi": 40,
    }
    animation = animations.animate_training(history_towards(end), data, **told)
    frames: Any = list(animation.new_frame_seq())
    assert len(frames) == 3
    drawn = [
        artist for artist in frames[-1] if getattr(artist, "axes", None) is not None and hasattr(artist, "get_xydata")
    ]
    color = drawing.component_style(1)["color"]
    outer = np.asarray([line.get_xydata() for line in drawn if line.get_color() == color][1])
    if end is TWO:
        lengths = 2.0 * np.sqrt(np.linalg.eigvalsh(end.covariances[1]))
        distances = np.linalg.norm(outer - end.locs[1], axis=1)
        np.testing.assert_allclose([distances.min(), distances.max()], lengths, rtol=1e-9)
    (path,) = animations.save_animation(animation, tmp_path, formats=["gif"], fps=10, hold=0.1)
    assert path.stat().st_size > 1000


def test_weights_and_replicates_of_several_columns_are_drawn():
    generator = np.random.default_rng(2)
    shaken = MultivariateMixture(*(leaf + 0.01 * generator.normal(size=(20, *leaf.shape)) for leaf in FIVE))
    ends = [MultivariateMixture(*(leaf + shift for leaf in FIVE)) for shift in (-0.02, 0.02)]
    intervals = Intervals(*ends, level=0.95, method="bootstrap")
    (axes,) = PAPER.on_axes(estimate_figures.draw_weights, FIVE, FIVE, intervals=intervals, unit=None).axes
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["component 0", "component 1", "component 2"]
    told = {"intervals": intervals, "asymptotic": intervals, "columns": NAMES[:5], "unit": "cm"}
    figure = PAPER.on_figure(estimate_figures.draw_bootstrap, shaken, FIVE, FIVE, **told)
    labels = [axes.get_xlabel() for axes in figure.axes if axes.get_xlabel()]
    assert labels[0] == "weight"
    assert len(labels) == 1 + estimate_figures.MOST_LOCS
    assert all(label.startswith("loc, ") and label.endswith(" / cm") for label in labels[1:])


def test_agreement_has_a_panel_for_each_component_and_a_line_for_each_column():
    data, responsibilities = draws(FIVE, 400)
    seen = data, None, FIVE
    distances = PAPER.on_figure(agreement_figures.draw_mahalanobis, *seen, responsibilities, level=0.95)
    shown = [axes for axes in distances.axes if axes.get_visible()]
    assert [axes.get_title().split(",")[0] for axes in shown] == ["component 0", "component 1", "component 2"]
    marginals = PAPER.on_axes(agreement_figures.draw_marginals, *seen, columns=NAMES[:5], level=0.95)
    texts = [text.get_text().split(":")[0] for text in marginals.legends[0].get_texts()]
    assert texts[1:] == list(NAMES[:5])
    odd = ("low_$_1", "_cost_{$a_b_c$}", "hi_$_2", "a very long name of a column of data", "e")
    marginals = PAPER.on_axes(agreement_figures.draw_marginals, *seen, columns=odd, level=0.95)
    marginals.canvas.draw()  # where Matplotlib would fail on what is no formula
    texts = [text.get_text().split(":")[0] for text in marginals.legends[0].get_texts()]
    assert texts[1:] == [r"low_\$_1", r" _cost_{\$a_b_c\$}", r"hi_\$_2", "a very long name of a c…", "e"]


def test_observations_are_counted_by_how_uncertain_they_are():
    columns = columns_of(TWO, 300)
    (axes,) = PAPER.on_axes(pairs_figure.draw_uncertainty, columns).axes
    data, doubts = columns.data, 1.0 - columns.responsibilities.max(axis=0)
    drawn = [one.get_offsets() for one in axes.collections if isinstance(one, PathCollection)]
    assert len(drawn) == 3
    for offsets, (low, high) in zip(drawn, ((-1.0, 0.05), (0.05, 0.2), (0.2, 1.0)), strict=True):
        np.testing.assert_array_equal(offsets, data[(doubts >= low) & (doubts < high)])
