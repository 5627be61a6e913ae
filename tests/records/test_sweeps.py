import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gmm_pipeline.errors import InputError
from gmm_pipeline.model.mixture import Mixture
from gmm_pipeline.records import artifacts, sweeps
from gmm_pipeline.records.files import write_json

FITTED = Mixture(np.array([0.25, 0.75]), np.array([-1.5, 2.5]), np.array([0.5, 1.5]))
METRICS = {"loss": 12.5, "bic": 31.0, "n_components": 2}


def manifest(*overrides: list[str], tracking=None) -> sweeps.Manifest:
    runs = [sweeps.ManifestRun(number, tuple(row), f"{number:064x}") for number, row in enumerate(overrides)]
    return sweeps.Manifest("0" * 32, "study", "fit -m", "2026-01-01T00:00:00+00:00", "bic", runs, tracking)


def write_record(folder, number: int, status: str = "finished", **record) -> None:
    directory = folder / str(number)
    if status != "failed":
        truth = artifacts.mixture_as_json(FITTED)
        write_json(directory / "data.json", {"name": "x", "unit": "mm", "digest": "ab", "truth": truth})
        write_json(directory / "metrics.json", METRICS)
        write_json(directory / "parameters.json", artifacts.mixture_as_json(FITTED))
    write_json(directory / "record.json", {"format": 1, "status": status, "digest": f"{number:064x}", **record})


TEXTS = st.text(max_size=12)
MANIFESTS = st.builds(
    sweeps.Manifest,
    id=TEXTS,
    name=TEXTS,
    command=TEXTS,
    started=TEXTS,
    objective=TEXTS,
    runs=st.lists(
        st.builds(
            sweeps.ManifestRun,
            number=st.integers(0, 10**6),
            overrides=st.lists(TEXTS, max_size=3).map(tuple),
            digest=st.none() | TEXTS,
        ),
        max_size=4,
    ),
    tracking=st.none() | st.dictionaries(TEXTS, TEXTS, max_size=2),
)


@given(MANIFESTS)
def test_manifest_comes_back(tmp_path_factory, written):
    folder = tmp_path_factory.mktemp("sweep")
    sweeps.write_manifest(folder, written)
    assert sweeps.read_manifest(folder) == written
    assert [path.name for path in folder.iterdir()] == ["sweep.json"]
    assert ("tracking" in json.loads((folder / "sweep.json").read_text())) == (written.tracking is not None)


def test_a_folder_without_manifest_is_no_sweep(tmp_path):
    with pytest.raises(InputError, match=r"the folder of a sweep, but got no sweep\.json"):
        sweeps.read_manifest(tmp_path)


@pytest.mark.parametrize(
    ("content", "came"),
    [
        ("{", "sweep.json: Expecting property name"),
        ("[]", "sweep.json is not a mapping"),
        ("{}", "none with 'id'"),
        ('{"format": 7}', "format 7, which a later version"),
        ('{"format": 1, "id": "x"}', "none with 'name'"),
        (
            json.dumps({"format": 1, **manifest([])._asdict(), "runs": [{"number": "0"}]}),
            r"Expected `int`, got `str` - at `\$\.runs\[0\]\.number`",
        ),
        (json.dumps({"format": 1, **manifest([])._asdict(), "name": 3}), r"Expected `str`, got `int` - at `\$\.name`"),
        (
            json.dumps(
                {"format": 1, **manifest()._asdict(), "runs": [{"number": 0, "overrides": "a", "digest": None}]}
            ),
            r"Expected `array`, got `str` - at `\$\.runs\[0\]\.overrides`",
        ),
    ],
)
def test_a_broken_manifest_is_named(tmp_path, content, came):
    (tmp_path / "sweep.json").write_text(content)
    with pytest.raises(InputError, match=came):
        sweeps.read_manifest(tmp_path)


def test_runs_are_read_in_the_order_of_their_numbers_and_interrupted_ones_left_out(tmp_path):
    asked = manifest(*([f"seed={seed}"] for seed in range(12)))
    for number in (11, 2, 10, 0):
        write_record(tmp_path, number)
    (tmp_path / "3").mkdir()
    (tmp_path / "3" / "metrics.json").write_text("{}")
    runs = sweeps.read_runs(tmp_path, asked._replace(runs=asked.runs[::-1]))
    assert [run.number for run in runs] == [0, 2, 10, 11]
    first = runs[0]
    assert (first.status, first.error, first.metrics, first.overrides) == ("finished", None, METRICS, ("seed=0",))
    assert (first.data_name, first.unit, first.data_digest, first.record) == ("x", "mm", "ab", "0")
    assert first.digest == f"{0:064x}"
    for mixture in (first.fitted, first.truth):
        assert mixture is not None
        for ours, expected in zip(mixture, FITTED, strict=True):
            np.testing.assert_array_equal(ours, expected)


def test_a_failed_run_says_why_and_has_no_result(tmp_path):
    write_record(tmp_path, 0, "failed", error="steps: expected more", digest=None)
    (run,) = sweeps.read_runs(tmp_path, manifest(["steps=0"]))
    assert (run.status, run.error, run.metrics, run.digest) == ("failed", "steps: expected more", {}, None)
    assert run.fitted is None and run.truth is None and run.data_digest is None


def test_what_diverged_is_read_with_its_numbers_missing(tmp_path):
    write_record(tmp_path, 0, "diverged")
    write_json(tmp_path / "0" / "metrics.json", {"loss": np.nan})
    write_json(tmp_path / "0" / "parameters.json", artifacts.mixture_as_json(Mixture(*(np.full(2, np.nan),) * 3)))
    (run,) = sweeps.read_runs(tmp_path, manifest(["seed=0"]))
    assert run.status == "diverged" and run.metrics == {"loss": None}
    assert run.fitted is not None and np.isnan(run.fitted.locs).all()


@pytest.mark.parametrize("damaged", ["record.json", "metrics.json", "parameters.json", "data.json"])
def test_a_damaged_record_costs_its_own_run_alone(tmp_path, damaged):
    for number in (0, 1):
        write_record(tmp_path, number)
    (tmp_path / "0" / damaged).write_text('{"weights": ')
    first, second = sweeps.read_runs(tmp_path, manifest(["seed=0"], ["seed=1"]))
    assert first.status == "failed" and "the record cannot be read" in str(first.error)
    assert second.status == "finished"


def test_override_values_know_hydras_prefixes():
    overrides = ["a=1", "+b.c=x=y", "++d=", "~e", "~f=3", "optimizer=sgd", "data@other=file"]
    expected = {"a": "1", "b.c": "x=y", "d": "", "e": "~", "f": "~", "optimizer": "sgd", "data@other": "file"}
    assert sweeps.override_values(overrides) == expected


def test_differing_overrides_count_a_missing_one_as_a_value():
    asked = manifest(["a=1", "same=2", "+b=0"], ["a=2", "same=2"], ["same=2", "a=1", "+b=0"])
    assert sweeps.differing_overrides(asked) == ["a", "b"]
    assert sweeps.differing_overrides(asked.runs) == ["a", "b"]
    assert sweeps.differing_overrides(asked.runs[:1]) == []
    assert sweeps.differing_overrides([]) == []


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.integers(0, 2), max_size=3), max_size=6), st.randoms())
def test_differing_overrides_do_not_depend_on_the_order_of_runs(rows, random):
    asked = manifest(*([f"{key}={value}" for key, value in row.items()] for row in rows)).runs
    shuffled = random.sample(asked, len(asked))
    assert set(sweeps.differing_overrides(asked)) == set(sweeps.differing_overrides(shuffled))
