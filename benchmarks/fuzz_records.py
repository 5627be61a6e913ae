"""Damaged data files and damaged records: whatever is read ends in a result or in one message.

Cases are bit flips, truncations, headers that lie, values of other types, deep nests and missing keys. Half of the
records have digests of their damaged files, as a stranger's may. `benchmarks.fuzz` tries them.
"""

import copy
import functools
import io
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from hypothesis import strategies as st

from benchmarks import ROOT
from benchmarks.fuzz_tables import Damage, damaged, damages, scratch
from gmm_pipeline.errors import InputError
from gmm_pipeline.records import artifacts
from gmm_pipeline.records.schema import MANIFEST

RECORDS = ROOT / "tests" / "data" / "version_0.1.0"
"""Whole records, which are damaged here."""
SWEEP = "small"
"""A whole sweep among them."""
DEEP = "a deep nest"
"""Stands for a thousand brackets."""
NEST = "[" * 1000 + "]" * 1000
JUNK: tuple[Any, ...] = (
    *(None, True, 0, -1, 10**19, 10**400, 1e308, 0.5, "", "text", "1.5", "\ud800", "a" * 10_000, "../../x", "${a}"),
    *([], {}, [None], [[]], [1, 2], ["a"], {"a": 1}, {"weights": "a"}, DEEP, "2026-01-02", "<script>"),
)
"""What stands where another value should."""
TEXTS = ("", "null", "[]", "[1]", "{}", '"finished"', "3", "NaN", "[" * 100_000, '{"a":' * 100_000, "- " * 50_000, "\0")
"""What stands where the content of a file should."""
ARRAYS: tuple[np.ndarray, ...] = (
    *(np.array(["a", 1.0], object), np.array("x"), np.zeros(0), np.zeros((0, 2)), np.zeros((2, 0)), np.full(3, np.nan)),
    *(
        np.zeros((2, 2, 2)),
        np.arange(5),
        np.full((5, 2), np.inf),
        np.zeros(3, bool),
        np.zeros(2, "V4"),
        np.ones(2, "c16"),
    ),
)
NESTED = (
    artifacts.RECORD,
    artifacts.DATA,
    artifacts.PARAMETERS,
    artifacts.METRICS,
    artifacts.RESTARTS,
    artifacts.CONFIG,
)
STRUCTURED = (*NESTED, artifacts.HISTORY, artifacts.REPLICATES)


class Change(NamedTuple):
    """What is done to a file of a record."""

    file: str
    kind: str
    """`value`, `key`, `text`, `bytes` or `swap`."""
    places: list[float]
    """Which entry at each level, as a share of their number."""
    value: Any
    damage: Damage


class Case(NamedTuple):
    """A damaged record and who reads it."""

    record: str
    changes: list[Change]
    sealed: bool
    """Whether `record.json` has the digests of the damaged files."""
    reader: str

    @property
    def line(self) -> str:
        """What repeats it in Python."""
        return f"fuzz_records.attempt_record(fuzz_records.{self!r})"


def cases(readers: Sequence[str]) -> st.SearchStrategy[Case]:
    """Damaged records.

    Args:
        readers: names in `READERS`; those named more than once come more often.
    """
    files = (*STRUCTURED, artifacts.ASSIGNMENTS, artifacts.SELECTION)
    return _cases(files, ("one_column", "two_columns", "noise", "diverged"), readers)


def sweep_cases() -> st.SearchStrategy[Case]:
    """Damaged sweeps, whose page is made."""
    of_runs = [f"{number}/{name}" for number in range(2) for name in NESTED]
    return _cases((*(MANIFEST,) * 8, "sweep.parquet", "sweep.csv", *of_runs), (SWEEP,), ("sweep",))


def _cases(files: Sequence[str], records: Sequence[str], readers: Sequence[str]) -> st.SearchStrategy[Case]:
    kinds = st.sampled_from(("value",) * 4 + ("key",) * 2 + ("text", "bytes", "swap"))
    junk = st.sampled_from(range(max(len(JUNK), len(TEXTS), len(ARRAYS))))
    changes = st.builds(
        Change, st.sampled_from(files), kinds, st.lists(st.floats(0, 1), min_size=4, max_size=4), junk, damages()
    )
    return st.builds(
        Case,
        st.sampled_from(records),
        st.lists(changes, min_size=1, max_size=2),
        st.booleans(),
        st.sampled_from(readers),
    )


def _changed(content: bytes, change: Change, others: list[bytes]) -> bytes:
    name = Path(change.file).name
    if change.kind == "text":
        return TEXTS[change.value % len(TEXTS)].encode()
    if change.kind == "swap":
        return others[change.value % len(others)]
    if change.kind == "bytes" or name not in (*STRUCTURED, MANIFEST):
        return damaged(content, change.damage)
    if name.endswith(".npz"):
        return _changed_arrays(content, change)
    nested = copy.deepcopy(yaml.safe_load(content) if name == artifacts.CONFIG else json.loads(content))
    _change_nested(nested, change)
    if name == artifacts.CONFIG:
        text = yaml.safe_dump(nested, sort_keys=False, allow_unicode=True)
        return text.replace(DEEP, NEST).encode(errors="surrogatepass")
    return json.dumps(nested).replace(f'"{DEEP}"', NEST).encode()


def _change_nested(node: Any, change: Change) -> None:
    for depth, place in enumerate(change.places):
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not keys:
            return
        key = keys[min(int(place * len(keys)), len(keys) - 1)]
        is_last = depth == len(change.places) - 1 or not isinstance(node[key], dict | list) or change.value % 3 == 0
        if not is_last:
            node = node[key]
            continue
        if change.kind == "key":
            del node[key]
        else:
            node[key] = JUNK[change.value % len(JUNK)]
        return


def _changed_arrays(content: bytes, change: Change) -> bytes:
    with np.load(io.BytesIO(content)) as archive:
        arrays = {name: archive[name] for name in archive.files}
    name = list(arrays)[min(int(change.places[0] * len(arrays)), len(arrays) - 1)]
    if change.kind == "key":
        del arrays[name]
    elif change.value % 3 == 0:
        kind = (np.int64, np.float32, "U5", np.complex64)[change.value % 4]
        arrays[name] = np.nan_to_num(arrays[name]).astype(kind)
    elif change.value % 3 == 1:
        arrays[name] = arrays[name][: len(arrays[name]) // 2]
    else:
        arrays[name] = ARRAYS[change.value % len(ARRAYS)]
    buffer = io.BytesIO()
    (np.savez_compressed if change.value % 7 == 0 else np.savez)(buffer, allow_pickle=True, **arrays)
    return buffer.getvalue()


@functools.cache
def _records() -> tuple[Path, dict[Path, bytes]]:
    """Copies of whole records in a folder, and the content of each of their files."""
    folder = scratch() / "records"
    shutil.copytree(RECORDS / "fit", folder)
    shutil.copytree(RECORDS / "sweeps" / SWEEP, folder / SWEEP)
    return folder, {file: file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def attempt_record(case: Case) -> bool:
    """Damage a record, let it be read, and restore it; whether it could be read."""
    folder, whole = _records()
    record = folder / case.record
    touched = {record / change.file for change in case.changes}
    places = {file.parent for file in touched}
    touched |= {place / artifacts.RECORD for place in places}
    try:
        for change in case.changes:
            file = record / change.file
            if file in whole:
                others = [content for other, content in whole.items() if other.name == file.name]
                file.write_bytes(_changed(whole[file], change, others))
        for place in places if case.sealed else ():
            if place / artifacts.RECORD in whole:
                _seal(place)
        READERS[case.reader](record)
    except InputError:
        return False
    finally:
        for file in touched & whole.keys():
            file.write_bytes(whole[file])
    return True


def _seal(record: Path) -> None:
    """Write the digests of the files into `record.json`, if that can be read."""
    file = record / artifacts.RECORD
    try:
        about = json.loads(file.read_bytes())
        about["digests"]["results"] = artifacts.digests_of(record)
        about["files"] = artifacts.digests_of(record, artifacts.ASKED)
    except (ValueError, TypeError, KeyError, RecursionError):
        return
    file.write_text(json.dumps(about))


def _load(record: Path) -> None:
    from gmm_pipeline import load

    found = load(record)
    str(found), found._repr_html_(), found.labels, found.responsibilities


def _log(record: Path) -> None:
    from gmm_pipeline.records import contents
    from gmm_pipeline.tracking import loggable
    from gmm_pipeline.tracking.calls import entry_of

    content = contents.read(record)
    entry_of(record, content, loggable.run_name(content), 10)


def _page(record: Path) -> None:
    from gmm_pipeline.report import run_page

    run_page.page(record, place="", again="", settings=run_page.Settings(0.95, 50, 100, 0))


def _predict(record: Path) -> None:
    from gmm_pipeline.model import portable
    from gmm_pipeline.model.noise import parts
    from gmm_pipeline.records.finding import columns_of, read_fitted

    components, log_noise = parts(read_fitted(record))
    columns_of(record)
    portable.evaluate(*components, np.zeros((3, *components.locs.shape[1:])), log_noise)


def _pictures(record: Path) -> None:
    from gmm_pipeline.records.reading import read_checked

    read_checked(record).of_complete_rows  # noqa: B018 - it is computed


def _rerun(record: Path) -> None:
    from gmm_pipeline.configuration import command_help, config
    from gmm_pipeline.stages.rerun_arguments import routed

    config.register()
    command_help.register()
    routed([f"run={record}", "tracking=none"])


def _compare(record: Path) -> None:
    from gmm_pipeline.records.comparison import as_json, compare

    as_json(compare(record, RECORDS / "fit" / record.name, ()))


def _sweep(folder: Path) -> None:
    from omegaconf import DictConfig

    from gmm_pipeline.stages.report import page_of_sweep

    page_of_sweep(DictConfig({"level": 0.95, "quantiles": 50, "simulations": 100, "seed": 0}), folder)


READERS: dict[str, Callable[[Path], None]] = {
    "load": _load,
    "log": _log,
    "report": _page,
    "predict": _predict,
    "animate": _pictures,
    "rerun": _rerun,
    "compare": _compare,
    "sweep": _sweep,
}
