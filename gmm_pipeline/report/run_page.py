"""The page about one run: what was asked, the answer and how sure it is, what speaks for and against it, provenance.

Everything is read from the record; the fit is not repeated. A page takes a second or two, most of it for imports
and for Plotly's script; the price of a page that is complete in itself.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

from gmm_pipeline.analysis import agreement, columns_agreement, deviations
from gmm_pipeline.analysis.candidates import best_rows
from gmm_pipeline.analysis.curves import LEAST_NAMED
from gmm_pipeline.analysis.goodness import noise_of
from gmm_pipeline.model.natural import Mixture, MultivariateMixture
from gmm_pipeline.records import artifacts
from gmm_pipeline.records.reading import Record, read_checked
from gmm_pipeline.report import (
    charts,
    column_charts,
    component_table,
    plotting,
    rendering,
    selection_chart,
    verdicts,
    wording,
)
from gmm_pipeline.report.plotting import Chart

SHOWN_ELSEWHERE = ("format", "status", "error", "name", "command", "overrides", "verdict")
MOST_OF_DIFF = 200_000
"""Characters of a diff that a page shows."""


class Settings(NamedTuple):
    """How the agreement with the data is judged."""

    level: float
    quantiles: int
    simulations: int
    seed: int


ONE_COLUMN = "Density of the fitted mixture and its components over a histogram of the data", ""


class Answer(NamedTuple):
    """The verdicts and plots of a fit, for the pages about runs and sweeps."""

    run: Record
    findings: list[verdicts.Finding]
    headline: verdicts.Finding
    charts: dict[str, Chart]
    components: tuple[str, str] = ONE_COLUMN
    """What the plot of the components shows, and its caption."""


def page(record: Path, *, place: str, again: str, settings: Settings, animation: Path | None = None) -> str:
    """The page as HTML.

    Args:
        record: folder of a run that finished or diverged.
        place: that folder, as people name it.
        again: the command that repeats the run from its record and compares.
        settings: for the agreement with the data.
        animation: folder of its animation; None for the record's own.

    Raises:
        InputError: the record has nothing to report.
    """
    run = read_checked(record)
    judged = answer(run, settings)
    selection, best = None, None
    if run.selection is not None:
        criterion = str(run.config.get("criterion"))
        selection = wording.selection_table(run.selection, criterion)
        best = best_rows(run.selection, criterion)
        drawn = selection_chart.selection(run.selection, criterion)
        if drawn is not None:
            judged.charts["selection"] = drawn
    return rendering.render(
        "run.html.j2",
        charts=judged.charts,
        title=f"{run.data_info['name']}, {wording.components(run)}",
        place=place,
        question=wording.question(run),
        asked=wording.asked_rows(run),
        selection=selection,
        best=best,
        again=again,
        pictures=rendering.pictures(record, rendering.PICTURES_OF_COLUMNS if run.columns else rendering.PICTURES),
        animation=rendering.animation(record / artifacts.ANIMATION if animation is None else animation),
        provenance=rendering.flattened(run.about, SHOWN_ELSEWHERE),
        origin=wording.origin(run.about),
        diff=_diff(record, run.about),
        verdict_lines=list(run.about.get("verdict", [])),
        **as_content(judged),
    )


def _diff(record: Path, about: Mapping[str, Any]) -> str:
    """What differed between the code that ran and its commit; all runs of a sweep may share the file."""
    digest = about.get("provenance", {}).get("git", {}).get("diff")
    path = None if digest is None else artifacts.find_diff(record, digest)
    if path is None:
        return ""
    text = path.read_text(encoding="utf-8", errors="replace")
    more = len(text) - MOST_OF_DIFF
    return text if more <= 0 else f"{text[:MOST_OF_DIFF]}\n… {more:,} characters more"


def answer(run: Record, settings: Settings) -> Answer:
    """The verdicts and plots of a run.

    Args:
        run: the record.
        settings: how the agreement with the data is judged.
    """
    if not run.finished or not charts.finite(run.fitted):
        drawn = {"loss": charts.loss(run)}
        return Answer(run, [], verdicts.headline(run, []), {name: chart for name, chart in drawn.items() if chart})
    judged = _of_columns(run, settings) if isinstance(run.fitted, MultivariateMixture) else _of_numbers(run, settings)
    recovered = verdicts.recovery(run)
    findings = [
        verdicts.convergence(run),
        verdicts.search(run),
        verdicts.soundness(run),
        *verdicts.doubts(run),
        judged.finding,
        *([] if recovered is None else [recovered]),
    ]
    drawn = {**judged.charts, "loss": charts.loss(run), "restarts": charts.restarts(run)}
    shown = {name: chart for name, chart in drawn.items() if chart}
    return Answer(run, findings, verdicts.headline(run, findings), shown, judged.components)


class Agreement(NamedTuple):
    """What differs between one column and several: plots of the components, and whether the data agree with them."""

    finding: verdicts.Finding
    charts: dict[str, Chart | None]
    components: tuple[str, str]


def _of_numbers(run: Record, settings: Settings) -> Agreement:
    fitted, noise = cast(Mixture, run.fitted), noise_of(run)
    sites = agreement.sites_of(run.data, run.sample_weights)
    quantiles = agreement.quantiles(sites, fitted, noise=noise, level=settings.level, most=settings.quantiles)
    calibration = agreement.calibration(sites, fitted, noise)
    null = None
    if not run.degenerate:
        null = deviations.null_of(
            calibration.largest,
            fitted,
            noise=noise,
            total=calibration.total,
            equal_scales=run.equal_scales,
            level=settings.level,
            simulations=settings.simulations,
            seed=settings.seed,
        )
    drawn: dict[str, Chart | None] = {
        "density": charts.density(run),
        "qq": charts.qq(quantiles, run.unit, settings.level),
        "calibration": charts.calibrated(calibration, null, agreement.kolmogorov(settings.level), settings.level),
    }
    finding = verdicts.agreement(run, calibration, null, quantiles, settings.level)
    return Agreement(finding, drawn, ONE_COLUMN)


def _as_compared(run: Record, finding: verdicts.Finding) -> verdicts.Finding:
    """The finding, with a word on what was left out of the comparison."""
    clauses = ["Only columns without missing cells are compared."] if run.incomplete else []
    clauses += [] if run.noise is None else ["Observations count as often as they are probably not noise."]
    return finding._replace(words=" ".join([finding.words, *clauses]))


def _of_columns(run: Record, settings: Settings) -> Agreement:
    fitted, level, omitted, whole = cast(MultivariateMixture, run.fitted), settings.level, run.incomplete, run
    run = run.of_complete_rows
    own, each = run.without_noise, whole.of_complete_columns.without_noise
    distances: list[columns_agreement.Distances] = []
    if len(run.data):
        data = own.data, own.sample_weights, cast(MultivariateMixture, own.fitted)
        distances = columns_agreement.distances(*data, own.responsibilities, level=level, most=settings.quantiles)
    finding, of_columns = verdicts.NO_COMPLETE_COLUMN, None
    if each.columns:
        fitted_to_each = cast(MultivariateMixture, each.fitted)
        calibrations = columns_agreement.marginals(each.data, each.sample_weights, fitted_to_each)
        judged = [] if omitted else distances
        finding = _as_compared(whole, verdicts.agreement_of_columns(calibrations, judged, each.columns, level))
        of_columns = column_charts.marginals(calibrations, columns=each.columns, level=level)
    if not len(run.data):
        return Agreement(finding, {"marginals": of_columns}, ("", ""))
    about = {"columns": run.columns, "unit": run.unit, "degenerate": run.degenerate}
    drawn = column_charts.components(run.data, fitted, run.responsibilities, **about)
    return Agreement(
        finding,
        {
            "density": drawn.chart,
            "mahalanobis": column_charts.mahalanobis(distances, n_columns=len(run.columns), level=level),
            "marginals": of_columns,
        },
        (drawn.alt, f"{drawn.caption} {omitted}." if omitted else drawn.caption),
    )


def as_content(judged: Answer) -> dict[str, Any]:
    """The variables of the templates for a fit."""
    run = judged.run
    rows = component_table.component_rows(run) if run.finished else []
    heavy = [
        row for row in rows if not wording.many(run) or row.degenerate or run.fitted.weights[row.number] >= LEAST_NAMED
    ]
    return {
        "run": run,
        "findings": judged.findings,
        "headline": judged.headline,
        "rows": heavy,
        "light_rows": [row for row in rows if row not in heavy],
        "headings": component_table.component_headings(run),
        "ordered_by": "weight" if run.columns else "loc",
        "about_components": judged.components,
        "intervals": component_table.interval_names(run),
        "metrics": wording.metric_rows(run.metrics) if run.finished else [],
        "component_color": lambda component: f"var({plotting.component_color(component)})",
        "level": 100.0 * (run.asymptotic.intervals.level if run.asymptotic else 0.0),
    }
