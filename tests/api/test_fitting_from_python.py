import builtins
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy import stats

import gmm_pipeline as gmm
from gmm_pipeline.analysis import estimates
from gmm_pipeline.configuration.config import config_directory
from gmm_pipeline.records.json_files import read_json
from gmm_pipeline.records.passed import NAME, table_of

FAITHFUL = Path(__file__).parents[2] / "examples" / "data" / "faithful.csv"
TABLE = pd.read_csv(FAITHFUL)
WAITING: Any = TABLE["waiting"]
ALONE: dict[str, Any] = {"search": "none", "optimizer": "em", "n_components": 1}
"""The cheapest fit."""
NOTHING_BESIDE = ("figures=none", "animation=none", "tracking=none", "hydra.run.dir=record")


@pytest.fixture(scope="module")
def fit() -> gmm.Fit:
    return gmm.fit(TABLE["waiting"], n_components="auto", prior="flat", overrides=["selection.largest=3"])


@pytest.mark.parametrize(
    ("data", "column", "keys"),
    [
        (TABLE["waiting"], "data.column=waiting", {"prior": "flat", "steps": 500}),
        (
            TABLE["waiting"],
            "data.column=waiting",
            {"optimizer": "squarem", "seed": 3, "scales": "equal", "search": "none"},
        ),
        (
            TABLE[["eruptions", "waiting"]],
            "data.columns=[eruptions,waiting]",
            {"covariance": "tied", "prior": "flat", "search": "none", "restarts": 2},
        ),
    ],
)
def test_the_bits_are_those_of_the_command(
    quick: Callable[..., Any], tmp_path: Path, data: Any, column: str, keys: dict[str, Any]
) -> None:
    ended = quick("fit", str(FAITHFUL), column, *NOTHING_BESIDE, *(f"{key}={value}" for key, value in keys.items()))
    assert ended.returncode == 0, ended.stderr
    found = gmm.fit(data, **keys)
    parameters = read_json(tmp_path / "record" / "parameters.json")
    assert found.weights.tolist() == parameters["weights"]
    assert found.locs.tolist() == parameters["locs"]
    assert found.standard_errors.locs.tolist() == parameters["standard_errors"]["locs"]
    metrics = read_json(tmp_path / "record" / "metrics.json")
    assert json.loads(json.dumps(found.metrics)) == dict(metrics)
    # All that the command prints of the answer, but for what it says of the record.
    assert set(repr(found).splitlines()[1:]) <= {*ended.stdout.splitlines()}


def test_whatever_holds_the_numbers_gives_the_same_table() -> None:
    waiting = TABLE["waiting"].to_numpy(np.float64)
    without_name = [waiting, waiting.tolist(), pd.Series(waiting), pa.array(waiting), pa.chunked_array([waiting])]
    for held in without_name:
        table, weights = table_of(held)
        assert (table.names, table.numbered, weights) == (["0"], True, None)
        np.testing.assert_array_equal(np.asarray(table.read([0])[0]), waiting)
    frame = {"eruptions": TABLE["eruptions"], "waiting": TABLE["waiting"]}
    digests = {table_of(held)[0].digest for held in (frame, pa.table(frame), pa.table(frame).combine_chunks())}
    assert len(digests) == 1
    assert table_of(TABLE)[0].names == list(TABLE.columns)
    assert table_of(waiting)[0].digest != table_of(waiting[::-1])[0].digest


@pytest.mark.parametrize("missing", [np.nan, None])
def test_missing_values_are_refused_or_left_out(missing: float | None) -> None:
    values = [1.0, missing, *TABLE["waiting"].tolist()[1:]]
    with pytest.raises(gmm.InputError, match=r"missing value, the first in row 2"):
        gmm.fit(values)
    left = gmm.fit(values, overrides=["data.missing=drop"], **ALONE)
    assert left.metrics["n_data"] == len(TABLE)
    assert left.rows is not None
    assert left.rows.tolist() == [0, *range(2, len(values))]


def test_sample_weights_are_counts() -> None:
    values, counts = np.unique(TABLE["waiting"], return_counts=True)
    weighted = gmm.fit(values, sample_weight=counts, prior="flat", **ALONE)
    np.testing.assert_allclose(weighted.locs, [WAITING.mean()], rtol=1e-5)
    np.testing.assert_allclose(weighted.scales, [WAITING.std(ddof=0)], rtol=1e-4)
    with pytest.raises(gmm.InputError, match="sample_weight"):
        gmm.fit(values, sample_weight=counts[:-1])
    with pytest.raises(gmm.InputError, match="Give the weights once"):
        gmm.fit(values, sample_weight=counts, overrides=["data.weights_column=1"])


@pytest.mark.parametrize("factor", [1e-12, 1e12])
def test_sample_weights_of_other_meanings_have_any_sum(factor: float) -> None:
    values, counts = np.unique(TABLE["waiting"], return_counts=True)
    with pytest.raises(gmm.InputError, match=r"data.weights_column: .*(shares|common factor)"):
        gmm.fit(values, sample_weight=counts * factor * 1e20 ** (factor > 1), **ALONE)
    of_counts = gmm.fit(values, sample_weight=counts, prior="flat", **ALONE)
    for meaning, n in (("shares", len(values)), ("precision", counts.sum() ** 2 / np.sum(counts**2))):
        found = gmm.fit(values, sample_weight=counts * factor, weights_are=meaning, prior="flat", **ALONE)
        np.testing.assert_allclose(found.locs, of_counts.locs, rtol=1e-6)
        np.testing.assert_allclose(found.metrics["sum_of_weights"], n, rtol=1e-12)
        if meaning == "precision":
            expected = np.sqrt(np.sum((counts * (values - WAITING.mean())) ** 2)) / counts.sum()
        else:
            expected = WAITING.std(ddof=0) / np.sqrt(n)
        np.testing.assert_allclose(found.standard_errors.locs, [expected], rtol=1e-4)


@pytest.mark.parametrize(
    "keys",
    [
        {"weights_are": "shares"},
        {"weights_are": "frequencies", "sample_weight": [1.0, 2.0, 1.0]},
        {"weights_are": "shares", "sample_weight": [1.0, 2.0, 1.0], "overrides": ["data.weights_are=counts"]},
    ],
)
def test_what_weights_are_is_said_once_and_of_weights(keys) -> None:
    with pytest.raises(gmm.InputError, match="weights_are: expected one of counts, shares, precision"):
        gmm.fit([1.0, 2.0, 4.0], **keys)


def test_data_keep_their_name_beside_weights() -> None:
    named = gmm.fit(pd.Series([1.0, 2.0, 4.0, 8.0], name="waiting"), sample_weight=[5, 5, 5, 5], **ALONE)
    assert repr(named).startswith("waiting: 4 rows whose weights sum to 20")


@pytest.mark.parametrize("line", ["hydra.run.dir=here", "+hydra.sweep.dir=here", "hydra.output_subdir=null"])
def test_where_the_command_writes_to_is_refused_and_not_ignored(line):
    with pytest.raises(gmm.InputError, match=r"record=FOLDER"):
        gmm.fit(TABLE["waiting"], overrides=[line])


def test_data_are_not_passed_and_generated() -> None:
    with pytest.raises(gmm.InputError, match="data: expected no other data"):
        gmm.fit([1.0, 2.0, 4.0], overrides=["data=two_modes"])


def test_a_config_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text("n_components: 1\nsteps: 77\n")
    found = gmm.fit([1.0, 2.0, 4.0, 8.0], config=file, search="none", optimizer="em")
    assert (len(found.weights), found.config["steps"]) == (1, 77)


def test_a_fit_that_diverged_warns() -> None:
    with pytest.warns(UserWarning, match="The fit diverged"):
        found = gmm.fit(TABLE["waiting"], search="none", optimizer="sgd", overrides=["optimizer.learning_rate=1e30"])
    assert found.verdict == ("it diverged: its numbers are not a result",)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"n_componnts": 2}, "Did you mean n_components"),
        ({"prior": "flt"}, "Did you mean prior=flat"),
        ({"n_components": -1}, "n_components: expected a whole number from 1 to 10000, or auto, but got -1"),
        ({"n_components": 2.5}, "n_components"),
        ({"optimizer": {"learning_rat": 0.1}}, "learning_rate"),
        ({"steps": "many"}, "steps: expected a whole number, but got 'many'"),
        ({"seed": object()}, "seed: expected a number"),
    ],
)
def test_a_wrong_key_is_one_error_with_the_remedy(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(gmm.InputError, match=said):
        gmm.fit(TABLE["waiting"], **keys)


@pytest.mark.parametrize("data", [[], ["a", "b"], np.zeros((2, 2, 2)), object(), 5.0, [1.0, np.inf, 2.0]])
def test_what_is_no_table_of_numbers_is_refused(data: Any) -> None:
    with pytest.raises(gmm.InputError, match=NAME):
        gmm.fit(data)


def test_settings_of_jax_stay_those_of_the_caller() -> None:
    with jax.enable_x64(True):
        gmm.fit([1.0, 2.0, 4.0, 8.0], **ALONE)
        assert jax.config.values["jax_enable_x64"]


def test_an_answer_says_what_the_command_says(fit: gmm.Fit) -> None:
    assert len(fit.weights) == fit.metrics["n_components"] == 2
    assert fit.converged
    assert any("independent searches found this optimum" in clause for clause in fit.verdict)
    assert repr(fit).startswith("waiting: 272 observations, 2 components with equal scales")
    table = fit.selection
    assert table is not None
    assert table.loc[table["chosen"], "n_components"].tolist() == [2]
    assert table.loc[table["chosen"], "bic"].item() == table["bic"].min()


def test_intervals_are_of_any_level(fit: gmm.Fit) -> None:
    lower, upper = fit.intervals(0.6826894921370859)  # one standard error on each side
    np.testing.assert_allclose(upper.locs - fit.locs, fit.standard_errors.locs, rtol=1e-9)
    np.testing.assert_allclose(fit.locs - lower.locs, fit.standard_errors.locs, rtol=1e-9)
    assert (fit.intervals()[1].scales > upper.scales).all()
    with pytest.raises(gmm.InputError, match="bootstrap=500"):
        fit.intervals(method="bootstrap")
    with pytest.raises(gmm.InputError, match="level"):
        fit.intervals(95.0)


def test_new_data_are_evaluated_as_those_of_the_fit(fit: gmm.Fit) -> None:
    np.testing.assert_array_equal(fit.predict(WAITING), fit.labels)
    np.testing.assert_allclose(fit.log_density(TABLE["waiting"]).sum(), fit.metrics["log_likelihood"], rtol=1e-12)
    np.testing.assert_allclose(fit.responsibilities.sum(axis=1), 1.0, rtol=1e-12)
    np.testing.assert_array_equal(fit.sample(5, seed=1), gmm.sample(fit.mixture, 5, seed=1))


class ZMQInteractiveShell:
    """As rich recognizes the kernel of a notebook."""


def test_a_kernel_of_a_notebook_gets_the_same_plain_text(fit: gmm.Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = repr(fit)
    monkeypatch.setenv("FORCE_COLOR", "1")  # as kernels do
    monkeypatch.setattr(builtins, "get_ipython", ZMQInteractiveShell, raising=False)
    assert repr(fit) == plain


def test_a_notebook_shows_a_table_and_no_markup_of_the_data() -> None:
    named = pd.Series(TABLE["waiting"].to_numpy(), name="<b>x</b>")
    shown = gmm.fit(named, overrides=["data.unit='<i>'"], **ALONE)._repr_html_()
    assert shown.count("<tr>") == 2
    assert "±" in shown
    assert "<b>" not in shown
    assert "<i>" not in shown


def test_columns_of_a_frame_are_found_by_name() -> None:
    both = TABLE[["eruptions", "waiting"]]
    found = gmm.fit(both, n_components=2, optimizer="em", search="none", restarts=1, steps=20)
    for seen in (both, both[["waiting", "eruptions"]], both.assign(other="text"), both.to_numpy()):
        np.testing.assert_array_equal(found.predict(seen), found.labels)
        np.testing.assert_array_equal(gmm.labels(found, seen), found.labels)
    with pytest.raises(gmm.InputError, match="data: expected the columns of the fit: eruptions, waiting, but got a, b"):
        found.predict(both.set_axis(["a", "b"], axis=1))
    with pytest.raises(gmm.InputError, match=r"data: expected rows of 2 finite numbers, as in the fit"):
        found.predict(both.to_numpy().T)


def test_one_column_of_a_frame_or_an_array_is_a_column(fit: gmm.Fit) -> None:
    for seen in (TABLE[["waiting"]], TABLE, TABLE[["waiting"]].to_numpy(), TABLE[["waiting"]].set_axis(["x"], axis=1)):
        np.testing.assert_array_equal(fit.predict(seen), fit.labels)


def test_replicates_are_the_same_however_many_are_drawn_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    keys: dict[str, Any] = {"n_components": 1, "prior": "flat", "optimizer": "em", "search": "none", "restarts": 1}
    whole = gmm.fit(WAITING, bootstrap=20, **keys).intervals(method="bootstrap")
    reported: list[tuple[int, int]] = []

    def share(_: object, numbers: range, n: int) -> estimates.Progress | None:
        return own(lambda done, total, _: reported.append((done, total)), numbers, n)

    own = estimates._share
    monkeypatch.setattr(estimates, "REPLICATES_AT_ONCE", 8)
    monkeypatch.setattr(estimates, "_share", share)
    pieces = gmm.fit(WAITING, bootstrap=20, **keys).intervals(method="bootstrap")
    for one, other in zip(whole, pieces, strict=True):
        np.testing.assert_array_equal(one, other)
    assert reported == sorted(reported)
    assert {(8, 20), (16, 20), (20, 20)} <= {*reported} <= {(done, 20) for done in range(21)}


def test_standard_errors_are_those_that_are_printed() -> None:
    keys: dict[str, Any] = {"n_components": 1, "prior": "flat", "optimizer": "em", "search": "none", "restarts": 1}
    plain, resampled = gmm.fit(WAITING, **keys), gmm.fit(WAITING, bootstrap=20, **keys)
    assert resampled.standard_errors.locs[0] != plain.standard_errors.locs[0]
    assert f"{resampled.standard_errors.scales[0]:.2f}" in repr(resampled).splitlines()[-1]
    np.testing.assert_array_equal(resampled.intervals(0.9)[0].locs, plain.intervals(0.9)[0].locs)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"sample_weight": pd.Series(1.0, WAITING.index[::-1])}, "sample_weight: expected the index of the data"),
        ({"sample_weight": 2}, "sample_weight: expected numbers, one for each datum, but got 2"),
        ({"sample_weight": [np.nan] * len(WAITING)}, "column 'sample_weight': expected finite numbers"),
        ({"record": "a/${b}"}, r"record: expected a folder without \$\{ in its name"),
        ({"record": "~nobody-at-all/x"}, "record: expected a folder, but got ~nobody-at-all/x"),
        ({"record": " "}, "record: expected a folder, but got ' '"),
        ({"config_dir": "/nowhere"}, "config_dir: expected a folder, but got /nowhere"),
        ({"overrides": "data.unit=m"}, "overrides: expected a list of texts, but got 'data.unit=m'"),
    ],
)
def test_what_is_passed_beside_the_data_is_checked(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(gmm.InputError, match=said):
        gmm.fit(WAITING, n_components=1, **keys)


def test_a_spec_that_is_misspelt_is_guessed() -> None:
    with pytest.raises(gmm.InputError, match=r"data: expected a file, or one of .*Did you mean 'two_modes'\?"):
        gmm.fit("two_mode")


def test_a_column_of_candidates_without_values_is_not_printed(fit: gmm.Fit) -> None:
    assert fit.selection is not None
    assert np.isnan(fit.selection["held_out"].to_numpy(float)).all()
    assert "None" not in repr(fit)
    assert "held_out" not in repr(fit)


def test_columns_that_hold_no_numbers_are_named() -> None:
    mixed = pd.DataFrame({"a": [1.0, 2.0, 4.0, 8.0], "kind": list("xyxy"), "is_long": [True, False, True, False]})
    with pytest.warns(UserWarning, match="Columns that hold no numbers are not used: kind, is_long"):
        assert gmm.fit(mixed, **ALONE).columns == ("a",)


def test_rows_with_gaps_are_labelled_by_a_fit_of_such_rows() -> None:
    rows = pd.DataFrame({"a": [1.0, 1.5, 2.0, np.nan, 9.0, 9.5], "b": [0.0, 0.7, 0.2, 0.4, 5.0, 5.5]})
    fit = gmm.fit(rows, covariance="diagonal", overrides=["data.missing=marginalise"], **ALONE)
    np.testing.assert_array_equal(fit.predict(rows), fit.labels)
    sds = np.sqrt(np.diagonal(fit.covariances[0]))
    np.testing.assert_allclose(
        fit.log_density([[np.nan, 0.4]]), stats.norm.logpdf(0.4, fit.locs[0, 1], sds[1]), rtol=1e-9
    )
    for row in ([np.nan, np.nan], [np.inf, 0.0]):
        with pytest.raises(gmm.InputError, match="data: expected rows of 2 finite numbers"):
            fit.predict([row])


def test_a_generating_spec_of_the_users_is_named_as_those_of_the_program(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    spec = (config_directory() / "data" / "two_modes.yaml").read_text().replace("n_draws: 6000", "n_draws: 60")
    (tmp_path / "data" / "mine.yaml").write_text(spec)
    assert gmm.fit("mine", config_dir=tmp_path, **ALONE).metrics["n_data"] == 60
    with pytest.raises(gmm.InputError, match="Did you mean 'mine'"):
        gmm.fit("min", config_dir=tmp_path, **ALONE)
