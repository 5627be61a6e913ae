"""The pictures and the film of a record, drawn from its files alone: after the fit, or whenever they are asked for."""

import contextlib
import importlib
import logging
import threading
from pathlib import Path

from omegaconf import DictConfig

from gmm_pipeline.analysis import starts
from gmm_pipeline.analysis.candidates import chosen_row
from gmm_pipeline.records import artifacts, reading
from gmm_pipeline.records.timings import Timings
from gmm_pipeline.stages.animate import render

log = logging.getLogger(__name__)


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
                render(cfg.animation, reading.read(record), record / artifacts.ANIMATION)
    except Exception as error:
        log.exception("the pictures failed")
        return f"A picture failed: {type(error).__name__}: {error}."
    return ""


def _draw(cfg: DictConfig, record: Path) -> None:
    from gmm_pipeline.pictures import estimate_figures, figures

    drawn, size = reading.read(record), cfg.size
    known = {"unit": drawn.unit, "size": size}
    surest = drawn.bootstrap or drawn.asymptotic
    intervals = None if surest is None else surest.intervals
    density = {"degenerate": drawn.degenerate, "name": drawn.data_info["name"], **known}
    mixtures = drawn.fitted, drawn.truth
    pictures = {
        "fitted_density": figures.draw_density(drawn.data, drawn.sample_weights, *mixtures, **density),
        "loss": figures.draw_loss(drawn.history, size=size),
        "parameter_traces": figures.draw_parameter_traces(drawn.history, drawn.truth, **known),
        "weights": estimate_figures.draw_weights(*mixtures, intervals=intervals, **known),
    }
    if starts.worth_drawing(drawn.restarts):
        pictures["restarts"] = estimate_figures.draw_restarts(drawn.restarts, size=size)
    if drawn.bootstrap and drawn.asymptotic:
        pictures["bootstrap"] = estimate_figures.draw_bootstrap(
            artifacts.read_mixtures(record / artifacts.REPLICATES),
            *mixtures,
            intervals=drawn.bootstrap.intervals,
            asymptotic=drawn.asymptotic.intervals,
            **known,
        )
    if drawn.selection is not None:
        from gmm_pipeline.pictures.selection_figure import draw_selection_table

        criterion = str(drawn.config.get("criterion"))
        pictures["selection"] = draw_selection_table(drawn.selection, chosen_row(drawn.selection), criterion, size=size)
    for name, figure in pictures.items():
        figures.save_figure(figure, record / artifacts.FIGURES / name, formats=cfg.formats, dpi=cfg.dpi)
