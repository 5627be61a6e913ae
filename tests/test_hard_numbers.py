"""Data that are hard for arithmetic: each fit is right or says in words that it is not, and no record holds NaN."""

import csv
import json
import math
from typing import Any

import numpy as np
import pytest

import gmm_pipeline as gmm

RANDOM = np.random.default_rng(0)
TWO = np.concatenate([RANDOM.normal(0, 1, 24), RANDOM.normal(8, 1, 16)])
PLANE = np.stack([TWO, RANDOM.normal(size=40)], axis=1)
# One program for one column and one for two: all data have 40 rows, and are fitted by EM.
SHORT: Any = {"n_components": 2, "prior": "flat", "search": "none", "optimizer": "em", "restarts": 2, "steps": 300}
DRAWN: Any = {"figures": "none", "animation": "none", "csv_rows": 100}


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} in a JSON file")


def errors_beside_degenerate(parameters: dict) -> list[float]:
    """What the record has as errors of locs and scales of degenerate components."""
    errors = parameters["standard_errors"]
    return [
        value
        for component in parameters["degenerate"]
        for name in ("locs", "scales")
        for value in np.ravel(np.array(errors[name][component], object))
        if value is not None
    ]


def fitted(data: Any, folder: Any, lines: Any = (), **keys: Any) -> gmm.Fit:
    """A fit whose record was looked through."""
    found = gmm.fit(data, record=folder / "record", overrides=lines, **{**SHORT, **DRAWN, **keys})
    files = sorted((folder / "record").iterdir())
    for file in (one for one in files if one.suffix == ".json"):
        content = json.loads(file.read_text(), parse_constant=refuse)
        if file.name == "parameters.json":
            assert not errors_beside_degenerate(content)
    for file in (one for one in files if one.suffix == ".csv"):
        cells = [cell for row in csv.reader(file.open()) for cell in row]
        assert not {"nan", "inf", "-inf"} & {cell.lower() for cell in cells}
    assert found.verdict
    return found


@pytest.mark.parametrize("data", [[1.0], [3.0] * 9, [[1.0, 2.0]], [[3.0, 2.0]] * 9, [1e-160, 3e-160], [1e200, -1e200]])
def test_what_no_mixture_fits_is_refused(data):
    with pytest.raises(gmm.InputError, match=r"at least two different values|variance float64 can hold"):
        gmm.fit(data, **SHORT)


@pytest.mark.parametrize("numbers", [[1.0, 2.0], [1.0, 2.0, 2.0, 1.0]])
def test_more_components_than_values_are_refused(numbers):
    with pytest.raises(gmm.InputError, match="at most 2, the number of distinct values"):
        gmm.fit(numbers, **{**SHORT, "n_components": 3})


@pytest.mark.parametrize(
    ("columns", "offset", "unit"), [(1, 1e9, 1.0), (1, 0.0, 1e-30), (2, 1e9, 1.0), (2, 0.0, 1e140)]
)
def test_offsets_and_units_change_nothing_but_themselves(tmp_path, columns, offset, unit):
    data = TWO if columns == 1 else PLANE
    plain, moved = gmm.fit(data, **SHORT), fitted(offset + unit * data, tmp_path)
    tolerance = 1e-5 if offset else 1e-9  # 1e9 leaves 1e-7 of unit scales
    for name in ("weights", "locs", "scales"):
        before, after = getattr(plain, name), getattr(moved, name)
        expected = before if name == "weights" else unit * before + offset * (name == "locs")
        np.testing.assert_allclose(after, expected, rtol=tolerance)
    np.testing.assert_allclose(moved.standard_errors.locs, unit * plain.standard_errors.locs, rtol=10 * tolerance)


@pytest.mark.parametrize("columns", [1, 2])
@pytest.mark.parametrize(
    ("name", "keys", "says"),
    [
        ("far", {}, "degenerate"),
        ("farther", {}, "degenerate|diverged"),
        ("ties", {}, "have the same"),
        ("few", {"n_components": 4, "sample_weight": (np.arange(40) < 5).astype(float)}, "degenerate"),
        ("diverges", {"optimizer": "sgd", "lines": ["optimizer.learning_rate=1e3"]}, "diverged"),
        ("collapses", {"scale_floor": 0.0}, "degenerate|have the same"),
        ("one heavy", {"sample_weight": np.where(np.arange(40) == 3, 1e12, 1.0)}, "degenerate"),
    ],
)
@pytest.mark.filterwarnings("ignore:The fit diverged", "ignore:The sample weights sum to")
def test_what_goes_wrong_is_said_in_words(tmp_path, columns, name, keys, says):
    data = TWO if columns == 1 else PLANE
    data = data.copy()
    if name.startswith("far"):
        data.flat[0] = 1e12 if name == "farther" else 1e6
    elif name in ("ties", "collapses"):
        data[:20] = 2.0
    found = fitted(data, tmp_path, **keys)
    assert any(word in " ".join(found.verdict) for word in says.split("|"))


@pytest.mark.parametrize("columns", [1, 2])
def test_weights_of_next_to_nothing_are_those_of_nothing(tmp_path, columns):
    data = TWO if columns == 1 else PLANE
    halves = [np.where(np.arange(40) % 2, least, 1.0) for least in (1e-12, 0.0)]
    tiny, none = (fitted(data, tmp_path / str(number), sample_weight=weights) for number, weights in enumerate(halves))
    np.testing.assert_allclose(tiny.locs, none.locs, rtol=1e-6)
    np.testing.assert_allclose(tiny.standard_errors.locs, none.standard_errors.locs, rtol=1e-4)


def test_heavy_tails_have_finite_numbers(tmp_path):
    found = fitted(np.random.default_rng(1).standard_cauchy(40), tmp_path, n_components=3)
    assert all(value is None or math.isfinite(value) for value in found.metrics.values() if not isinstance(value, str))


@pytest.mark.parametrize("data", [np.repeat(TWO[:20], 2), np.repeat(PLANE[:20], 2, axis=0)])
def test_copies_are_named(data):
    with pytest.warns(UserWarning, match="Every value occurs 2 times"):
        gmm.fit(data, **SHORT)
