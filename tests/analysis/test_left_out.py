"""Mixtures that are left out for components at the floor of the scales: which are told of, and which are not."""

import json
import re

import numpy as np
import pandas as pd
import pytest
import small_fits
from conftest import ROOT, Quick
from hydra import compose, initialize_config_dir
from scipy import stats

import gmm_pipeline as gmm
from gmm_pipeline.analysis.left_out import _are_different, without_ties
from gmm_pipeline.inference.families.normals import normals
from gmm_pipeline.inference.fits import fit
from gmm_pipeline.inference.jobs import Searched
from gmm_pipeline.inference.narrow import GAIN
from gmm_pipeline.model.covariances import Kind
from gmm_pipeline.model.mixture import Parameters
from gmm_pipeline.model.multivariate import parameters_of
from gmm_pipeline.model.natural import MultivariateMixture
from gmm_pipeline.stages import loading

RANDOM = np.random.default_rng(0)
NARROW, BROAD = RANDOM.normal(0.0, 0.002, 300), RANDOM.normal(0.5, 1.0, 300)
LINE = np.column_stack([RANDOM.normal(0.0, 1.0, 300), RANDOM.normal(0.0, 0.002, 300)]) @ [[0.8, 0.6], [-0.6, 0.8]]
CLOUD = RANDOM.normal(0.5, 1.0, (300, 2))


def searched(tmp_path, data: np.ndarray, *overrides: str) -> Searched:
    path = tmp_path / "data.npy"
    np.save(path, data)
    given = ("data=file", f"data.path='{path}'", "n_components=2", "prior=flat", "restarts=2", "search.rounds=8")
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        job = loading.load(compose("fit", overrides=[*given, *overrides]))
    untrained = job.fit._replace(trained=False)
    found = without_ties(job.fit, fit(untrained), job.units_of(job.fit)).searched
    assert found is not None
    return found


def test_a_narrow_component_of_many_different_data_is_told_of_with_its_gain(tmp_path):
    """The gain is at least that of the mixture which made the data, and little more."""
    data = np.concatenate([NARROW, BROAD])
    found = searched(tmp_path, data)
    normal = stats.norm.pdf
    density = 0.5 * normal(data, 0.0, 0.002) + 0.5 * normal(data, 0.5, 1.0)
    in_the_units_of_the_fit = np.log(density).sum() + len(data) * np.log(data.std())
    assert found.narrow is not None
    assert found.narrow.log_posterior == pytest.approx(in_the_units_of_the_fit, abs=10.0)
    assert found.left_out > 100.0


def test_a_thin_component_of_two_columns_is_told_of(tmp_path):
    data = np.concatenate([LINE, CLOUD])
    assert searched(tmp_path, data, "covariance=full").left_out > 100.0


def test_below_a_smaller_floor_nothing_is_left_out(tmp_path):
    found = searched(tmp_path, np.concatenate([NARROW, BROAD]), "scale_floor=0.001")
    assert found.left_out == -np.inf


@pytest.mark.parametrize("of_columns", [False, True])
def test_copies_and_rounded_data_are_not_told_of(tmp_path, of_columns):
    copies = np.concatenate([np.zeros(300), BROAD])
    rounded = np.concatenate([np.round(NARROW, 3), BROAD])
    if of_columns:
        copies, rounded = (np.column_stack([one, np.arange(600.0) % 37]) for one in (copies, rounded))
    for data in (copies, rounded):
        found = searched(tmp_path, data, *(["covariance=full"] if of_columns else []))
        # Copies in one of several columns may be a group.
        assert found.narrow is not None and found.narrow.is_tied if of_columns else not found.left_out > GAIN


def test_lines_of_a_grid_are_neither_told_of_nor_found(tmp_path):
    """Two clusters in whole numbers: a third component that narrows onto x = y has many different rows."""
    own = np.random.default_rng(5)
    data = np.round(np.concatenate([own.normal(0.0, 2.0, (300, 2)), own.normal(8.0, 2.0, (300, 2))]))
    assert not searched(tmp_path, data, "covariance=full", "n_components=3").left_out > GAIN


def test_ratings_with_one_factor_are_one_component():
    """Before rounding they are one normal. Components on the lines of their grid would be 1,300 nats better."""
    own = np.random.default_rng(7)
    ratings = np.clip(np.round(3.0 + 0.8 * own.normal(size=(300, 1)) + 0.7 * own.normal(size=(300, 4))), 1, 5)
    table = pd.DataFrame(ratings).add_prefix("q")
    overrides = ("search.rounds=12", "restarts=2", "selection.largest=4")
    found = gmm.fit(table, n_components="auto", covariance="EEE", prior="flat", overrides=overrides)
    assert len(found.weights) == 1
    assert found.selection is not None
    assert found.selection["barred"].tolist()[-1] == "rounded"


def test_a_group_at_one_value_of_a_rounded_column_is_told_of_and_found_with_a_prior():
    """No children and young, or one to four and older: a normal on the first group has no bound."""
    own = np.random.default_rng(1)
    group = np.repeat([0, 1], 200)
    children = np.where(group == 0, 0, own.integers(1, 5, 400))
    table = pd.DataFrame({"children": children, "age": own.normal(25.0 + 17.0 * group, 3.0 + 3.0 * group)})
    short = ["search.rounds=8", "restarts=2"]
    chosen = gmm.fit(table, n_components="auto", prior="flat", overrides=[*short, "selection.largest=2"])
    assert any(re.search("2 components would be about .* by the criterion", line) for line in chosen.verdict)
    found = gmm.fit(table, n_components=2, prior="weakly_informative", overrides=short)
    assert (found.labels[group == 0] == found.labels[0]).mean() > 0.98
    assert not any("rounding" in line for line in found.verdict)


def test_data_differ_in_every_direction_or_are_few_values():
    """The last is of incomplete data: the rows that have all cells may be one value in a column."""
    own = np.arange(600) < 300
    for data, differ in (
        (np.concatenate([LINE, CLOUD]), True),
        (np.concatenate([np.round(50.0 * CLOUD)[:, [0, 0]], CLOUD]), False),
        (np.column_stack([np.concatenate([LINE, CLOUD]), np.ones(600)]), False),
    ):
        assert _are_different(data, own, np.ones(600), 5.0) == differ
    heavy = np.where(np.arange(600) == 0, 1000.0, 1.0)
    assert not _are_different(np.concatenate([LINE, CLOUD]), own, heavy, 5.0), "one datum of great weight is one"


def test_one_row_of_great_weight_is_not_told_of(tmp_path):
    weights = np.where(np.arange(300) == 7, 100.0, 1.0)
    words = ("covariance=full", "data.columns=[0,1]", "data.weights_column=2", "data.weights_are=counts")
    assert searched(tmp_path, np.column_stack([CLOUD, weights]), *words).narrow is None


def test_a_few_data_are_not_told_of(tmp_path):
    """Six are, and 20 are more than happen to lie so close together."""
    assert not searched(tmp_path, np.concatenate([NARROW[:6], BROAD])).left_out > GAIN
    assert searched(tmp_path, np.concatenate([NARROW[:20], BROAD])).left_out > GAIN


def test_a_tight_group_in_a_wide_background_is_told_of(tmp_path):
    """The gain is that with the lower floor, and of all ways to choose 15 of 315 data few are intervals."""
    group = np.random.default_rng(3).normal(2.0, 0.001, 15)
    assert searched(tmp_path, np.concatenate([BROAD, group])).left_out > GAIN


def test_what_chance_gathers_is_not_told_of(tmp_path):
    for number in range(6):
        own = np.random.default_rng(number)
        data = own.standard_t(3, 500) if number % 2 else own.uniform(size=500)
        assert not searched(tmp_path, data, "n_components=4").left_out > GAIN


def test_the_command_says_which_model_is_left_out_and_what_to_do(quick: Quick, tmp_path):
    np.savetxt(tmp_path / "narrow.csv", np.concatenate([NARROW, BROAD]), header="x", comments="")
    words = (
        "n_components=auto",
        "selection.largest=3",
        "prior=flat",
        "restarts=2",
        "search.rounds=8",
        "figures=none",
        "animation=none",
        "tracking=none",
    )
    ended = quick("fit", "narrow.csv", *words, "scale_floor_of_many=1", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert re.search(r"2 components with free scales would be about [\d,]+ nats better by the criterion", ended.stdout)
    assert "use a smaller scale_floor_of_many" in ended.stdout
    (record,) = (tmp_path / "outputs" / "fit").iterdir()
    (doubt,) = (one for one in json.loads((record / "record.json").read_text())["doubts"] if one["reason"] != "choice")
    assert (doubt["reason"], doubt["bars"]) == ("narrow", False)
    lower = quick("fit", "narrow.csv", *words, cwd=tmp_path)
    assert "x: 600 observations, 2 components; " in lower.stdout
    assert "so that it does not hold for their components: scale_floor_of_many=0.0001 does" in lower.stdout


@pytest.mark.parametrize(("of_columns", "n"), [(False, 120), (True, 120), (False, 8), (True, 12)])
def test_clusters_much_narrower_than_their_distance_are_found(of_columns, n):
    """The maximum is that of three separate samples of normals. Few data are enough where chance would not do it."""
    own = np.random.default_rng(n)
    groups = [own.normal(place, 1.0, (n, 1 + of_columns)) for place in (0.0, 1000.0, 3000.0)]
    table = pd.DataFrame(np.concatenate(groups)).add_prefix("c")
    overrides = ("search.rounds=8", "restarts=2", "steps=100", "optimizer=squarem")
    fitted = gmm.fit(table, n_components=3, prior="flat", overrides=overrides)
    assert fitted.metrics["n_degenerate"] == 0
    order = np.argsort(fitted.locs.reshape(3, -1)[:, 0])
    means, spreads = ([getattr(group, name)(axis=0) for group in groups] for name in ("mean", "std"))
    np.testing.assert_allclose(fitted.locs.reshape(3, -1)[order], means, atol=1e-3)
    np.testing.assert_allclose(fitted.scales.reshape(3, -1)[order], spreads, rtol=1e-3)


def test_a_component_of_few_data_keeps_the_higher_floor():
    counts = np.array([3000.0, 40.0])
    of_columns = np.stack([np.eye(3), 0.003**2 * np.eye(3)])
    for few in (0.0, 0.01):
        fit = small_fits.job(data=np.zeros(3040), scale_floor=1e-4)._replace(floor_of_few=few)
        mixture = Parameters(np.log(counts), np.zeros(2), np.log([1.0, 0.003]))
        assert fit.plan.family.degenerate(fit, mixture, 1.0).tolist() == [False, few > 0.0]
        fit = small_fits.job(data=np.zeros((3040, 3)), covariance="VVV", family=normals(3, Kind.FULL), scale_floor=1e-4)
        fit = fit._replace(sample_weights=np.ones(3040), floor_of_few=few)
        mixture = parameters_of(MultivariateMixture(counts / 3040.0, np.zeros((2, 3)), of_columns), Kind.FULL)
        assert fit.plan.family.degenerate(fit, mixture, np.eye(3)).tolist() == [False, few > 0.0]
