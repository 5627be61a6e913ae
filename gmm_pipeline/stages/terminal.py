"""What a command prints: progress bars, warnings and tables; colours only on a terminal."""

import contextlib
import io
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from gmm_pipeline.analysis.rounding import rounded, shortened, with_error
from gmm_pipeline.model.natural import AnyMixture, Mixture, MultivariateErrors, MultivariateMixture
from gmm_pipeline.model.noise import Noise
from gmm_pipeline.model.vocabulary import COUNTED
from gmm_pipeline.program import as_written
from gmm_pipeline.records import compiled
from gmm_pipeline.stages.tables import Column, Table, blocks

Numbers = Float[np.ndarray, " K"]
SECONDS_BEFORE_A_BAR = 1.0
SHORTEST = 1e-3
COMPILING = "compiling …"
SECONDS_BETWEEN_LOOKS, SECONDS_OF_LOADING = 0.1, 0.3
"""A program that takes longer than the second number is being compiled, not just loaded from disk."""
MOST_ROWS, LEAST_WEIGHT = 16, 0.01
"""If there are more components than the first number, those lighter than the second share one line."""


def say(*lines: str) -> None:
    """Print lines as they are, unwrapped, so that commands and paths can be copied."""
    console = _output(soft_wrap=True, markup=False, emoji=False)
    for line in lines:
        console.print(line)


def printed(say_it: Callable[[], None]) -> str:
    """What a function prints, as plain text: without colours, though the kernels of notebooks ask for them.

    Args:
        say_it: the function.
    """
    with contextlib.redirect_stdout(io.StringIO()) as stream:
        say_it()
    return Text.from_ansi(stream.getvalue()).plain.rstrip()


def _output(**settings: Any) -> Console:
    """What prints on stdout; text in a notebook as well, where rich would show HTML in its place."""
    return Console(highlight=False, force_jupyter=False, **settings)


def warn(message: str) -> None:
    """Print a warning on stderr."""
    Console(stderr=True, soft_wrap=True, highlight=False, markup=False).print(f"warning: {message}", style="yellow")


class Pace:
    """How fast the work goes that is done now: steps, searches, or another pass over the data."""

    def __init__(self, what: str, unit: str):
        """Begin.

        Args:
            what: the first work.
            unit: what is counted, except in work that counts something else.
        """
        self._began = self._last = self._since = time.perf_counter()
        self._what, self._done, self._unit = what, 0, unit

    def at(self, done: int, what: str) -> float:
        """How much is done in a second.

        Args:
            done: so far, of this work.
            what: the work.
        """
        if what != self._what or done < self._done:
            self._since = self._last
        self._what, self._done, self._last = what, done, time.perf_counter()
        return done / max(self._last - self._since, SHORTEST)

    @property
    def unit(self) -> str:
        """What is counted now."""
        return COUNTED.get(self._what, self._unit)

    @property
    def seconds(self) -> float:
        """Since the first work began."""
        return self._last - self._began


@contextlib.contextmanager
def progress_bar(what: str, unit: str) -> Iterator[Callable[..., None]]:
    """A progress bar with rate and time left; only on a terminal, and for work that takes longer than a second.

    Args:
        what: the work, as in "fitting".
        unit: what is counted, as in "steps".

    Yields:
        A function to call with (done, total) and, if it changes, the name of the work.
    """
    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[pace]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[left]}"),
        console=console,
        transient=True,
    )
    # Until something is done, as while a program is compiled, there is nothing to count.
    task = bar.add_task(what, total=None, pace="", left="")
    pace = Pace(what, unit)

    def advance(done: int, total: int, now: str = what) -> None:
        rate = pace.at(done, now)
        if not console.is_terminal or pace.seconds < SECONDS_BEFORE_A_BAR:
            return
        if not bar.live.is_started:
            bar.start()
        counted = f"{done:{len(str(total))}d}/{total} {pace.unit} {rate:,.0f}/s"
        bar.update(task, completed=done, total=total, description=now, pace=counted, left="left")

    with contextlib.ExitStack() as ended:
        ended.callback(lambda: bar.stop() if bar.live.is_started else None)
        if console.is_terminal:
            ended.enter_context(_show_compiling(bar, task, what))
        yield advance


@contextlib.contextmanager
def _show_compiling(bar: Progress, task: TaskID, what: str) -> Iterator[None]:
    """Show in the bar that a program is being compiled: nothing else moves the bar meanwhile."""
    done = threading.Event()

    def look() -> None:
        shown = False
        while not done.wait(SECONDS_BETWEEN_LOOKS):
            compiling = compiled.seconds_compiling() > SECONDS_OF_LOADING
            if compiling and not shown:
                bar.start()
                bar.update(task, description=COMPILING)
            elif shown and not compiling:
                bar.update(task, description=what)
            shown = compiling

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    try:
        yield
    finally:
        done.set()
        looking.join()


def parameter_table(fitted: Mixture, truth: Mixture | None, unit: str | None, errors: Mixture) -> Table:
    """Fitted parameters with their standard errors and the true ones, if known; one row per component.

    If there are many components, light ones are left out; `left_out` describes them.

    Args:
        fitted: ordered by loc.
        truth: matched to the fitted components, NaN for those without a partner; None if not known.
        unit: of the data.
        errors: standard errors of the fitted ones; NaN for none.
    """
    rows = _rows(fitted)
    columns = [Column("component", [str(row) for row in rows])]
    for name, values, of_values, true_values in zip(
        named_with_unit(unit), fitted, errors, truth or fitted, strict=True
    ):
        sizes = np.abs(fitted.weights) if values is fitted.weights else fitted.scales
        of_rows = values[rows], of_values[rows], true_values[rows], sizes[rows]
        columns += _with_errors(name, *of_rows, truth is not None)
    return Table(columns)


def multivariate_table(
    fitted: MultivariateMixture,
    truth: MultivariateMixture | None,
    names: Sequence[str],
    unit: str | None,
    errors: MultivariateErrors,
) -> Table:
    """Weights, locs and standard deviations of components of several columns, as `parameter_table` shows them.

    Args:
        fitted: in the order of `natural.order_of`.
        truth: matched to the fitted components, NaN for those without a partner; None if not known.
        names: of the columns of the data.
        unit: of the data.
        errors: standard errors of the fitted ones; NaN for none.
    """
    rows, n_columns = _rows(fitted), len(names)
    in_unit = f" [{unit}]" if unit else ""
    known = fitted if truth is None else truth
    first_of_each = range(0, n_columns * len(rows), n_columns)

    def long(values: Float[np.ndarray, "K d"]) -> Float[np.ndarray, " rows"]:
        return values[rows].ravel()

    def spread_out(column: Column) -> Column:
        cells = [""] * (n_columns * len(rows))
        for place, cell in zip(first_of_each, column.cells, strict=True):
            cells[place] = cell
        return column._replace(cells=cells)

    by_component = [
        Column("component", [str(row) for row in rows]),
        *_with_errors(
            "weight",
            fitted.weights[rows],
            errors.weights[rows],
            known.weights[rows],
            fitted.weights[rows],
            truth is not None,
        ),
    ]
    sizes = long(fitted.scales)
    return Table(
        [
            *map(spread_out, by_component),
            Column("column", [*names] * len(rows), "text", names_rows=True),
            *_with_errors(
                f"loc{in_unit}", long(fitted.locs), long(errors.locs), long(known.locs), sizes, truth is not None
            ),
            *_with_errors("sd", sizes, long(errors.scales), long(known.scales), sizes, truth is not None),
        ]
    )


def _with_errors(
    name: str,
    values: Numbers,
    errors: Numbers,
    true_values: Numbers,
    sizes: Numbers,
    has_truth: bool,
) -> list[Column]:
    """A quantity, its standard error and, if known, its true value."""
    printed = [with_error(*one) for one in zip(values, errors, sizes, strict=True)]
    columns = [
        Column(name, [value for value, _, _ in printed]),
        Column("± s.e.", [error for _, error, _ in printed], attached=True),
    ]
    if has_truth:
        ends = (end for _, _, end in printed)
        true = [shortened(rounded(value, end)) for value, end in zip(true_values, ends, strict=True)]
        columns.append(Column("true", true, attached=True, style="dim"))
    return columns


def named_with_unit(unit: str | None) -> list[str]:
    """Headers of weights, locs and scales."""
    in_unit = f" [{unit}]" if unit else ""
    return ["weight", f"loc{in_unit}", f"scale{in_unit}"]


def with_noise(columns: Sequence[Column], noise: Noise | None, *, errors: bool) -> list[Column]:
    """The columns of a table of components, with a row for the noise, which has a weight alone.

    Args:
        columns: component, weight, its error if there are errors, and others.
        noise: None without noise.
        errors: whether there are errors.
    """
    if noise is None:
        return list(columns)
    weight, error, _ = with_error(noise.weight, noise.standard_error if errors else math.nan, noise.weight)
    row = ["noise", weight, *[error] * errors]
    row += [""] * (len(columns) - len(row))
    return [column._replace(cells=[*column.cells, cell]) for column, cell in zip(columns, row, strict=True)]


def left_out(fitted: AnyMixture) -> list[str]:
    """A line about the components that the table leaves out, if any."""
    hidden = sorted({*range(len(fitted.locs))} - {*_rows(fitted)})
    if not hidden:
        return []
    together = float(fitted.weights[hidden].sum())
    return [f"and {len(hidden)} components below {LEAST_WEIGHT:.0%} each, {together:.2%} together"]


def _rows(fitted: AnyMixture) -> list[int]:
    few = len(fitted.locs) <= MOST_ROWS
    return [row for row, weight in enumerate(fitted.weights) if few or not weight < LEAST_WEIGHT]


def show(table: Table) -> None:
    """Print a table as wide as the terminal, or 80 columns wide in a pipe."""
    console = _output()
    written = [
        column._replace(header=as_written(column.header), cells=[as_written(cell) for cell in column.cells])
        for column in table.columns
    ]
    for number, block in enumerate(blocks(table._replace(columns=written), console.width)):
        if number:
            console.print()
        console.print(block, width=block.width, crop=False)


def plan_table(rows: Sequence[Sequence[str]]) -> Table:
    """What a sweep has to compute, one row per program."""
    programs, *numbers = zip(*rows, strict=True)
    headers = ("runs", "batches", "runs in a batch", "arrays / MB", "time / s, about")
    return Table([Column("program", programs, "text"), *map(Column, headers, numbers)])
