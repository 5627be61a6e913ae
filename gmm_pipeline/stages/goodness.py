"""Whether the data look like draws of the mixture that was fitted to them, in a line, as the report has it in full.

The p-value is that of `analysis.agreement`, with the numbers of `conf/report.yaml`, so that terminal and page say the
same. It is for many data and an optimum: where that is not so, nothing is said.
"""

from omegaconf import OmegaConf

from gmm_pipeline.analysis import goodness
from gmm_pipeline.analysis.answers import Answer
from gmm_pipeline.analysis.estimates import Job
from gmm_pipeline.configuration.config import config_directory


def goodness_of_fit(job: Job, found: Answer) -> list[str]:
    """Whether the data differ from the mixture, and how that was found; nothing where it would not be sure."""
    if not goodness.can_be_judged(job, found):
        return []
    settings = OmegaConf.load(config_directory() / "report.yaml")
    seen = goodness.goodness_of_fit(job, found, simulations=settings.simulations, seed=settings.seed)
    if seen is None:
        return []
    differ = "differ from" if seen.p_value < 1.0 - job.asked.level else "agree with"
    told = "p < 0.001" if seen.p_value < 0.001 else f"p = {seen.p_value:.2g}"
    method = "by Kolmogorov's distance, allowing for the fitted parameters"
    chosen = ", though not for the choice of the model" if found.candidates else ""
    rounded = "; many data are equal, which adds to it" if seen.is_rounded else ""
    return [f"data {differ} the mixture, {told} ({method}{chosen}{rounded})"]
