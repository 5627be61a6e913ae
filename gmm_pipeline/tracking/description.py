"""The note of a run, which a tracker shows at its top: how good the fit is, the mixture, and the command."""

import re
from collections.abc import Mapping
from typing import Any

from gmm_pipeline.records.contents import Content

NOTE_COMPONENTS, NOTE_COLUMNS = 50, 6
"""Most components, and columns of the data, in the table of the mixture."""


def note(content: Content) -> str:
    """The verdict on the fit, the fitted mixture or why there is none, and the command, as Markdown."""
    reason = [content.record["error"], ""] if content.record.get("error") else []
    mixture = _mixture_table(content) if content.parameters else []
    lines = [*_warnings(content), *reason, *_verdict(content), *mixture]
    return "\n".join([*map(in_markdown, lines), "Run it again:", "", in_fence(content.record["command"])])


def in_markdown(text: str) -> str:
    """A text without HTML: names of columns, units and data may be anything.

    Args:
        text: Markdown of our own with names of others.
    """
    return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", text)


def in_fence(command: str) -> str:
    """A command as a block of Markdown that it cannot end itself.

    Args:
        command: of the shell.
    """
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", command)), default=0))
    return f"{fence}sh\n{command}\n{fence}"


def _warnings(content: Content) -> list[str]:
    """What must be read before any number."""
    status = content.record["status"]
    if status == "failed":
        return ["**This run failed.**", ""]
    if status == "diverged":
        return ["**This run diverged: its numbers are not a result.**", ""]
    degenerate = content.parameters.get("degenerate", [])
    lines = []
    if degenerate:
        which = ", ".join(map(str, degenerate))
        lines += [f"**Degenerate: component{'s' * (len(degenerate) > 1)} {which}.** Its likelihood is meaningless.", ""]
    lines += [
        line
        for doubt in content.record.get("doubts", [])
        if doubt["bars"]
        for line in (f"**Not reliable: {doubt['words']}.**", "")
    ]
    if content.metrics.get("converged") is False:
        lines += ["**Not converged: its numbers are not those of an optimum.**", ""]
    return lines


def _verdict(content: Content) -> list[str]:
    # For a run without a result, a warning says so above.
    sentences = content.record.get("verdict", []) if content.record["status"] == "finished" else []
    return [*(f"- {sentence}" for sentence in sentences), ""] if sentences else []


def _mixture_table(content: Content) -> list[str]:
    # The errors of the bootstrap need fewer assumptions than those of the observed information.
    source = content.parameters.get("bootstrap", content.parameters).get("standard_errors")
    columns = _columns(content, content.parameters)
    errors = _columns(content, source) if source else {}
    nothing = [None] * len(content.parameters["weights"])
    cells = [list(map(_estimate, values, errors.get(name, nothing))) for name, values in columns.items()]
    rows = [f"| {component} | {' | '.join(row)} |" for component, row in enumerate(zip(*cells, strict=True))]
    hidden = len(rows) - NOTE_COMPONENTS
    with_errors = " ± s.e." if source else ""
    n_columns, model = len(content.data.get("columns", ())), content.parameters.get("covariance_model")
    return [
        "| component | " + " | ".join(f"{name}{with_errors}" for name in columns) + " |",
        "| ---: |" + " ---: |" * len(columns),
        *rows[:NOTE_COMPONENTS],
        "",
        *([f"and {hidden} more", ""] if hidden > 0 else []),
        *([f"The first {NOTE_COLUMNS} of {n_columns} columns.", ""] if n_columns > NOTE_COLUMNS else []),
        f"fitted to {content.data['n_data']:,} observations"
        f"{f' of {n_columns} columns, covariance model {model}' if model else ''}: {content.data['name']}.",
        "",
    ]


def _columns(content: Content, parameters: Mapping[str, Any]) -> dict[str, list[float | None]]:
    """Weight, loc and scale of each component, or their errors, under their headings; the first few of many columns."""
    unit = f" ({content.data['unit']})" if content.data["unit"] else ""
    if "covariances" not in parameters:
        names = ("weight", f"loc{unit}", f"scale{unit}")
        return dict(zip(names, (parameters[name] for name in ("weights", "locs", "scales")), strict=True))
    found = {"weight": parameters["weights"]}
    for column, name in enumerate(content.data["columns"][:NOTE_COLUMNS]):
        found[f"{name}{unit}"] = [locs[column] for locs in parameters["locs"]]
        found[f"{name}, sd"] = [scales[column] for scales in parameters["scales"]]
    return found


def _estimate(value: float | int | None, error: float | int | None) -> str:
    text = "–" if value is None else f"{value:.4g}"
    return text if error is None else f"{text} ± {error:.2g}"
