"""The data of a fit from Python: what they are in a config, and the mistakes in how they are passed."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gmm_pipeline.api.composing import overrides_of
from gmm_pipeline.api.simulated import Simulated
from gmm_pipeline.configuration.config import config_directory
from gmm_pipeline.errors import InputError, nearest
from gmm_pipeline.records.columns import MOST_NAMED
from gmm_pipeline.records.files import whole_file
from gmm_pipeline.records.overrides import hydra_override
from gmm_pipeline.records.passed import NAME, hold, table_of
from gmm_pipeline.records.sample_weights import KEY, MEANINGS, SHARES
from gmm_pipeline.records.tables import PassedTable

FROM_PYTHON = "gmm_pipeline.records.passed.from_python"
OF_TABLE = ("column", "columns", "weights_column", "weights_are", "missing", "missing_codes", "truth", "name", "unit")
"""Keys of `data=file` that a table in memory has too."""
DATA = "data.parquet"
"""A table that was passed, beside its record, so that it can be fitted again."""
CHOOSES, CHANGES = re.compile(r"\+{0,2}data="), re.compile(r"[+~]{0,2}data[=.@]")
"""Begin an override that chooses data, and one that chooses or changes them."""


class _Weights(NamedTuple):
    """Of data that are passed."""

    column: str | None
    """In which they are; None for those of the config."""
    meaning: str | None
    """None for that of the config."""


class Given(NamedTuple):
    """Data that were passed."""

    overrides: list[str]
    """That choose them, in front of all others."""
    amend: Callable[[dict[str, Any]], dict[str, Any]]
    """Puts into a resolved config what no override can express; a table is known as long as this is kept."""
    store: Callable[[dict[str, Any], Path], tuple[dict[str, Any], list[str]]]
    """Makes a resolved config one that can be run again, with what it needs in the folder of its record; returns it and
    the overrides that choose the data."""
    table: PassedTable | None = None
    """That was passed; None for data that are read or generated."""

    def unread(self, config: dict[str, Any]) -> list[str]:
        """A sentence that names columns that a fit does not use though nobody chose others; empty if there are none.

        Args:
            config: resolved.
        """
        node = config["data"]
        if self.table is None or node["column"] is not None or node["columns"]:
            return []
        numeric = {self.table.names[place] for place in self.table.numeric()}
        left = [name for name in self.table.names if name not in numeric]
        if not left or not numeric:
            return []
        few = ", ".join(left[:MOST_NAMED]) + ", …" * (len(left) > MOST_NAMED)
        return [f"Columns that hold no numbers are not used: {few}."]


def given(
    data: Any,
    sample_weight: Any,
    overrides: Sequence[str],
    weights_are: str | None = None,
    config_dir: str | Path | None = None,
) -> Given:
    """What was passed, as data of a config.

    Args:
        data: a table, data that were simulated, the path of a file, or the name of a generating spec.
        sample_weight: how often each datum counts, [n]; None for once each.
        overrides: of the fit.
        weights_are: what `sample_weight` means; None for what the config says.
        config_dir: a folder with generating specs of the user's, in its `data`.

    Raises:
        InputError: they cannot be used.
    """
    if weights_are is not None:
        _check_meaning(weights_are, sample_weight, overrides)
    refuse_other(overrides, CHANGES if isinstance(data, Simulated) else CHOOSES)
    if isinstance(data, list | tuple) and any(isinstance(one, str | Path | Simulated) for one in data):
        remedy = "Pass one at a time: results of different data cannot be compared."
        raise InputError("data", expected="one data set", came=f"a {type(data).__name__} of {len(data)}", remedy=remedy)
    if isinstance(data, str | Path | Simulated) and sample_weight is not None:
        raise InputError(
            "sample_weight",
            expected="None where data are read from a file or generated",
            came=type(sample_weight).__name__,
            remedy="Leave it out, or name a column of the file: overrides=['data.weights_column=NAME'].",
        )
    if isinstance(data, Simulated):
        return Given([], data.put_in, lambda content, _: (data.put_in(content), data.overrides))
    if isinstance(data, str | Path):
        chosen = _of_name(data, config_dir)
        return Given(chosen, lambda content: content, lambda content, _: (content, chosen))
    table, weights_column = table_of(data, sample_weight)
    weights = _Weights(weights_column, weights_are)
    digest, held = hold(table)

    def amend(content: dict[str, Any]) -> dict[str, Any]:
        node = _keys_of_table(content["data"], held, weights)
        return {**content, "data": {"_target_": FROM_PYTHON, "digest": digest, **node}}

    def store(content: dict[str, Any], folder: Path) -> tuple[dict[str, Any], list[str]]:
        of_file = content["data"]
        node = {**of_file, **_keys_of_table(of_file, held, weights), "path": str(folder / DATA)}
        _write(folder / DATA, held)
        changed = {key: value for key, value in node.items() if value != of_file[key]}
        return {**content, "data": node}, ["data=file", *overrides_of({"data": changed})]

    return Given(["data=file", "data.path=passed"], amend, store, held)


def _check_meaning(weights_are: str, sample_weight: Any, overrides: Sequence[str]) -> None:
    """Refuse a meaning of weights that are not passed, and one that an override contradicts."""
    said = next((line for line in overrides if line.lstrip("+").startswith(f"{KEY}=")), None)
    if weights_are not in MEANINGS or sample_weight is None or said is not None:
        raise InputError(
            "weights_are",
            expected=f"one of {', '.join(MEANINGS)}, for weights that are passed as sample_weight",
            came=repr(weights_are) + (f" and {said}" if said else "" if sample_weight is not None else " without them"),
            remedy="Pass sample_weight, and say once what it means."
            if weights_are in MEANINGS
            else f"For example weights_are={SHARES!r}.",
        )


def _write(file: Path, table: PassedTable) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    columns = [
        column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([pa.array(column)])
        for column in table.read(range(len(table.names)))
    ]
    with whole_file(file) as stream:
        parquet.write_table(pa.Table.from_arrays(columns, names=table.names), stream)


def refuse_other(overrides: Sequence[str], begins: re.Pattern[str]) -> None:
    """Refuse overrides that choose other data.

    Args:
        overrides: of the fit.
        begins: such an override.

    Raises:
        InputError: one does.
    """
    chosen = next((line for line in overrides if begins.match(line)), None)
    if chosen is not None:
        remedy = "Leave it out, or pass the name of the spec in place of the data."
        raise InputError("data", expected="no other data beside those that are passed", came=chosen, remedy=remedy)


def _of_name(data: str | Path, config_dir: str | Path | None) -> list[str]:
    """The overrides that choose a generating spec or a file."""
    folders = [config_directory(), *([] if config_dir is None else [Path(config_dir).expanduser()])]
    specs = {path.stem for folder in folders for path in (folder / "data").glob("*.yaml")} - {"file"}
    if str(data) in specs:
        return [f"data={data}"]
    close = nearest(str(data), sorted(specs))
    if close and not Path(data).expanduser().exists():
        expected = f"a file, or one of {', '.join(sorted(specs))}"
        raise InputError("data", expected=expected, came=repr(str(data)), remedy=f"Did you mean {close[0]!r}?")
    return ["data=file", hydra_override("data.path", str(data))]


def _keys_of_table(of_file: Mapping[str, Any], table: PassedTable, weights: _Weights) -> dict[str, Any]:
    """The keys of `data=file`, for a table in memory in place of a file."""
    node = {name: of_file[name] for name in OF_TABLE}
    if weights.meaning is not None:
        node["weights_are"] = weights.meaning
    if weights.column is not None:
        if node["weights_column"] is not None:
            raise InputError(
                "sample_weight",
                expected="None where data.weights_column names a column",
                came=f"both, and data.weights_column={node['weights_column']}",
                remedy="Give the weights once.",
            )
        node["weights_column"] = weights.column
    # Otherwise an array without a name would be called by the number of its column.
    if node["name"] is None and table.numbered:
        node["name"] = NAME
    return node
