"""What a sweep from Python gives: a table with a row for each run, the fits, and the best of them."""

import html
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast, overload

from gmm_pipeline.analysis.sweep_answers import best_of, compared, same_data, with_results
from gmm_pipeline.api.results import Fit
from gmm_pipeline.errors import InputError
from gmm_pipeline.model.vocabulary import NAMES
from gmm_pipeline.records.files import arrow_of
from gmm_pipeline.records.sweep_table import table_columns
from gmm_pipeline.records.sweeps import SweepRun, differing_overrides
from gmm_pipeline.stages import terminal
from gmm_pipeline.stages.sweep_summary import SweepAnswer, answer_of, counted, print_answer

if TYPE_CHECKING:
    import pandas as pd

RECORD = "record"
"""A column of the command's table: the folder of a run."""


class FailedRun(NamedTuple):
    """A run of a sweep that could not be fitted."""

    number: int
    overrides: tuple[str, ...]
    """All of the run, in the command line's grammar."""
    error: str
    """Why, in a line; the table has it too."""


class Sweep(Sequence[Fit | FailedRun]):
    """The runs of a sweep, by number: each a `Fit`, or a `FailedRun` that says why there is none.

    Printed, it reads as the summary of the command line does; in a notebook it is a table of the best settings.
    """

    def __init__(
        self,
        results: Sequence[Fit | FailedRun],
        rows: Sequence[SweepRun],
        objective: str,
        gaps: Sequence[str],
        folder: Path | None = None,
    ):
        """Keep the runs.

        Args:
            results: [R], by number.
            rows: the same runs, as their records would be read.
            objective: the metric that they are ranked by.
            gaps: a sentence for each data set that lacks rows.
            folder: of the records; None if they were not written.
        """
        self.record = folder
        """The folder of the sweep; None if there is none."""
        self._results, self._rows = list(results), compared(rows)
        self._objective, self._gaps = objective, list(gaps)

    def __len__(self) -> int:
        return len(self._results)

    @overload
    def __getitem__(self, index: int) -> Fit | FailedRun: ...

    @overload
    def __getitem__(self, index: slice) -> list[Fit | FailedRun]: ...

    def __getitem__(self, index: int | slice) -> Fit | FailedRun | list[Fit | FailedRun]:
        return self._results[index]

    @cached_property
    def table(self) -> "pd.DataFrame":
        """One row per run, in their order: what differs between them, then the other columns of `sweep.parquet`.

        These are `run`, `status`, `error`, what all runs share, metrics, and the parameters of each component. Only
        `record` is missing, since no folder is written.
        """
        import pyarrow as pa

        columns = table_columns(self._rows)
        del columns[RECORD]
        differing = differing_overrides(self._rows)
        first = [f"override.{key}" if f"override.{key}" in columns else key for key in differing]
        order = [*first, *(name for name in columns if name not in first)]
        return pa.table({name: arrow_of(columns[name]) for name in order}).to_pandas()

    @property
    def best(self) -> Fit:
        """The fit with the lowest BIC, or the best by `objective=`, among those that may be compared.

        Fits that are degenerate or no optimum are not.

        Raises:
            InputError: the runs are of different data, or none has a result that may be compared.
        """
        name = NAMES.get(self._objective, self._objective)
        ranked = with_results(self._rows, self._objective)
        if not ranked:
            remedy = "The columns error and barred of its table say why."
            raise InputError("best", expected="a run with a result", came=counted(self._rows, len(self)), remedy=remedy)
        if not same_data(ranked):
            raise InputError(
                "best",
                expected=f"runs of the same data, whose {name} can be compared",
                came=f"runs of {len({run.data_digest for run in ranked}):,} data sets",
                remedy="Compare those of each data set: their rows of the table differ in the keys of data.",
            )
        return cast(Fit, self[best_of(ranked, self._objective)[1].number])

    @cached_property
    def _answer(self) -> SweepAnswer:
        return answer_of(self._rows, self._objective, "the table", len(self))

    def __repr__(self) -> str:
        return terminal.printed(self._say)

    def _say(self) -> None:
        terminal.say(*self._gaps, counted(self._rows, len(self)), "")
        print_answer(self._answer)

    def _repr_html_(self) -> str:
        """The best settings, what they mean, and runs without a result, for a notebook."""
        said = [*self._gaps, counted(self._rows, len(self))]
        table = ""
        if self._answer.best is not None:
            columns = self._answer.best.columns
            head = "".join(f"<th>{html.escape(column.header)}</th>" for column in columns)
            rows = zip(*(column.cells for column in columns), strict=True)
            body = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
            table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
            table += f"<p>and {self._answer.more:,} more</p>" * bool(self._answer.more)
        after = (*self._answer.meaning, *self._answer.lost)
        before = "".join(f"<p>{html.escape(line)}</p>" for line in said)
        return before + table + "".join(f"<p>{html.escape(line)}</p>" for line in after)
