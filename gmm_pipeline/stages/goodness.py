"""Whether the data look like draws of the mixture that was fitted to them, in a line, as the report has it in full.

The p-value is that of `report.agreement`, with the numbers of `conf/report.yaml`, so that terminal and page say
the same. It is for many data and an optimum: where that is not so, nothing is said.
"""

from omegaconf import OmegaConf

from gmm_pipeline.configuration.config import config_directory
from gmm_pipeline.report import agreement
from gmm_pipeline.report.verdicts import FEW_DATA
from gmm_pipeline.stages.answers import Answer
from gmm_pipeline.stages.estimates import Job

MOST_ELEMENTS = 10**7
"""Data × components: about a second."""


def goodness_of_fit(job: Job, found: Answer) -> list[str]:
    """Whether the data differ from the mixture, and how that was found; nothing where it would not be sure."""
    dataset, n_components = job.dataset, len(found.fitted.locs)
    if not (found.is_sound and found.metrics["converged"]) or len(dataset.data) * n_components > MOST_ELEMENTS:
        return []
    settings = OmegaConf.load(config_directory() / "report.yaml")
    seen = agreement.calibration(agreement.sites_of(dataset.data, dataset.sample_weights), found.fitted)
    if seen.total < FEW_DATA:
        return []
    p_value = agreement.null_of(
        seen.largest,
        found.fitted,
        total=seen.total,
        equal_scales=found.equal_scales,
        level=job.asked.level,
        simulations=settings.simulations,
        seed=settings.seed,
    ).p_value
    differ = "differ from" if p_value < 1.0 - job.asked.level else "agree with"
    told = "p < 0.001" if p_value < 0.001 else f"p = {p_value:.2g}"
    method = "by Kolmogorov's distance, allowing for the fitted parameters"
    chosen = ", though not for the choice of the model" if found.candidates else ""
    rounded = "; many data are equal, which adds to it" if seen.is_rounded else ""
    return [f"data {differ} the mixture, {told} ({method}{chosen}{rounded})"]
