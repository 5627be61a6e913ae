"""Between scikit-learn's names and shapes and those of this package; NumPy only."""

from typing import Any

import numpy as np
from jaxtyping import Float

from gmm_pipeline.errors import InputError
from gmm_pipeline.model.covariances import EQUAL, model_of
from gmm_pipeline.model.natural import AnyMixture, Mixture, MultivariateMixture, definite_or_identity

AUTO = "auto"
OURS = {"diag": "diagonal"}
"""The covariance type of scikit-learn that has another name in the config."""
DIAGONAL_OF = {"full": "VVI", "tied": "EEI"}
"""What is fitted in place of a covariance type of scikit-learn's that the rows do not determine."""
KEYS = {
    "n_init": "restarts",
    "max_iter": "steps",
    "tol": "tolerance",
    "covariance_type": "covariance",
    "random_state": "seed",
}
"""Parameters of the estimator, and the key of the config that each sets."""


def keys_of(n_components: Any, covariance_type: Any, n_columns: int) -> dict[str, Any]:
    """The keys of `fit` that say how many components there are, and what they share.

    One column has volumes alone, so of a covariance model only its first letter counts there.

    Args:
        n_components: K, or `auto`.
        covariance_type: of scikit-learn's names, one of mclust's, or `auto`.
        n_columns: d.

    Raises:
        InputError: there is no such covariance model.
    """
    if covariance_type == AUTO:
        if n_columns > 1 or n_components == AUTO:
            return {"n_components": n_components, "covariance": AUTO}
        # Of one column only a selection compares kinds of scales.
        return {"n_components": AUTO, "selection": {"smallest": n_components, "largest": n_components}}
    name = str(OURS.get(covariance_type, covariance_type))
    model = model_of(name, "covariance_type")
    if n_columns > 1:
        return {"n_components": n_components, "covariance": name}
    scales = "equal" if model[0] == EQUAL else "free"
    chosen = {"selection": {"scales": [scales]}} if n_components == AUTO else {}
    return {"n_components": n_components, "scales": scales, **chosen}


def rows_of(mixture: AnyMixture) -> MultivariateMixture:
    """A mixture whose locs are rows, as those of scikit-learn are; of one column, σ² is a matrix.

    Args:
        mixture: of one column or several.
    """
    if isinstance(mixture, Mixture):
        return MultivariateMixture(mixture.weights, mixture.locs[:, None], mixture.scales[:, None, None] ** 2)
    return mixture


def shaped(matrices: Float[np.ndarray, "K d d"], covariance_type: str) -> np.ndarray:
    """Matrices as scikit-learn keeps them: tied [d, d], diag [K, d], spherical [K], all others [K, d, d].

    Args:
        matrices: covariances or precisions that have this structure.
        covariance_type: as the estimator has it.
    """
    match covariance_type:
        case "tied":
            return matrices[0].copy()
        case "diag" | "diagonal":
            return np.diagonal(matrices, axis1=1, axis2=2).copy()
        case "spherical":
            return matrices[:, 0, 0].copy()
    return matrices.copy()


def matrices_of(values: Any, covariance_type: str, n_components: int, n_columns: int) -> Float[np.ndarray, "K d d"]:
    """Matrices from the array that scikit-learn has for them; the inverse of `shaped`.

    Args:
        values: symmetric and positive definite.
        covariance_type: as the estimator has it.
        n_components: K.
        n_columns: d.

    Raises:
        InputError: they have another shape, or are not positive definite.
    """
    array = numbers("precisions_init", values, shaped(_identities(n_components, n_columns), covariance_type).shape)
    match covariance_type:
        case "tied":
            array = np.broadcast_to(array, (n_components, *array.shape))
        case "diag" | "diagonal":
            array = array[:, :, None] * np.eye(n_columns)
        case "spherical":
            array = array[:, None, None] * np.eye(n_columns)
    if not (np.allclose(array, array.swapaxes(1, 2)) and definite_or_identity(array)[1].all()):
        raise InputError(
            "precisions_init",
            expected="symmetric, positive definite matrices, or positive numbers",
            came="others",
            remedy="A precision is the inverse of a covariance.",
        )
    return array


def _identities(n_components: int, n_columns: int) -> Float[np.ndarray, "K d d"]:
    return np.broadcast_to(np.eye(n_columns), (n_components, n_columns, n_columns))


def cholesky_of_precisions(covariances: Float[np.ndarray, "K d d"]) -> Float[np.ndarray, "K d d"]:
    """Upper-triangular U with U Uᵀ = Σ⁻¹, as scikit-learn has them: U = L⁻ᵀ of the Cholesky factor L of Σ.

    Args:
        covariances: Σ, positive definite.
    """
    return np.linalg.inv(np.linalg.cholesky(covariances)).swapaxes(1, 2)


def numbers(where: str, values: Any, shape: tuple[int, ...]) -> np.ndarray:
    """An array of finite numbers of this shape.

    Args:
        where: the parameter that it came by.
        values: anything that NumPy can read.
        shape: as it has to be.

    Raises:
        InputError: it is not.
    """
    try:
        array = np.asarray(values, np.float64)
    except (TypeError, ValueError) as error:
        raise _no_numbers(where, shape, type(values).__name__) from error
    if array.shape != shape or not np.isfinite(array).all():
        raise _no_numbers(where, shape, f"an array of shape {array.shape}, with {np.isfinite(array).sum()} finite ones")
    return array


def _no_numbers(where: str, shape: tuple[int, ...], came: str) -> InputError:
    return InputError(
        where,
        expected=f"finite numbers of shape {shape}",
        came=came,
        remedy="Their number is that of the components and columns.",
    )
