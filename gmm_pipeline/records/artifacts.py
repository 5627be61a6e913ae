"""Names and formats of the files of a record, defined only here.

A record is the directory of one run:

| file | what |
| --- | --- |
| `.hydra/`, `fit.log` or `rerun.log` | Hydra's own: config, overrides, log |
| `config.yaml` | the resolved config |
| `data.json` | name, unit, digest and size of the data; the true mixture where it is known |
| `parameters.json` | `weights`, `locs`, `scales`, ordered by loc, in the user's units; standard errors and intervals |
| `metrics.json` | `loss`, `log_likelihood`, `aic`, `bic`, … |
| `restarts.json` | the outcome of each start |
| `selection.csv` | one row per candidate, where the number of components was chosen |
| `replicates.npz` | the mixture of each bootstrap replicate, where there are any |
| `history.npz` | steps, losses and parameters, thinned |
| `loss.csv` | steps and losses again, as a table that any tool can plot |
| `assignments.parquet`, `.csv` | one row per datum: the data, sample weight, label, its uncertainty, responsibilities |
| `figures/`, `animation/` | pictures |
| `code.diff` | what differs between the code that ran and its commit, if anything does |
| `comparison.json` | of a rerun: what differs from the record that was run again |
| `report.html` | the page that `report` wrote, if it did |
| `record.json` | status, command, versions, digests, timings, where it was tracked |

A mixture of several columns has `covariances` in place of `scales`, and its components are ordered by weight.

The runs of a sweep share `code-<digest>.diff` in the folder of the sweep.

Every file appears whole or not at all, and `record.json` is written after the numbers: a directory without it is not a
result. Pictures follow, so that a failed picture loses no fit.
"""

import hashlib
import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from jaxtyping import Float, Int

from gmm_pipeline.model.natural import (
    AnyErrors,
    AnyMixture,
    Mixture,
    MultivariateErrors,
    MultivariateMixture,
)
from gmm_pipeline.model.noise import Noise, NoisyMixture, noisy
from gmm_pipeline.records.files import (
    Part,
    opened,
    readable,
    whole_file,
    write_columns,
    write_text,
)

CONFIG = "config.yaml"
DATA = "data.json"
PARAMETERS = "parameters.json"
METRICS = "metrics.json"
RESTARTS = "restarts.json"
SELECTION = "selection.csv"
REPLICATES = "replicates.npz"
HISTORY = "history.npz"
LOSS = "loss.csv"
ASSIGNMENTS = "assignments.parquet"
ASSIGNMENTS_CSV = "assignments.csv"
FIGURES = "figures"
ANIMATION = "animation"
RECORD = "record.json"
CODE_DIFF = "code.diff"
DIFFS_OF_SWEEP = "code-*.diff"
COMPARISON = "comparison.json"
REPORT = "report.html"
HYDRA = ".hydra"
LOGS = ("fit.log", "rerun.log")

RESULTS = (PARAMETERS, METRICS, RESTARTS, SELECTION, REPLICATES, HISTORY, ASSIGNMENTS)
"""The results of a fit: the same bytes each time, with the same code, versions and device."""
ASKED = (CONFIG, DATA, LOSS, ASSIGNMENTS_CSV)
"""Other files that are complete before `record.json` is written; they may contain the path of the record."""
FILES = (CONFIG, DATA, *RESULTS, ASSIGNMENTS_CSV, LOSS, CODE_DIFF, COMPARISON, RECORD)
FORMAT = 1


def files_of(record: Path) -> list[Path]:
    """The files of a record, and nothing else that the user may keep in its folder."""
    files = [record / name for name in (*FILES, *LOGS, REPORT)]
    files += [file for name in (HYDRA, FIGURES, ANIMATION) for file in sorted((record / name).rglob("*"))]
    return [file for file in files if file.is_file()]


class History(NamedTuple):
    """The history of a fit: the state before step 0, then every `history_every` steps, then the end."""

    steps: Int[np.ndarray, " H"]
    """Optimizer steps taken so far."""
    losses: Float[np.ndarray, " H"]
    """Negative log posterior, summed over the data, in nats, for data in the user's units."""
    mixtures: AnyMixture
    """Parameters in the user's units, [H, K] and so on; components in the order of the final mixture."""


def digests_of(record: Path, names: Sequence[str] = RESULTS) -> dict[str, str]:
    """SHA-256 of files of a record, its results unless others are named.

    Args:
        record: its folder.
        names: of files in it; those that it lacks are left out.
    """
    there = ((name, record / name) for name in names)
    return {name: _digest_of_file(path) for name, path in there if path.is_file()}


def _digest_of_file(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_of(digests: Mapping[str, str]) -> str:
    """One SHA-256 for several files: that of the output of `sha256sum`."""
    return hashlib.sha256("".join(f"{sha}  {name}\n" for name, sha in digests.items()).encode()).hexdigest()


def write_diff(record: Path, diff: str, digest: str | None, *, of_sweep: bool) -> None:
    """Store a diff of the code with a record, once for all runs of a sweep that share it.

    Args:
        record: folder of the record.
        diff: the differences, possibly empty.
        digest: SHA-256 of the diff.
        of_sweep: whether the record belongs to a run of a sweep and lies in the sweep's folder.
    """
    if digest is None:
        return
    path = _of_sweep(record, digest) if of_sweep else record / CODE_DIFF
    if not path.exists():
        write_text(path, diff)


def find_diff(record: Path, digest: str) -> Path | None:
    """The file with the diff that a record names, if it still exists.

    Args:
        record: its folder.
        digest: of the diff, as the record's provenance has it.
    """
    places = (_of_sweep(record, digest), record / CODE_DIFF)
    return next((path for path in places if path.is_file()), None)


def _of_sweep(record: Path, digest: str) -> Path:
    return record.parent / DIFFS_OF_SWEEP.replace("*", digest[:12])


def mixture_as_json(mixture: AnyMixture | AnyErrors) -> dict[str, Any]:
    """A mixture, or the errors of one, as JSON, under its stable names."""
    return {name: np.asarray(values).tolist() for name, values in mixture._asdict().items()}


def mixture_from_json(content: Mapping[str, Any]) -> AnyMixture:
    """The mixture in a mapping with `weights`, `locs` and `scales`, or `covariances` of several columns.

    Raises:
        ValueError: these are not of one mixture.
    """
    kind = _kind_in(content)
    return _of_one_mixture(kind(*(np.asarray(content[name], np.float64) for name in kind._fields)))


def noise_from_json(content: Mapping[str, Any]) -> Noise | None:
    """The noise in the content of `parameters.json`; None without noise."""
    found = content.get("noise")
    return None if found is None else Noise(*(np.nan if found[name] is None else found[name] for name in Noise._fields))


def fitted_from_json(content: Mapping[str, Any]) -> AnyMixture | NoisyMixture:
    """The fitted mixture in the content of `parameters.json`, with its noise if there is any."""
    return noisy(mixture_from_json(content), noise_from_json(content))


def errors_from_json(content: Mapping[str, Any]) -> AnyErrors:
    """Standard errors, or ends of intervals, of every number that is reported of a mixture; NaN for null.

    Raises:
        ValueError: these are not of one mixture.
    """
    kind = MultivariateErrors if "covariances" in content else Mixture
    return _of_one_mixture(kind(*(np.asarray(content[name], np.float64) for name in kind._fields)))


M = TypeVar("M", bound=AnyMixture | AnyErrors)


def _of_one_mixture(mixture: M) -> M:
    """The same, once its arrays are known to be of floats, and of shapes that belong together."""
    each = mixture._asdict()
    kinds, shapes = {values.dtype.kind for values in mixture}, {name: values.shape for name, values in each.items()}
    of_components = mixture.weights.shape
    columns = mixture.locs.shape[len(of_components) :]
    expected = {"weights": of_components, "locs": (*of_components, *columns)}
    if not isinstance(mixture, Mixture):
        expected |= dict.fromkeys(("covariances", "correlations"), (*of_components, *columns, *columns))
    expected["scales"] = expected["locs"]
    together = len(columns) == (not isinstance(mixture, Mixture)) and shapes == {
        name: expected[name] for name in shapes
    }
    if kinds != {"f"} or not of_components or not together:
        raise ValueError(f"these are not arrays of one mixture: {shapes}")
    if 0 in mixture.locs.shape:
        raise ValueError("a mixture without components")
    return mixture


def _kind_in(content: Mapping[str, Any]) -> type[AnyMixture]:
    return MultivariateMixture if "covariances" in content else Mixture


def write_history(path: Path, history: History) -> None:
    """Write a history as npz.

    Args:
        path: of the file.
        history: H entries of K components, in the user's units.
    """
    _write_npz(path, {"steps": history.steps, "losses": history.losses, **history.mixtures._asdict()})


def write_loss(path: Path, history: History) -> None:
    """Write steps and losses of a history as CSV.

    Args:
        path: of the file.
        history: H entries; losses in nats.
    """
    write_columns(path, {"step": history.steps, "loss": history.losses})


def read_history(path: Path) -> History:
    """Read what `write_history` wrote.

    Raises:
        InputError: it is not an npz file, or lacks an array.
        ValueError: it has other arrays.
    """
    content = _read_npz(path)
    steps, losses, mixtures = content["steps"], content["losses"], _mixtures_in(content)
    if steps.dtype.kind not in "iu" or losses.dtype.kind != "f":
        raise ValueError(f"{path.name}: steps are whole numbers, and losses floats")
    if not steps.shape == losses.shape == mixtures.weights.shape[:1] or (np.diff(steps.astype(np.int64)) < 0).any():
        raise ValueError(f"{path.name}: steps, losses and mixtures are not of one history")
    return History(steps, losses, mixtures)


def write_mixtures(path: Path, mixtures: AnyMixture) -> None:
    """Write a stack of mixtures, [B, K], as npz.

    Args:
        path: of the file.
        mixtures: [B, K] each.
    """
    _write_npz(path, mixtures._asdict())


def _write_npz(path: Path, arrays: Mapping[str, Any]) -> None:
    buffer = io.BytesIO()  # zipfile writes in dozens of small pieces
    np.savez(buffer, **arrays)
    with whole_file(path) as stream:
        stream.write(buffer.getbuffer())


def read_mixtures(path: Path) -> AnyMixture:
    """Read what `write_mixtures` wrote.

    Raises:
        InputError: it is not an npz file, or lacks an array.
        ValueError: it has other arrays.
    """
    return _mixtures_in(_read_npz(path))


def _mixtures_in(content: Mapping[str, np.ndarray]) -> AnyMixture:
    kind = _kind_in(content)
    mixtures = _of_one_mixture(kind(*(content[name] for name in kind._fields)))
    if mixtures.weights.ndim != 2:
        raise ValueError(f"weights have {mixtures.weights.ndim} axes, not those of mixtures and components")
    return mixtures


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    with opened(path) as stream, readable(path), np.load(stream, allow_pickle=False) as content:
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in content.zip.infolist()):
            raise ValueError("compressed, as no file of a record is: it may be larger than the memory")
        return Part({name: content[name] for name in content.files}, path)
