"""What the terminal says of a fit besides its numbers: whether the data differ from it, and what was maximised."""

import re

import made_records
import numpy as np
import pytest
from conftest import ROOT
from hydra import compose, initialize_config_dir

from gmm_pipeline.analysis import agreement
from gmm_pipeline.analysis.answers import answer
from gmm_pipeline.records import reading
from gmm_pipeline.stages import fit, loading
from gmm_pipeline.stages.goodness import goodness_of_fit
from gmm_pipeline.stages.printing import under
from gmm_pipeline.stages.recording import record_of_fit
from gmm_pipeline.stages.running import resolved

RANDOM = np.random.default_rng(5)
SKEWED, NORMAL = RANDOM.exponential(3.0, 300), RANDOM.normal(4.0, 2.0, 300)


@pytest.fixture
def fitted(tmp_path):
    def run(data: np.ndarray, *overrides: str):
        np.save(tmp_path / "data.npy", data)
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            asked = ["data=file", f"data.path='{tmp_path}/data.npy'", "compilation_cache=null", "optimizer=em"]
            cfg = compose("fit", [*asked, "n_components=1", "restarts=1", *overrides])
            content = resolved(cfg)
        job = loading.load_resolved(content)
        return record_of_fit(content, job, answer(job, *fit.compute([job], content["execution"])))

    return run


def test_data_of_another_shape_differ_and_data_of_the_mixture_agree(fitted):
    (said,) = goodness_of_fit(fitted(SKEWED, "prior=flat"))
    assert said.startswith("data differ from the mixture, p < 0.001 (by Kolmogorov's distance, allowing for the ")
    found = fitted(NORMAL, "prior=flat")
    (said,) = goodness_of_fit(found)
    told = re.match(r"data agree with the mixture, p = ([\d.]+) \(", said)
    assert told
    # Lilliefors: the p-value of a normal distribution that was fitted to the data, by simulation.
    deviations = []
    for _ in range(400):
        draws = RANDOM.normal(size=300)
        mixture = found.fitted._replace(locs=draws.mean(keepdims=True), scales=draws.std(keepdims=True))
        deviations.append(agreement.calibration(agreement.sites_of(draws, None), mixture).largest)
    observed = agreement.calibration(agreement.sites_of(NORMAL, None), found.fitted).largest
    assert float(told.group(1)) == pytest.approx(np.mean(np.array(deviations) >= observed), abs=0.1)


def test_rounded_data_are_said_to_be(fitted):
    (said,) = goodness_of_fit(fitted(np.round(NORMAL / 2.0)))
    assert said.startswith("data differ") and "many observations are equal" in said


@pytest.mark.parametrize(
    ("data", "overrides"),
    [
        (NORMAL[:40], ()),  # too few for the asymptotic theory
        (SKEWED, ("optimizer=adam", "steps=2", "search=none")),  # no optimum
        (np.append(np.zeros(100), NORMAL), ("n_components=2", "prior=flat", "restarts=8", "search=none")),  # degenerate
    ],
)
def test_nothing_is_said_where_it_would_not_be_sure(fitted, data, overrides):
    assert goodness_of_fit(fitted(data, *overrides)) == []


@pytest.mark.parametrize(
    ("prior", "said"),
    [
        ("prior=flat", "maximum likelihood"),
        ("prior=dirichlet", "prior: dirichlet (concentration=2.0)"),
        ("prior=variance_penalty", "prior: variance_penalty (strength=0.01, variance=1.0)"),
    ],
)
def test_what_is_maximised_is_said_in_a_line(tmp_path, prior, said):
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        content = resolved(compose("fit", [prior]))
    assert under(reading.read(made_records.write_run(tmp_path / "run"))._replace(config=content)) == said
