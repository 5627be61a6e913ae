"""The pictures and the film of a record, drawn from its files alone: after the fit, or whenever they are asked for."""

import contextlib
import importlib
import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig

from gmm_pipeline.analysis.curves import Intervals
from gmm_pipeline.model.natural import Mixture
from gmm_pipeline.records import artifacts
from gmm_pipeline.records.artifacts import Assignments, History
from gmm_pipeline.records.contents import read_config
from gmm_pipeline.records.files import read_columns, read_json
from gmm_pipeline.records.timings import Timings
from gmm_pipeline.stages.animate import render

log = logging.getLogger(__name__)


class Drawn(NamedTuple):
    """What is drawn of a record."""

    name: str
    unit: str | None
    truth: Mixture | None
    fitted: Mixture
    degenerate: list[int]
    """Components, in the order of the fitted ones."""
    asymptotic: Intervals | None
    bootstrap: Intervals | None
    restarts: list[dict[str, Any]]
    history: History
    assignments: Assignments


class Selection(NamedTuple):
    """What was compared, as the record has it."""

    columns: dict[str, list[Any]]
    chosen: int | None
    criterion: str


def read(record: Path) -> Drawn:
    """What is drawn of a record, from its files; an older record has no intervals and no restarts."""
    data, parameters = read_json(record / artifacts.DATA), read_json(record / artifacts.PARAMETERS)
    restarts = record / artifacts.RESTARTS
    level = parameters.get("level", 0.0)
    return Drawn(
        name=data["name"],
        unit=data["unit"],
        truth=None if data["truth"] is None else artifacts.mixture_from_json(data["truth"]),
        fitted=artifacts.mixture_from_json(parameters),
        degenerate=parameters.get("degenerate", []),
        asymptotic=_intervals(parameters, level, "asymptotic"),
        bootstrap=_intervals(parameters.get("bootstrap", {}), level, "bootstrap"),
        restarts=read_json(restarts)["restarts"] if restarts.exists() else [],
        history=artifacts.read_history(record / artifacts.HISTORY),
        assignments=artifacts.read_assignments(record / artifacts.ASSIGNMENTS),
    )


def _intervals(content: Mapping[str, Any], level: float, method: str) -> Intervals | None:
    if "lower" not in content:
        return None
    lower, upper = (artifacts.mixture_from_json(content[end]) for end in ("lower", "upper"))
    return Intervals(lower, upper, level, method)


def read_selection(record: Path) -> Selection | None:
    """What was compared, or None where there was nothing to choose."""
    if not (record / artifacts.SELECTION).exists():
        return None
    columns = {name: list(column.to_pylist()) for name, column in read_columns(record / artifacts.SELECTION).items()}
    parameters = read_json(record / artifacts.PARAMETERS)
    answer = len(parameters["weights"]), parameters["scales_are"]
    candidates = list(zip(columns["n_components"], columns["scales"], strict=True))
    criterion = str(read_config(record).get("criterion"))
    return Selection(columns, candidates.index(answer) if answer in candidates else None, criterion)


def import_beside() -> None:
    """Import what draws in a thread, while the fit computes; where it cannot be imported, drawing says so."""

    def load() -> None:
        with contextlib.suppress(ImportError):
            importlib.import_module("gmm_pipeline.pictures.estimate_figures")

    threading.Thread(target=load, daemon=True).start()


def picture(cfg: DictConfig, record: Path, timings: Timings) -> str:
    """Draw and film a record; says what went wrong rather than raise it, since no fit is lost over a picture.

    Args:
        cfg: with the groups figures and animation.
        record: a folder with the numbers of a fit.
        timings: where the time is noted.
    """
    try:
        with timings.section("figures"):
            if cfg.figures.formats:
                _draw(cfg.figures, record)
        with timings.section("animation"):
            if cfg.animation.formats:
                drawn = read(record)
                film = record / artifacts.ANIMATION
                render(cfg.animation, drawn.history, drawn.assignments, drawn._asdict(), film)
    except Exception as error:
        log.exception("the pictures failed")
        return f"A picture failed: {type(error).__name__}: {error}."
    return ""


def _draw(cfg: DictConfig, record: Path) -> None:
    from gmm_pipeline.pictures import estimate_figures, figures

    drawn, size = read(record), cfg.size
    known = {"unit": drawn.unit, "size": size}
    data, sample_weights = drawn.assignments.data, drawn.assignments.sample_weights
    surest = drawn.bootstrap or drawn.asymptotic
    density = {"degenerate": drawn.degenerate, "name": drawn.name, **known}
    pictures = {
        "fitted_density": figures.draw_fitted_density(data, sample_weights, drawn.fitted, drawn.truth, **density),
        "loss": figures.draw_loss(drawn.history, size=size),
        "parameter_traces": figures.draw_parameter_traces(drawn.history, drawn.truth, **known),
        "weights": estimate_figures.draw_weights(drawn.fitted, drawn.truth, intervals=surest, **known),
    }
    if estimate_figures.restarts_tell(drawn.restarts):
        pictures["restarts"] = estimate_figures.draw_restarts(drawn.restarts, size=size)
    if drawn.bootstrap and drawn.asymptotic:
        pictures["bootstrap"] = estimate_figures.draw_bootstrap(
            artifacts.read_mixtures(record / artifacts.REPLICATES),
            drawn.fitted,
            drawn.truth,
            intervals=drawn.bootstrap,
            asymptotic=drawn.asymptotic,
            **known,
        )
    selection = read_selection(record)
    if selection is not None:
        from gmm_pipeline.pictures.selection_figure import draw_selection_table

        pictures["selection"] = draw_selection_table(*selection, size=size)
    for name, figure in pictures.items():
        figures.save_figure(figure, record / artifacts.FIGURES / name, formats=cfg.formats, dpi=cfg.dpi)
