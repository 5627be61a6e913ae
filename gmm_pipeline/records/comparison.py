"""Compare two records: whether they hold the same bits, and if not, which values differ, by how much, and why.

The digests decide: results are equal if their bytes are. Only files that differ are read, as arrays under dotted names.
Units in the last place refer to the type in which the fit was computed, since a float64 result of a float32 fit has the
errors of float32. The price: if the files of a record are missing or were edited, the comparison only shows that they
differ.
"""

import hashlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gmm_pipeline.records import artifacts
from gmm_pipeline.records.contents import damage_reported, read_config
from gmm_pipeline.records.files import leaves, read_columns
from gmm_pipeline.records.finding import read_part
from gmm_pipeline.records.json_files import read_json
from gmm_pipeline.records.provenance import COMPUTING

CACHE = "JAX_COMPILATION_CACHE_DIR"
"""The folder of compiled programs, which does not affect results."""
MADE_WITH = ("python", "platform", "machine", "cpu", "device", "devices", "jax")


class Difference(NamedTuple):
    """How one array of a result differs."""

    file: str
    key: str
    """Dotted name in the file; empty for the whole file."""
    n_values: int
    n_different: int
    largest_absolute: float | None = None
    """In the units of the values; None if they are not numbers."""
    largest_relative: float | None = None
    largest_ulps: float | None = None
    """In units in the last place of the type of the fit; None if they are not floats."""
    note: str = ""
    """A remark."""


class Circumstance(NamedTuple):
    """Something that changed, and may explain why the results differ."""

    what: str
    """code, version, device, setting, data, config or batch."""
    key: str
    before: Any
    now: Any

    def __str__(self) -> str:
        return f"{self.what} changed: {self.key} {_formatted(self.before)} → {_formatted(self.now)}"


class Comparison(NamedTuple):
    """The comparison of a record with the one that it repeats."""

    files: dict[str, bool]
    """Result files, and whether each has the same bytes."""
    differences: list[Difference]
    circumstances: list[Circumstance]

    @property
    def same(self) -> bool:
        """Whether all results have the same bytes."""
        return all(self.files.values())


def compare(before: Path, now: Path, without_effect: Collection[str]) -> Comparison:
    """Compare a record with the one that it repeats.

    Args:
        before: folder of the record that was run again.
        now: folder of the new record.
        without_effect: keys of the config that do not affect the fit.

    Raises:
        InputError: the record that was run again is damaged.
    """
    about, about_now = read_part(before / artifacts.RECORD), read_part(now / artifacts.RECORD)
    expected = about.get("digests", {}).get("results") or artifacts.digests_of(before)
    found = artifacts.digests_of(now)
    # A result that the record lacks was introduced after it.
    files = {name: sha == found.get(name) for name, sha in expected.items()}
    # What is compared is no more precise than float32 where records do not say more.
    precise = read_config(now).get("precision") == "float64"
    dtype = np.dtype("float64" if precise else "float32")
    differing = [name for name, same in files.items() if not same]
    differences = [one for name in differing for one in _of_file(before, now, name, expected, dtype)]
    circumstances = [*_circumstances(before, now, about, about_now), *_of_config(before, now, without_effect)]
    return Comparison(files, differences, circumstances)


def as_json(comparison: Comparison) -> dict[str, Any]:
    """What `comparison.json` says."""
    return {
        "same": comparison.same,
        "files": comparison.files,
        "differences": [one._asdict() for one in comparison.differences],
        "circumstances": [one._asdict() for one in comparison.circumstances],
    }


def changed_values(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Dotted keys of two configs whose values differ, with both values; None for a missing key.

    Args:
        before: a config, nested.
        now: another, nested.
    """
    old, new = dict(leaves(before)), dict(leaves(now))
    return [(key, old.get(key), new.get(key)) for key in dict.fromkeys([*old, *new]) if old.get(key) != new.get(key)]


def _of_file(
    before: Path, now: Path, name: str, expected: Mapping[str, str], dtype: np.dtype[Any]
) -> Iterator[Difference]:
    old, new = before / name, now / name
    if not new.exists():
        yield Difference(name, "", 0, 0, note="only the record has it")
        return
    if not old.exists():
        yield Difference(name, "", 0, 0, note="it differs; the record's own is gone")
        return
    if hashlib.sha256(old.read_bytes()).hexdigest() != expected[name]:
        yield Difference(name, "", 0, 0, note="it differs; the record's own is not what was written")
        return
    with damage_reported(before, name):
        arrays = _arrays(old)
    arrays_now = _arrays(new)
    found = [
        _of_array(name, key, arrays.get(key), arrays_now.get(key), dtype)
        for key in dict.fromkeys([*arrays, *arrays_now])
    ]
    differing = [one for one in found if one is not None]
    yield from differing or [Difference(name, "", 0, 0, note="the same values, written in another way")]


def _of_array(
    file: str, key: str, before: np.ndarray | None, now: np.ndarray | None, dtype: np.dtype[Any]
) -> Difference | None:
    if before is None or now is None:
        return Difference(file, key, 0, 0, note=f"only {'the rerun' if before is None else 'the record'} has it")
    if before.shape != now.shape:
        return Difference(file, key, now.size, now.size, note=f"{before.shape} values, now {now.shape}")
    if not {before.dtype.kind, now.dtype.kind} <= {"i", "u", "f"}:
        n_different = int(np.count_nonzero(before != now))
        one = f"{before[before != now][0]!s} → {now[before != now][0]!s}" if n_different else ""
        return Difference(file, key, now.size, n_different, note=one) if n_different else None
    differ = ~((before == now) | (np.isnan(before) & np.isnan(now)))
    if not differ.any():
        return None
    old, new = (values[differ].astype(np.float64) for values in (before, now))
    with np.errstate(invalid="ignore", over="ignore"):
        distance, size = np.abs(new - old), np.maximum(np.abs(old), np.abs(new))
        ulps = distance / np.spacing(size.astype(dtype)).astype(np.float64)
    floats = np.issubdtype(before.dtype, np.floating)
    return Difference(
        file,
        key,
        now.size,
        int(differ.sum()),
        largest_absolute=_largest(distance),
        largest_relative=_largest(distance / size),
        largest_ulps=_largest(ulps) if floats else None,
        note="" if np.isfinite(distance).all() else "some are not finite",
    )


def _largest(values: np.ndarray) -> float | None:
    finite = values[np.isfinite(values)]
    return float(finite.max()) if len(finite) else None


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """The contents of a result as arrays by dotted name."""
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as content:
            return {name: content[name] for name in content.files}
    if path.suffix == ".json":
        return dict(_arrays_of_json(read_json(path)))
    return {name: column.to_numpy(zero_copy_only=False) for name, column in read_columns(path).items()}


def _arrays_of_json(content: Any, prefix: str = "") -> Iterator[tuple[str, np.ndarray]]:
    if isinstance(content, Mapping):
        for key, value in content.items():
            yield from _arrays_of_json(value, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(content, list) and content and all(isinstance(item, Mapping) for item in content):
        keys = dict.fromkeys(key for item in content for key in item)
        yield from _arrays_of_json({key: [item.get(key) for item in content] for key in keys}, prefix)
    else:
        yield prefix, _as_array(content)


def _as_array(content: Any) -> np.ndarray:
    values = content if isinstance(content, list) else [content]
    if values and all(isinstance(value, list) for value in values):
        return _stacked([_as_array(value) for value in values])
    if all(type(value) is int for value in values):
        return np.array(values, np.int64)
    if all(isinstance(value, int | float | None) and type(value) is not bool for value in values):
        return np.array([np.nan if value is None else value for value in values], np.float64)
    return np.array([str(value) for value in values])


def _stacked(rows: list[np.ndarray]) -> np.ndarray:
    """Rows of the same shape as one array; others as text."""
    return np.stack(rows) if len({row.shape for row in rows}) == 1 else np.array([str(row.tolist()) for row in rows])


def _circumstances(
    before: Path, now: Path, about: Mapping[str, Any], about_now: Mapping[str, Any]
) -> Iterator[Circumstance]:
    """What changed between the records; what an older record does not have is not a difference."""
    made, made_now = about.get("provenance", {}), about_now["provenance"]
    yield from _of_code(about, about_now)
    versions, versions_now = made.get("versions", {}), made_now["versions"]
    for name in sorted(versions.keys() & versions_now.keys(), key=lambda name: name not in COMPUTING):
        yield from _changed("version", name, versions[name], versions_now[name])
    for name in MADE_WITH:
        if name in made:
            what = {"python": "version", "platform": "version", "jax": "setting"}.get(name, "device")
            for key, old, new in changed_values({name: made[name]}, {name: made_now[name]}):
                if CACHE not in key:
                    yield Circumstance(what, key, old, new)
    data, data_now = read_part(before / artifacts.DATA), read_part(now / artifacts.DATA)
    yield from _changed("data", data_now["source"], data["digest"], data_now["digest"])
    if "width" in about:
        for key, old, new in changed_values(about["width"], about_now["width"]):
            yield Circumstance("batch", f"width.{key}", old, new)


def _of_config(before: Path, now: Path, without_effect: Collection[str]) -> Iterator[Circumstance]:
    """Values that differ from the record's, including those of keys that were introduced after it."""
    with damage_reported(before, artifacts.CONFIG):
        config = read_config(before)
    for key, old, new in changed_values(config, read_config(now)):
        if key.partition(".")[0] not in without_effect:
            yield Circumstance("config", key, old, new)


def _of_code(about: Mapping[str, Any], about_now: Mapping[str, Any]) -> Iterator[Circumstance]:
    git, git_now = about.get("provenance", {}).get("git", {}), about_now["provenance"]["git"]
    digest, digest_now = about.get("digests", {}).get("code"), about_now["digests"]["code"]
    if digest == digest_now:
        return
    if digest is not None:
        yield Circumstance("code", "digest", digest, digest_now)
    yield from _changed("code", "commit", git.get("commit"), git_now["commit"])
    if git.get("diff") != git_now.get("diff"):
        yield Circumstance("code", "diff", git.get("diff"), git_now.get("diff"))
    elif digest is None and (git.get("dirty") or git_now["dirty"]):
        yield Circumstance("code", "uncommitted changes", git.get("dirty"), git_now["dirty"])


def _changed(what: str, key: str, before: Any, now: Any) -> Iterator[Circumstance]:
    if before != now:
        yield Circumstance(what, key, before, now)


def _formatted(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text[:12] if len(text) >= 40 and all(letter in "0123456789abcdef" for letter in text) else text
