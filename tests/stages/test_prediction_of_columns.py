"""What `predict` says of data of several columns, beside scikit-learn, and of data that the mixture is not of."""

import numpy as np
import pytest
from omegaconf import OmegaConf
from sklearn.mixture import GaussianMixture

from gmm_pipeline.model.natural import MultivariateMixture
from gmm_pipeline.records.datasets import Dataset
from gmm_pipeline.stages import predict
from gmm_pipeline.stages.predict import Job

MIXTURE = MultivariateMixture(
    np.array([0.7, 0.3]),
    np.array([[4.3, 80.0], [2.0, 54.0]]),
    np.array([[[0.2, 1.0], [1.0, 36.0]], np.diag([0.1, 30])]),
)
SETTINGS = OmegaConf.create({"alien_level": 1e-4, "alien_gap": 0.5})


def peer() -> GaussianMixture:
    made = GaussianMixture(2)
    made.weights_, made.means_, made.covariances_ = MIXTURE
    made.precisions_cholesky_ = np.linalg.cholesky(np.linalg.inv(MIXTURE.covariances))
    return made


def job(data: np.ndarray) -> Job:
    return Job(MIXTURE, "mine", Dataset("new", "min", "", "file", data, None, None, None, ("eruptions", "waiting")))


def own(n: int) -> np.ndarray:
    random = np.random.default_rng(n)
    components = (random.random(n) > MIXTURE.weights[0]).astype(int)
    whitened = random.standard_normal((n, 2))
    return MIXTURE.locs[components] + np.einsum(
        "nij,nj->ni", np.linalg.cholesky(MIXTURE.covariances)[components], whitened
    )


def test_labels_responsibilities_and_log_densities_are_those_of_scikit_learn():
    data = own(200)
    found = predict.compute(job(data))
    np.testing.assert_allclose(found.log_densities, peer().score_samples(data), rtol=1e-10)
    np.testing.assert_allclose(found.assignments.responsibilities, peer().predict_proba(data), rtol=1e-9, atol=1e-300)
    np.testing.assert_array_equal(found.assignments.labels, peer().predict(data))


def test_a_row_for_each_component_with_its_share_of_the_labels():
    made = job(own(50))
    table = {column.header: column.cells for column in predict.component_table(made, predict.compute(made)).columns}
    labelled = np.bincount(peer().predict(own(50)), minlength=2)
    assert table["component"] == ["0", "1"]
    assert [float(cell) for cell in table["waiting: loc [min]"]] == [80.0, 54.0]
    assert [float(cell) for cell in table["waiting: sd [min]"]] == pytest.approx([6.0, 30**0.5], rel=1e-3)
    assert [int(cell) for cell in table["labelled"]] == labelled.tolist()


def test_data_of_the_mixture_are_not_alien_and_swapped_columns_are():
    data = own(500)
    good, swapped = job(data), job(data[:, ::-1])
    assert predict.alien(SETTINGS, good, predict.compute(good)) is None
    said = predict.alien(SETTINGS, swapped, predict.compute(swapped))
    assert said is not None and "Check columns (eruptions, waiting) and unit" in said
