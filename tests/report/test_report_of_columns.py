"""The page about a fit to several columns: ellipses against eigenvalues, what a row says, and no markup in names."""

# Plotly's figures are typed as the names of their parts.
# pyright: reportAttributeAccessIssue=false

import itertools
import json
import re

import made_records
import numpy as np
import pytest
from plotly import graph_objects

from gmm_pipeline.model import portable
from gmm_pipeline.model.natural import MultivariateErrors, MultivariateMixture, reported
from gmm_pipeline.records import reading
from gmm_pipeline.report import column_charts, component_table, run_page, verdicts

SETTINGS = run_page.Settings(level=0.95, quantiles=50, simulations=200, seed=0)
EVIL = "<img src=x onerror=alert(2)>"


def record(folder, columns=("width", EVIL, "c", "d"), n=300, shift=0.0) -> reading.Record:
    """A record of one column in which the results are those of several."""
    generator, d = np.random.default_rng(3), len(columns)
    factors = np.eye(d) + 0.3 * generator.normal(size=(2, d, d))
    weights, locs = np.array([0.6, 0.4]), np.stack([np.zeros(d), np.arange(d) + 3.0])
    fitted = MultivariateMixture(weights, locs, factors @ factors.swapaxes(1, 2))
    labels = np.repeat([0, 1], [int(0.6 * n), n - int(0.6 * n)])
    data = fitted.locs[labels] + np.einsum("nij,nj->ni", factors[labels], generator.normal(size=(n, d)))
    run = reading.read_checked(made_records.write_run(folder / "run"))
    info = {**run.data_info, "columns": list(columns), "unit": "cm"}
    changes = {"fitted": fitted, "truth": None, "asymptotic": None, "bootstrap": None}
    return run._replace(data=data + shift, data_info=info, **changes)


@pytest.fixture
def run(tmp_path) -> reading.Record:
    return record(tmp_path)


def axes_of(chart):
    return {name: axis for name, axis in chart["layout"].items() if re.fullmatch(r"[xy]axis\d*", name)}


def test_panels_share_the_axes_of_their_columns_and_rows(run):
    chart = run_page.answer(run, SETTINGS).charts["density"]
    figure = graph_objects.Figure(json.loads(re.sub(r'"--[a-z0-9-]+"', '"#123456"', json.dumps(chart))))
    assert {(one.xaxis, one.yaxis) for one in figure.data} == {
        ("x", "y"), ("x", "y2"), ("x", "y3"), ("x2", "y2"), ("x2", "y3"), ("x3", "y3")
    }  # fmt: skip
    titles = {name: axis["title"]["text"] for name, axis in axes_of(chart).items()}
    evil = EVIL.replace("<", "&lt;").replace(">", "&gt;")
    assert [titles[f"xaxis{i}"] for i in ("", "2", "3")] == ["width / cm", f"{evil} / cm", "c / cm"]
    assert [titles[f"yaxis{i}"] for i in ("", "2", "3")] == [f"{evil} / cm", "c / cm", "d / cm"]
    heights = [axes_of(chart)[f"yaxis{i}"]["domain"] for i in ("", "2", "3")]
    assert heights[0][1] == 1.0
    assert all(upper[0] > lower[1] for upper, lower in itertools.pairwise(heights))
    assert [one.name for one in figure.data if one.showlegend] == ["component 0", "component 1"]


def test_ellipses_have_the_axes_of_the_covariances_eigenvalues(run):
    chart = run_page.answer(run, SETTINGS).charts["density"]
    lines = [one for one in chart["data"] if one["mode"] == "lines" and (one["xaxis"], one["yaxis"]) == ("x2", "y3")]
    for component, one in enumerate(lines):
        points = np.array([one["x"], one["y"]], float).T
        distances = np.linalg.norm(points - run.fitted.locs[component, [1, 3]], axis=1)
        lengths = np.sqrt(np.linalg.eigvalsh(run.fitted.covariances[component][np.ix_([1, 3], [1, 3])]))
        half = len(points) // 2
        for part, radius in ((distances[:half], 1.0), (distances[half:], 2.0)):
            # Numbers on a page have seven digits.
            np.testing.assert_allclose([np.nanmin(part), np.nanmax(part)], radius * lengths, rtol=1e-5)


def test_two_columns_are_one_plot_whose_points_say_who_is_responsible(tmp_path):
    run = record(tmp_path, ("a", "b"))
    judged = run_page.answer(run, SETTINGS)
    chart = judged.charts["density"]
    assert set(axes_of(chart)) == {"xaxis", "yaxis"}
    assert judged.components[0].startswith("b over a: ")
    points = [one for one in chart["data"] if one["mode"] == "markers"]
    responsibilities = portable.evaluate(*run.fitted, run.data)[1]
    for component, one in enumerate(points):
        rows = np.flatnonzero(responsibilities.argmax(axis=0) == component)
        np.testing.assert_allclose(one["x"], run.data[rows, 0], rtol=1e-6)
        row = rows[0]
        assert one["text"][0].startswith(f"observation {row + 1}<br>")
        assert f"{component}: {responsibilities[component, row]:.3f}" in one["text"][0]


def test_a_page_of_many_observations_shows_a_part_and_says_so(tmp_path):
    run = record(tmp_path, ("a", "b", "c"), n=5000)
    judged = run_page.answer(run, SETTINGS)
    points = [one for one in judged.charts["density"]["data"] if one["mode"] == "markers"]
    assert sum(len(one["x"]) for one in points) == 3 * column_charts.MOST_POINTS_OF_PAIRS
    assert "800 of 5,000 observations are shown" in judged.components[1]


@pytest.mark.parametrize("columns", [("a", "b"), ("a", "b", "c")])
def test_one_gross_outlier_does_not_squeeze_the_plot(tmp_path, columns):
    run = record(tmp_path, columns)
    data = run.data.copy()
    data[7, 1] = 1e6
    chart = run_page.answer(run._replace(data=data), SETTINGS).charts["density"]
    others = np.delete(data, 7, axis=0)
    ranges = {axis["title"]["text"]: axis.get("range") for axis in axes_of(chart).values()}
    low, high = ranges["b / cm"]
    assert low < others[:, 1].min() and others[:, 1].max() < high < 50.0
    assert ranges["a / cm"] is None
    assert not any("range" in axis for axis in axes_of(run_page.answer(run, SETTINGS).charts["density"]).values())


def test_the_table_has_loc_and_deviation_of_each_column_with_their_errors(run):
    errors = MultivariateErrors(*(np.full_like(leaf, 0.1) for leaf in reported(run.fitted)))
    errors = errors._replace(scales=np.full((2, 4), 0.2))
    ends = reading.Intervals(run.fitted, run.fitted, 0.95, "asymptotic")
    rows = component_table.component_rows(run._replace(asymptotic=reading.Errors(errors, ends)))
    assert component_table.component_headings(run)[:3] == ["weight", "width [cm]", "width, sd [cm]"]
    assert [len(row.cells) for row in rows] == [9, 9]
    scale = np.sqrt(run.fitted.covariances[1, 2, 2])
    cell = rows[1].cells[6]
    assert (cell.estimate, cell.error, cell.intervals) == (f"{scale:.2f}", "0.20", ())


def test_data_that_are_not_draws_of_the_mixture_are_found(tmp_path):
    good, bad = (run_page.answer(record(tmp_path / str(s), shift=s), SETTINGS) for s in (0.0, 1.0))
    levels = [next(one for one in judged.findings if one.title == "Agreement with the data") for judged in (good, bad)]
    assert [one.level for one in levels] == [verdicts.GOOD, verdicts.CAUTION]
    assert "width" in levels[1].verdict


def test_the_whole_page_names_columns_and_escapes_them(run, tmp_path, monkeypatch):
    monkeypatch.setattr(run_page, "read_checked", lambda _: run)
    text = run_page.page(tmp_path / "run", place="it", again="again", settings=SETTINGS)
    assert "<img src=x" not in text
    assert "ordered by weight" in text
    for chart in ("density", "mahalanobis", "marginals", "loss"):
        assert f'data-chart="{chart}"' in text
    assert 'data-chart="qq"' not in text
    assert "(4 columns)" in text
