"""A choice by tests among numbers of components of several columns: which fits are compared, and what is refused."""

import numpy as np
import pytest
from conftest import ROOT
from hydra import compose, initialize_config_dir

from gmm_pipeline.analysis import wording
from gmm_pipeline.analysis.estimates import candidates_of
from gmm_pipeline.errors import InputError
from gmm_pipeline.stages import loading

TESTED = ("criterion=likelihood_ratio", "likelihood_ratio=19")


def loaded(*overrides: str):
    given = ["data=three_clusters", "n_components=auto", "selection.largest=3", "prior=flat", *overrides]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return loading.load(compose("fit", overrides=given))


@pytest.mark.parametrize("model", ["full", "VEV", "EII"])
def test_all_numbers_of_components_have_the_model_that_is_tested(model):
    fits = candidates_of(loaded(f"covariance={model}", *TESTED))
    assert [fit.plan.n_components for fit in fits] == [1, 2, 3]
    assert {fit.covariance for fit in fits} == {"VVV" if model == "full" else model}


def test_models_that_are_the_same_for_one_component_are_compared_once():
    fits = candidates_of(loaded("covariance=auto", "selection.covariances=[EEE,VEV,VVV,VII]"))
    assert [fit.covariance for fit in fits if fit.plan.n_components == 1] == ["EII", "EEE"]


def test_tests_do_not_choose_a_covariance_model():
    with pytest.raises(InputError, match="covariance: expected one covariance model where criterion=likelihood_ratio"):
        loaded("covariance=auto", *TESTED)
    assert loaded("covariance=auto", "selection.covariances=[VVI]", *TESTED).asked.covariances == ("VVI",)


def test_models_that_the_data_are_too_few_for_are_left_out(tmp_path):
    rows = np.random.default_rng(2).normal(size=(14, 4))
    np.savetxt(tmp_path / "few.csv", rows, delimiter=",", header="a,b,c,d", comments="")
    given = ("data=file", f"data.path='{tmp_path}/few.csv'", "covariance=auto", "selection.covariances=[EEE,EEV,VVV]")
    fits = candidates_of(loaded(*given, "selection.largest=4"))
    compared = [(fit.plan.n_components, fit.covariance) for fit in fits]
    assert compared == [(1, "EEE"), (2, "EEE"), (2, "EEV"), (2, "VVV"), (3, "EEE"), (3, "EEV"), (4, "EEE")]
    (said,) = wording.models_left_out(loaded(*given, "selection.largest=4").asked, compared)
    assert said.endswith("so left out: from 3 components on VVV; from 4 components on EEV")
