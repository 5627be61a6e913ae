"""Data, from a generating spec or from a file: always float64, and finite, but for NaN in missing cells of rows.

Generated data are drawn in float32 whatever the precision of the fit, so that they depend only on their spec. Files are
read as data, never as code. Both yield a `Dataset`; a loader of your own is a function with keyword-only arguments that
returns one, named by `_target_` in a YAML file.
"""

import functools
import hashlib
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped

from gmm_pipeline.errors import InputError
from gmm_pipeline.model.large_data import MANY, ByIdentity, is_complete, slices
from gmm_pipeline.model.natural import AnyMixture, Mixture
from gmm_pipeline.model.vocabulary import LARGEST_SEED
from gmm_pipeline.records.artifacts import mixture_as_json
from gmm_pipeline.records.columns import COLUMNS, MOST_NAMED, Read, Text, Wanted, asked_of, read_numbers
from gmm_pipeline.records.data_checks import (
    check_columns,
    check_draws,
    check_mixture,
    check_spread,
    dependent_columns,
    never_together,
    whole,
)
from gmm_pipeline.records.overrides import hydra_list
from gmm_pipeline.records.sample_weights import COUNTS, PRECISION, check_meaning, check_total, counted, doubts_about
from gmm_pipeline.records.spooled import checked_share
from gmm_pipeline.records.truth import ordered, read_truth

MOST_DRAWS = 10**9
LEAST_COPIED = 10
"""Distinct values; fewer may occur equally often by chance."""
LEAST_COUNTED = 10
"""Values; fewer may be one, two, three and so on by chance."""


class Dataset(NamedTuple):
    """The observations and their description."""

    name: str
    unit: str | None
    source: str
    """The absolute path of a file, a description of how the data were generated, or that Python passed them."""
    source_type: Literal["file", "generated", "passed"]
    data: Float[np.ndarray, " n"] | Float[np.ndarray, "n d"]
    """[n] of one column, [n, d] of several, NaN where a value is missing; in float64, many also in float32."""
    sample_weights: Float[np.ndarray, " n"] | None
    """How often each datum counts, whatever the user's weights mean; None for once each."""
    truth: AnyMixture | None
    """The mixture from which they were drawn, in the order of `order_of`, if known."""
    components: Shaped[np.ndarray, " n"] | None
    """The true component of each datum, if known."""
    columns: tuple[str, ...] = ()
    """Their names; empty if one column was generated."""
    all_numeric: bool = False
    """Whether these are all numeric columns of the file, several of them, since none was named."""
    rows: Int[np.ndarray, " n"] | None = None
    """The row of each datum in the file, from 0, if rows without a value were left out."""
    n_rows: int | None = None
    """Of the file."""
    weights_are: str = COUNTS
    """What the user's weights mean, one of `sample_weights.MEANINGS`."""

    @property
    def column(self) -> str | None:
        """The name of the only column; None if there are several, or it has none."""
        return self.columns[0] if self.data.ndim == 1 and self.columns else None

    @property
    def n_missing(self) -> int:
        """Rows of the file that are left out, since they have no value."""
        return 0 if self.n_rows is None else self.n_rows - len(self.data)

    @property
    def n_incomplete(self) -> int:
        """Rows of which some values are missing, and others not."""
        if self.data.ndim == 1 or is_complete(self.data):
            return 0
        return sum(int(np.isnan(self.data[here]).any(axis=1).sum()) for here in slices(len(self.data)))

    @property
    def is_robust(self) -> bool:
        """Whether the weights say how much a datum is to be trusted, so that errors are those of the sandwich."""
        return self.weights_are == PRECISION

    @property
    def counts(self) -> Float[np.ndarray, " n"]:
        """How often each datum counts; ones if there are no sample weights."""
        if self.sample_weights is not None:
            return self.sample_weights
        n = len(self.data)
        return np.ones(n) if n <= MANY else np.broadcast_to(np.float64(1.0), n)

    @property
    def digest(self) -> str:
        """SHA-256 of the data and their sample weights, as little-endian float64; computed once for each dataset."""
        return _digest_of(ByIdentity(self))


@functools.lru_cache(maxsize=8)
def _digest_of(by_identity: ByIdentity[Dataset]) -> str:
    dataset, sha = by_identity.value, hashlib.sha256()
    for values in (dataset.data, *([] if dataset.sample_weights is None else [dataset.sample_weights])):
        for here in slices(len(values)):
            sha.update(np.ascontiguousarray(values[here], "<f8").data)
    return sha.hexdigest()


def describe(dataset: Dataset) -> dict[str, Any]:
    """The description of the data in a record, ready for JSON."""
    return {
        "name": dataset.name,
        "unit": dataset.unit,
        "source": dataset.source,
        "source_type": dataset.source_type,
        "column": dataset.column,
        **({"columns": list(dataset.columns)} if dataset.data.ndim > 1 else {}),
        "n_data": len(dataset.data),
        "n_missing": dataset.n_missing,
        **({"n_incomplete": dataset.n_incomplete} if dataset.n_incomplete else {}),
        "sample_weights": dataset.sample_weights is not None,
        **({} if dataset.sample_weights is None else {"weights_are": dataset.weights_are}),
        "digest": dataset.digest,
        "truth": None if dataset.truth is None else mixture_as_json(dataset.truth),
    }


def left_out(n_data: int, n_missing: int, n_incomplete: int) -> str:
    """How many rows of the file had no value, and how many not all, in brackets; empty if all have all.

    Args:
        n_data: rows with values.
        n_missing: rows without a value.
        n_incomplete: rows with values that lack some.
    """
    said = []
    if n_missing:
        said.append(f"{n_missing:,} of {n_data + n_missing:,} rows without a value are left out")
    if n_incomplete:
        said.append(f"{n_incomplete:,} of {n_data:,} rows have missing cells")
    return f" ({'; '.join(said)})" if said else ""


def taken_columns(dataset: Dataset) -> list[str]:
    """Which columns of a file were taken if none was named, as a sentence; empty if some were, or there is only one."""
    if not dataset.all_numeric or dataset.source_type != "file":
        return []
    names = ", ".join(dataset.columns[:MOST_NAMED]) + ", …" * (len(dataset.columns) > MOST_NAMED)
    fewer = shlex.quote(hydra_list(COLUMNS, dataset.columns[:2]))
    return [f"columns {names} of {Path(dataset.source).name}: all that are numeric; choose with {fewer}"]


def generate(
    *,
    name: Text,
    unit: Text | None,
    weights: Sequence[float | int],
    locs: Sequence[float | int],
    scales: Sequence[float | int],
    n_draws: int | float,
    counts: str,
    seed: int | float,
) -> Dataset:
    """Draw data from a mixture.

    Args:
        name: of the data.
        unit: of the data.
        weights: relative weights of the components, positive.
        locs: means.
        scales: standard deviations, positive.
        n_draws: number of observations in all.
        counts: `exact` gives each component its share of the draws, rounded to the largest remainder, in component
            order; `multinomial` draws the component of each datum.
        seed: of the random key.

    Raises:
        InputError: the spec is not a mixture, or its draws cannot be fitted.
    """
    from gmm_pipeline.model.mixture import key_of, sample_exact_counts, sample_multinomial

    check_mixture("data", weights, locs, scales)
    n_draws = whole("data.n_draws", n_draws, least=2, most=MOST_DRAWS)
    seed = whole("data.seed", seed, least=0, most=LARGEST_SEED)
    key = key_of(seed)
    weights, locs, scales = ([float(value) for value in values] for values in (weights, locs, scales))
    with np.errstate(over="ignore"):  # a loc or scale beyond float32 leads to draws that are not finite
        draws, components = by_counts(
            counts,
            exact=lambda: sample_exact_counts(key, locs, scales, apportion(n_draws, weights)),
            multinomial=lambda: sample_multinomial(key, weights, locs, scales, n_draws),
        )
    data = np.asarray(draws, np.float64)
    check_draws("data.locs and data.scales", data)
    return Dataset(
        name=str(name),
        unit=None if unit is None else str(unit),
        source=f"{n_draws} draws, {counts} counts, seed {seed}",
        source_type="generated",
        data=data,
        sample_weights=None,
        truth=ordered(Mixture(*map(np.asarray, (weights, locs, scales)))),
        components=np.argsort(np.argsort(locs, kind="stable"))[np.asarray(components)],
    )


def by_counts(counts: str, *, exact: Callable[[], Any], multinomial: Callable[[], Any]) -> Any:
    """Draws of one of the two kinds.

    Args:
        counts: of the config, `exact` or `multinomial`.
        exact: draws with the share of each component.
        multinomial: draws with the component of each datum.

    Raises:
        InputError: there is no such kind.
    """
    kinds = {"exact": exact, "multinomial": multinomial}
    if counts not in kinds:
        allowed = " or ".join(kinds)
        raise InputError("data.counts", expected=allowed, came=repr(counts), remedy="Set data.counts=exact.")
    return kinds[counts]()


def apportion(total: int, weights: Sequence[float | int]) -> list[int]:
    """Split a total into whole numbers in proportion to weights, by largest remainders (Hamilton's method).

    Args:
        total: to be split.
        weights: [K], of any positive sum.
    """
    shares = total * np.asarray(weights, np.float64) / np.sum(np.asarray(weights, np.float64))
    counts = np.floor(shares + 1e-9).astype(int)
    for index in np.argsort(counts - shares, kind="stable")[: total - counts.sum()]:
        counts[index] += 1
    return counts.tolist()


def from_file(
    *,
    path: Text,
    column: Text | None,
    columns: Sequence[Text],
    weights_column: Text | None,
    weights_are: str,
    missing: str,
    missing_codes: Sequence[Text],
    header: str,
    delimiter: Text | None,
    decimal: Text | None,
    comment: Text | None,
    in_memory: int | float,
    truth: Text | None,
    name: Text | None,
    unit: Text | None,
) -> Dataset:
    """Read one column of a CSV, Parquet, Arrow or npy file, or several.

    Args:
        path: the file; its suffix decides the format. A folder holds the Parquet parts of one table.
        column: name of the column (its number where columns have no names); None for the only numeric one, or all.
        columns: names of several columns, in place of `column`; empty for none.
        weights_column: the column of the sample weights; None for once each.
        weights_are: `counts`, `shares` or `precision`.
        missing: `error` refuses columns with missing values, `drop` leaves out each row that has one, `marginalise`
            keeps rows of several columns that have some, and leaves out those that have none.
        missing_codes: what stands for a missing value besides an empty cell and NaN.
        header: of CSV; `first`: the first row names the columns, `none`: it has data, `auto`: detected.
        delimiter: of CSV: comma, semicolon, tab, bar or whitespace; None: detected.
        decimal: of CSV: what decimals follow, point or comma; None: detected.
        comment: of CSV: how comment lines begin; None if there are none.
        in_memory: share of the memory that the columns may take; of more, those of Parquet and npy are read in
            batches into a temporary file, which is memory-mapped.
        truth: JSON file with `weights`, `locs` and `scales`, or `covariances`; None where the truth is unknown.
        name: of the data; None for the column's name, or the file's if it has none or there are several.
        unit: of the data.

    Raises:
        InputError: a file or column is missing, or its content cannot be used.
    """
    file = Path(str(path))
    wanted = Wanted(
        column=None if column is None else str(column),
        columns=tuple(map(str, columns)),
        weights_column=None if weights_column is None else str(weights_column),
        missing=missing,
        in_memory=checked_share(in_memory),
    )
    read = read_numbers(file, wanted, asked_of(header, delimiter, decimal, comment, missing_codes, wanted.names))
    return as_dataset(read, name, unit, truth, weights_are, source=str(file.absolute()), source_type="file")


def as_dataset(
    read: Read,
    name: Text | None,
    unit: Text | None,
    truth: Text | None,
    weights_are: str,
    *,
    source: str,
    source_type: Literal["file", "passed"],
) -> Dataset:
    """What was read, as a dataset.

    Args:
        read: columns of numbers.
        name: of the data; None for that of what was read.
        unit: of the data.
        truth: JSON file with the mixture that they were drawn from; None if unknown.
        weights_are: what the sample weights mean.
        source: where they come from.
        source_type: its kind.

    Raises:
        InputError: the truth cannot be read, or the weights have no such meaning.
    """
    check_meaning(weights_are, weighted=read.sample_weights is not None)
    return Dataset(
        name=str(name) if name is not None else read.name,
        unit=None if unit is None else str(unit),
        source=source,
        source_type=source_type,
        data=read.data,
        sample_weights=None if read.sample_weights is None else counted(read.sample_weights, weights_are),
        truth=None if truth is None else read_truth(Path(str(truth)), read.columns),
        components=None,
        columns=read.columns,
        all_numeric=read.all_numeric,
        rows=read.rows,
        n_rows=read.n_rows,
        weights_are=weights_are,
    )


def check_can_be_fitted(dataset: Dataset, where: str) -> None:
    """Refuse data to which no mixture can be fitted, although `predict` could label them.

    Args:
        dataset: any.
        where: their name for messages.

    Raises:
        InputError: a column is constant for all data of positive weight, float64 cannot represent its variance, two
            columns are the same but for their unit, or the sample weights are not counts.
    """
    counted = dataset.data
    if dataset.sample_weights is not None and not (dataset.sample_weights > 0).all():
        counted = dataset.data[dataset.sample_weights > 0]
    if counted.ndim == 1:
        another = "A mixture cannot be fitted to a constant; choose another column with data.column."
        check_spread(where, counted, remedy=another)
    else:
        check_columns(where, dataset.columns, counted)
    if dataset.sample_weights is not None:
        check_total(dataset.sample_weights, dataset.weights_are)


def doubts_about_weights(dataset: Dataset) -> list[str]:
    """Why sample weights may not be counts, as a sentence; empty if they may be."""
    weights = dataset.sample_weights
    return [] if weights is None else doubts_about(weights, dataset.weights_are)


def doubts_about_copies(dataset: Dataset) -> list[str]:
    """Whether rows may be copies of each other, as a sentence; empty if they may not, or if there are many rows."""
    if dataset.sample_weights is not None or len(dataset.data) > MANY:
        return []
    rows = np.nan_to_num(dataset.data, nan=np.inf)  # of which no two are equal otherwise
    _, times = np.unique(rows, return_counts=True, axis=0)
    if len(times) < LEAST_COPIED or times[0] == 1 or (times != times[0]).any():
        return []
    return [
        f"Every value occurs {times[0]} times. If these are copies rather than observations, leave them out: errors, "
        f"criteria and tests are those of {len(dataset.data):,} observations."
    ]


def doubts_about_row_numbers(dataset: Dataset) -> list[str]:
    """Which columns count the rows, of those that were taken since none was named, as a sentence for each."""
    n_data = len(dataset.data)
    if not dataset.all_numeric or not LEAST_COUNTED <= n_data <= MANY:
        return []
    counts = (np.arange(n_data) if dataset.rows is None else dataset.rows)[:, None]
    from_first = dataset.data - counts
    is_told = np.isfinite(from_first).sum(axis=0) >= LEAST_COUNTED
    counting = (is_told & (np.nanmax(from_first, axis=0) == np.nanmin(from_first, axis=0))).tolist()
    others = [name for name, counts_rows in zip(dataset.columns, counting, strict=True) if not counts_rows]
    remedy = f" To leave it out: {shlex.quote(hydra_list(COLUMNS, others))}" * (0 < len(others) <= MOST_NAMED)
    return [
        f"Column {name} counts the rows one by one, as a number of each row does and a measurement does not: "
        f"components will divide the rows by it.{remedy}"
        for name, counts_rows in zip(dataset.columns, counting, strict=True)
        if counts_rows
    ]


def why_singular(dataset: Dataset) -> str:
    """Why data of several columns do not determine full covariances, as a clause; empty if they do."""
    if dataset.data.ndim == 1:
        return ""
    counted = dataset.data if dataset.sample_weights is None else dataset.data[dataset.sample_weights > 0]
    n_data, n_columns = counted.shape
    if n_columns >= n_data:
        return f"{dataset.name} has {n_columns} columns and only {n_data} observations with a positive weight"
    apart = never_together(counted)
    if apart is not None:
        first, second = (dataset.columns[place] for place in apart)
        return f"no row of {dataset.name} has both {first} and {second}, so that nothing says how they are correlated"
    together = dependent_columns(counted)
    if not together:
        return ""
    names = ", ".join(dataset.columns[place] for place in together[:MOST_NAMED])
    return f"one of the columns {names} of {dataset.name} follows from the others, as shares that sum to 1 do"
