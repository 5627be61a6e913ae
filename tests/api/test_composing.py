"""Configs of calls from Python: those of Hydra, however often it is asked."""

import pytest

from gmm_pipeline.api import composing
from gmm_pipeline.configuration.config import config_directory
from gmm_pipeline.errors import InputError


@pytest.mark.parametrize(
    "lines",
    [
        [],
        ["seed=7", "n_components=3", "optimizer=squarem", "steps=12", "search.rounds=4", "data.n_draws=50"],
        ["data=file", "data.path=x.csv", "data.columns=[a,b]", "prior=flat", "selection.covariances=[EEE,VVV]"],
        ["experiment=notebook", "outputs_dir=~/there", "data.n_draws=${steps}"],
        ["optimizer.b3=0.5", "search=none"],
        ["seed=1,2"],
    ],
)
def test_configs_are_those_of_hydra(monkeypatch, lines):
    try:
        quick = composing.composed(lines), composing.composed(lines)
    except InputError as refused:
        quick = str(refused), str(refused)
    monkeypatch.setattr(composing, "_reads_own_files", lambda line: False)
    try:
        expected = composing.composed(lines)
    except InputError as refused:
        expected = str(refused)
    assert quick == (expected, expected)


def test_a_file_of_the_users_that_is_not_read_is_told(tmp_path):
    (tmp_path / "prior").mkdir()
    own = tmp_path / "prior" / "flat.yaml"
    own.write_bytes((config_directory() / "prior" / "flat.yaml").read_bytes())
    composing.composed(["prior=flat"], tmp_path)
    own.write_text("_target_: mine.ridge\n")
    with pytest.warns(UserWarning, match=r"prior/flat\.yaml is not read"):
        composing.composed(["prior=flat"], tmp_path)


def test_a_file_of_the_users_is_read_anew_each_time(tmp_path):
    (tmp_path / "experiment").mkdir()
    for seed in (3, 4):
        (tmp_path / "experiment" / "mine.yaml").write_text(f"# @package _global_\nseed: {seed}\n")
        assert composing.composed(["experiment=mine"], tmp_path)["seed"] == seed
