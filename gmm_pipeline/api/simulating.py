"""`gmm_pipeline.simulate`: the command `simulate` without its folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from gmm_pipeline.api.composing import composed, depth, listed, overrides_of
from gmm_pipeline.api.fitting import settings_of_jax_kept
from gmm_pipeline.api.given import CHOOSES, refuse_other
from gmm_pipeline.api.simulated import Simulated
from gmm_pipeline.errors import InputError
from gmm_pipeline.records.overrides import hydra_override
from gmm_pipeline.stages.simulate import drawn

WITH_SCALES, WITH_COVARIANCES = "two_modes", "three_clusters"
"""The specs whose keys a mixture of one column and of several columns sets."""
NAME = "simulated"
"""Of the data of such a mixture."""


def simulate(
    spec: str | None = None,
    *,
    n: int | None = None,
    seed: int | None = None,
    overrides: Sequence[str] = (),
    config_dir: str | Path | None = None,
    **keys: Any,
) -> Simulated:
    """Draw data from a mixture: z_i ~ Categorical(π), x_i ~ N(μ_z, Σ_z); a fit to them reports what it recovered.

    The data have the bits of `python -m gmm_pipeline simulate` with the same keys. Nothing is written.

    Args:
        spec: name of a generating spec in `conf/data`, such as `two_modes` or `overlap`; None for a mixture of your
            own, given by `weights` and `locs`, and `scales` of one column or `covariances` of several.
        n: how many observations; None for as many as the spec says.
        seed: of the draws, a whole number, 0 or more; None for the spec's.
        overrides: in the command line's grammar, such as `threefry_partitionable=false`.
        config_dir: folder with YAML files of your own, as for `--config-dir`.
        **keys: of the spec: `weights` [K], relative; `locs` [K] or [K, d]; `scales` [K]; `covariances`, per component a
            [d, d] matrix, [d] variances or one variance; `counts="multinomial"`, `name`, `unit`, `columns`; those of
            `overlap`, such as `n_components=5, average_overlap=0.05`.

    Raises:
        InputError: the spec is none, or has no such key or value.
    """
    refuse_other(overrides, CHOOSES)
    own = {**{key: value for key, value in (("n_draws", n), ("seed", seed)) if value is not None}, **keys}
    if spec is None:
        spec = _spec_of(own)
        own = {"name": NAME, **own}
    lines = [hydra_override("data", spec), *overrides_of({"data": own}), *listed(overrides)]
    with settings_of_jax_kept():
        config = composed(lines, config_dir)
        dataset = drawn(DictConfig(config))
    return Simulated(config, lines, dataset)


def _spec_of(keys: dict[str, Any]) -> str:
    """The spec that has the keys of a mixture.

    Raises:
        InputError: a key is missing, or they are of no mixture.
    """
    several = depth(keys.get("locs")) > 1 or "covariances" in keys
    spreads = "covariances" if several else "scales"
    if several and "scales" in keys:
        raise InputError(
            "scales",
            expected="covariances in its place, where locs have several columns",
            came="scales",
            remedy="Per component a matrix, variances, or one variance.",
        )
    missing = [key for key in ("weights", "locs", spreads, "n_draws", "seed") if key not in keys]
    if missing:
        raise InputError(
            "n" if missing[0] == "n_draws" else missing[0],
            expected="a value for a mixture of your own",
            came="none",
            remedy="For example simulate(weights=[1, 2], locs=[0, 5], scales=[1, 1], n=1000, seed=0).",
        )
    return WITH_COVARIANCES if several else WITH_SCALES
