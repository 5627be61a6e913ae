"""Standardised data inside a fit, the user's units outside.

Step sizes, starts and float32 sums behave the same in every unit only if the fit sees data of mean 0 and standard
deviation 1. The affine map is exact in both directions: x = centre + spread · z moves the log density by −log spread.
The price: priors on locs and scales are in units of the spread.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from gmm_pipeline.model.mixture import Parameters, exact
from gmm_pipeline.model.natural import mean_and_spread


class Scaling(NamedTuple):
    """The affine map between the user's units and the fit's, in float64."""

    centre: float
    spread: float


IDENTITY = Scaling(0.0, 1.0)


def scaling_of(data: Float[np.ndarray, " n"], sample_weights: Float[np.ndarray, " n"]) -> Scaling:
    """The map that gives the data mean 0 and standard deviation 1.

    Args:
        data: [n], x, in the user's unit.
        sample_weights: [n], c, how often each datum counts.
    """
    return Scaling(*mean_and_spread(data, sample_weights))


def to_fit_units(data: Float[np.ndarray, " n"], scaling: Scaling) -> Float[np.ndarray, " n"]:
    """Standardised data, z = (x − centre) / spread.

    Args:
        data: [n], x, in the user's unit.
        scaling: of `scaling_of`.
    """
    return (data - scaling.centre) / scaling.spread


def to_user_units(parameters: Parameters, scaling: Scaling) -> Parameters:
    """The same mixture for data in the user's units, as float64; any leading axes are kept.

    Args:
        parameters: [..., K], in the units of the fit.
        scaling: with which the data were standardised.
    """
    log_component_weights, component_mus, log_component_scales = exact(parameters)
    return Parameters(
        log_component_weights,
        scaling.centre + scaling.spread * component_mus,
        log_component_scales + np.log(scaling.spread),
    )
