"""Pages about a run and a sweep: what they say, that nothing in them is code or fetched, and that they are the same."""

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import made_records
import numpy as np
import pytest
from plotly import graph_objects

from gmm_pipeline.analysis.doubts import Reason
from gmm_pipeline.errors import InputError
from gmm_pipeline.model.mixture import Mixture
from gmm_pipeline.records import artifacts
from gmm_pipeline.records.files import write_columns, write_json
from gmm_pipeline.records.json_files import read_json
from gmm_pipeline.records.sweeps import read_manifest, read_runs
from gmm_pipeline.report import plotting, rendering, run_page, sweep_page, verdicts, wording
from gmm_pipeline.stages import sweep_summary

EVIL = """</script><script>alert(1)</script><img src=x onerror=alert(2)>"'&{{ 7*7 }}<!--\u2028"""
SETTINGS = run_page.Settings(level=0.95, quantiles=50, simulations=2000, seed=0)


class Page(HTMLParser):
    """What a browser would find in a page: elements, texts outside of scripts, and ids."""

    def __init__(self, text: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.scripts: list[str] = []
        self._in: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._in.append(tag)

    def handle_endtag(self, tag):
        if tag in self._in:
            while self._in.pop() != tag:
                pass

    def handle_data(self, data):
        inside = self._in[-1] if self._in else ""
        (self.scripts if inside in ("script", "style") else self.texts).append(data)

    @property
    def said(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.texts))

    def of(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    def content(self, name):
        """JSON of the script element with an id."""
        scripts = iter(self.scripts)
        for tag, attributes in self.elements:
            text = next(scripts) if tag in ("script", "style") else ""
            if attributes.get("id") == name and tag == "script":
                return json.loads(text)
        raise AssertionError(name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A run with all there can be, one that diverged, and a sweep."""
    folder = tmp_path_factory.mktemp("reported")
    made_records.enrich(made_records.write_run(folder / "run"))
    made_records.write_run(folder / "wild", diverged=True)
    made_records.write_sweep(folder / "study", n_runs=6)
    return folder


def page_of(record, **changes):
    told = {"place": "outputs/fit/it", "again": "python -m gmm_pipeline rerun run=outputs/fit/it"}
    return run_page.page(record, settings=SETTINGS, **{**told, **changes})


def sweep_page_of(folder):
    manifest = read_manifest(folder)
    runs = read_runs(folder, manifest)
    return sweep_page.page(
        folder,
        manifest,
        runs,
        place=folder.name,
        counts=sweep_summary.counts(manifest, runs),
        meaning=["A first sentence.", "A second one."],
        settings=SETTINGS,
    )


@pytest.fixture(scope="module")
def text(folder):
    return page_of(folder / "run")


@pytest.fixture(scope="module")
def sweep_text(folder):
    return sweep_page_of(folder / "study")


def test_a_page_says_what_was_asked_and_what_came_of_it(folder, text):
    said, record = Page(text).said, folder / "run"
    about, parameters = read_json(record / "record.json"), read_json(record / "parameters.json")
    assert "Mixtures of 1 to 2 Gaussians, with free or equal scales, were fitted to 300 observations of two" in said
    assert "one was chosen by BIC" in said
    for sentence in (about["command"], *about["overrides"], *about["verdict"], about["digest"], "rerun run=outputs"):
        assert sentence in said
    assert about["provenance"]["versions"]["jax"] in said
    for name in Mixture._fields:
        error = parameters["standard_errors"][name][0]
        assert " ± ".join(wording.with_error(parameters[name][0], error)[:2]) in said
    assert "bootstrap" in said
    assert wording.number(read_json(record / "metrics.json")["bic"], 7) in said


def test_a_page_fetches_nothing_and_is_accessible(text, sweep_text):
    for one in (text, sweep_text):
        page = Page(one)
        addresses = [
            value for _, attributes in page.elements for name, value in attributes.items() if name in ("src", "href")
        ]
        assert addresses
        outside = [value for value in addresses if not re.match(r"data:|#|\d+/$", value or "")]
        assert outside == []
        assert not page.of("link") or all(link["href"] == "data:," for link in page.of("link"))
        (policy,) = [meta["content"] for meta in page.of("meta") if "http-equiv" in meta]
        assert policy is not None
        assert policy.startswith("default-src 'none'")
        assert page.of("html")[0]["lang"] == "en"
        assert all(image["alt"] for image in page.of("img"))
        ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
        assert len(ids) == len(set(ids))
        assert len(page.of("h1")) == 1
        plots = [attributes for _, attributes in page.elements if "data-chart" in attributes]
        assert plots
        assert all(plot["aria-label"] and plot["role"] == "img" for plot in plots)
        inside = sum("plotly.js v" in script for script in page.scripts)
        assert inside == 1


def test_every_plot_is_one_that_plotly_takes(text, sweep_text):
    for one, names in (
        (text, {"density", "qq", "calibration", "loss", "selection"}),
        (sweep_text, {"best-density", "best-qq", "best-calibration", "criterion"}),
    ):
        page = Page(one)
        charts = page.content("charts")
        assert set(charts) >= names
        assert {plot["data-chart"] for _, plot in page.elements if "data-chart" in plot} <= set(charts)
        for chart in charts.values():
            # Names of the page's colours are looked up in the browser.
            graph_objects.Figure(json.loads(re.sub(r'"--[a-z0-9-]+"', '"#123456"', json.dumps(chart))))


def test_pictures_are_embedded_once_and_the_film_waits(text):
    page = Page(text)
    (picture,), (film,) = page.of("img"), page.of("video")
    assert str(picture["src"]).startswith("data:image/svg+xml;base64,")
    assert str(film["src"]).startswith("data:video/mp4;base64,")
    assert "controls" in film
    assert not {"autoplay", "loop"} & set(film)


def test_the_same_record_gives_the_same_bytes(folder, text, sweep_text):
    assert page_of(folder / "run") == text
    assert sweep_page_of(folder / "study") == sweep_text


def test_a_run_of_a_sweep_shows_the_diff_that_it_shares_with_others(folder, tmp_path):
    record = tmp_path / "study" / "0"
    shutil.copytree(folder / "run", record)
    about = read_json(record / "record.json")
    about["provenance"]["git"] = {"commit": "1" * 40, "dirty": True, "diff": "a" * 64}
    write_json(record / "record.json", about)
    shared = tmp_path / "study" / artifacts.DIFFS_OF_SWEEP.replace("*", "a" * 12)
    shared.write_text("-one line\n+and another\n", encoding="utf-8")
    assert "and another" in Page(page_of(record)).said
    shared.unlink()
    assert "and another" not in Page(page_of(record)).said


def poisoned(record, copy):
    """A record whose names, overrides, errors and provenance are HTML."""
    shutil.copytree(record, copy)
    about, data = read_json(copy / "record.json"), read_json(copy / "data.json")
    about["provenance"][EVIL] = {EVIL: EVIL}
    about["provenance"]["git"] = {"commit": None, "dirty": True, "diff": "0" * 64}
    about |= {"overrides": [EVIL], "command": EVIL, "verdict": [EVIL], EVIL: EVIL, "error": EVIL}
    write_json(copy / "record.json", about)
    write_json(copy / "data.json", {**data, "name": EVIL, "unit": EVIL, "source": EVIL})
    (copy / "code.diff").write_text(EVIL, encoding="utf-8")
    return copy


@pytest.mark.parametrize("name", ["run", "wild"])
def test_no_text_of_a_record_is_markup(folder, tmp_path, name):
    plain = Page(page_of(folder / name))
    found = Page(page_of(poisoned(folder / name, tmp_path / "copy"), place=EVIL, again=EVIL))
    tags = [tag for tag, _ in found.elements]
    assert tags.count("script") == len(plain.of("script"))
    assert tags.count("img") == len(plain.of("img"))
    assert not any(key.startswith("on") for _, attributes in found.elements for key in attributes)
    assert re.sub(r"\s+", " ", EVIL) in found.said
    for chart in found.content("charts").values():
        assert "<img" not in json.dumps(chart)


def test_no_text_of_a_sweep_is_markup(folder, tmp_path):
    copy = tmp_path / "study"
    shutil.copytree(folder / "study", copy)
    manifest = read_json(copy / "sweep.json")
    manifest |= {"name": EVIL, "command": EVIL}
    for run in manifest["runs"]:
        run["overrides"] = [f"{EVIL}={run['number']}{EVIL}"]
    write_json(copy / "sweep.json", manifest)
    for record in copy.glob("*/record.json"):
        write_json(record, {**read_json(record), "error": EVIL})
    plain, found = Page(sweep_page_of(folder / "study")), Page(sweep_page_of(copy))
    assert len(found.of("script")) == len(plain.of("script"))
    assert len(found.of("img")) == len(plain.of("img"))
    assert found.content("runs-data")["columns"][1]["name"].startswith(EVIL.split("=")[0])


def test_json_in_a_script_ends_nothing():
    text = rendering.script_json({"a": EVIL, "b": [1, None]})
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == {"a": EVIL, "b": [1, None]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        rendering.script_json(float("nan"))


def test_a_diverged_run_says_so_first_and_reports_no_numbers(folder):
    said = Page(page_of(folder / "wild")).said
    assert said.index("This run diverged and has no result") < said.index("What was asked")
    for absent in ("The answer", "Can it be trusted", "BIC"):
        assert absent not in said


@pytest.mark.parametrize(
    ("searches", "told"),
    [
        ((4, 3), ("the best of 4 independent searches and 3 starts", "3 of 4 independent searches found")),
        ((1, 1), ("the best of one search and 3 starts", "Only one search found this optimum")),
        (None, ("the best of 3 starts", "starts reached the best optimum")),
    ],
)
def test_a_page_says_how_the_optimum_was_looked_for(folder, tmp_path, searches, told):
    copy = tmp_path / "searched"
    shutil.copytree(folder / "run", copy)
    if searches:
        found = dict(zip(("searches", "searches_agree"), searches, strict=True))
        write_json(copy / "metrics.json", read_json(copy / "metrics.json") | found)
    said = Page(page_of(copy)).said
    assert all(words in said for words in told)


def test_an_optimum_as_its_search_left_it_used_no_steps(folder, tmp_path):
    copy = tmp_path / "as_it_stands"
    shutil.copytree(folder / "run", copy)
    write_json(copy / "metrics.json", read_json(copy / "metrics.json") | {"converged": False, "n_steps": 0})
    said = Page(page_of(copy)).said
    assert "It is where the search left it, and its gradient is" in said
    assert "Use more steps" not in said


def test_an_older_record_without_errors_restarts_and_verdict_has_a_page(folder, tmp_path, text):
    copy = tmp_path / "old"
    shutil.copytree(folder / "run", copy)
    (copy / "restarts.json").unlink()
    (copy / "selection.csv").unlink()
    parameters = read_json(copy / "parameters.json")
    write_json(copy / "parameters.json", {name: parameters[name] for name in Mixture._fields})
    about = read_json(copy / "record.json")
    write_json(
        copy / "record.json", {key: about[key] for key in ("status", "command", "overrides", "started", "ended")}
    )
    metrics = read_json(copy / "metrics.json")
    write_json(copy / "metrics.json", {name: metrics[name] for name in ("loss", "log_likelihood", "bic")})
    page = Page(page_of(copy))
    assert {"density", "qq", "calibration", "loss"} <= set(page.content("charts"))
    assert "not recorded" in page.said
    assert "How many components?" not in page.said


def test_a_failed_run_and_a_damaged_record_are_refused(folder, tmp_path):
    failed = tmp_path / "failed"
    failed.mkdir()
    write_json(failed / "record.json", {"status": "failed", "error": "no such column"})
    with pytest.raises(InputError, match=r"run: expected a run with numbers .* \(failed: no such column\)"):
        page_of(failed)
    damaged = tmp_path / "damaged"
    shutil.copytree(folder / "run", damaged)
    (damaged / "parameters.json").write_text("{}")
    with pytest.raises(InputError, match=r"parameters\.json: expected a file .* but got none with 'weights'"):
        page_of(damaged)


def test_data_that_are_not_of_the_mixture_are_told(folder, tmp_path):
    copy = tmp_path / "moved"
    shutil.copytree(folder / "run", copy)
    random = np.random.default_rng(0)
    n, k = read_json(copy / "data.json")["n_data"], len(read_json(copy / "parameters.json")["weights"])
    columns = {"datum": random.uniform(-5.0, 10.0, n), "label": np.zeros(n, np.int32)}
    columns |= {f"responsibility_{component}": np.full(n, 1.0 / k) for component in range(k)}
    write_columns(copy / "assignments.parquet", columns)
    said = Page(page_of(copy)).said
    assert "the data do not look like the mixture (p < 0.001)" in said
    assert said.index("Do not rely on this fit") < said.index("What was asked")


def test_the_table_of_a_sweep_has_every_run_and_first_what_differs(folder, sweep_text):
    table = Page(sweep_text).content("runs-data")
    names = [column["name"] for column in table["columns"]]
    assert names[:5] == ["run", "optimizer.learning_rate", "seed", "status", "bic"]
    columns = {column["name"]: column for column in table["columns"]}
    assert table["rows"] == 6
    assert columns["status"]["text"] == [*["finished"] * 4, "diverged", "finished"]
    assert [columns["status"]["kind"], columns["bic"]["kind"]] == ["text", "number"]
    assert columns["bic"]["values"][4] is None
    assert columns["bic"]["text"][4] == ""
    for row in (0, 3):
        expected = read_json(folder / "study" / str(row) / "metrics.json")["bic"]
        assert columns["bic"]["values"][row] == expected
    assert not columns["steps"]["differs"]
    assert table["best"] == 3
    assert table["links"] == ["0/", "1/", "2/", "3/", "4/", "5/"]


def test_a_sweep_tells_counts_reasons_and_its_best(folder, sweep_text):
    said = Page(sweep_text).said
    assert "A first sentence. " in said
    assert "5 finished, 1 diverged" in said
    assert "run 4 (optimizer.learning_rate=1e30, seed=4) diverged: after 60 steps" in said
    assert "Run 3 has the lowest BIC, 900.250" in said


def test_the_plot_of_a_criterion_is_linear_near_the_best_and_logarithmic_far_from_it():
    near, axis = plotting.excess_axis("BIC", [0.0, 12.0, np.nan])
    np.testing.assert_array_equal(near, [0.0, 12.0, np.nan])
    assert "tickvals" not in axis
    far, axis = plotting.excess_axis("BIC", [0.0, 5.0, 10.0, 100.0, 1000.0])
    np.testing.assert_allclose(far, [0.0, 0.5, 1.0, 2.0, 3.0])
    assert dict(zip(axis["ticktext"], axis["tickvals"], strict=True))["1,000"] == 3.0


def test_a_sweep_without_a_result_has_a_page(folder, tmp_path):
    copy = tmp_path / "study"
    shutil.copytree(folder / "study", copy)
    manifest = read_json(copy / "sweep.json")
    lost = [run for run in manifest["runs"] if "1e30" in str(run["overrides"])]
    write_json(copy / "sweep.json", {**manifest, "runs": lost})
    page = Page(sweep_page_of(copy))
    assert "No run has a result to compare" in page.said
    assert page.content("charts") == {}


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (3000.0, "3,000"), (-14624.6276, "−14,624.6"), (0.16587, "0.16587"), (1e-7, "1e−07"), (None, "–")],
)
def test_numbers_are_told_as_people_read_them(value, text):
    assert wording.number(value) == text


@pytest.mark.parametrize(
    ("value", "error", "estimate", "told"),
    [
        (0.165872, 0.0051, "0.1659", "0.0051"),
        (-1.99786, 0.041, "−1.998", "0.041"),
        (1234.5678, 12.3, "1,235", "12"),
        (1.0, float("nan"), "1", ""),
    ],
)
def test_an_estimate_has_the_digits_of_its_error(value, error, estimate, told):
    assert wording.with_error(value, error)[:2] == (estimate, told)


def test_each_reason_to_doubt_a_fit_is_said_in_words():
    """Those of degenerate and diverged fits have findings of their own; a record has doubts about a choice beside."""
    assert {*verdicts.DOUBTS} == {*map(str, Reason)} - {"diverged", "degenerate"} | {"choice"}
