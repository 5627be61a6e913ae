"""One line on whether the data look like draws of the fitted mixture; the report has the details.

The p-value is that of `analysis.deviations`, with the numbers of `conf/report.yaml`, so that terminal and page
agree. It holds for many observations and at an optimum; otherwise nothing is printed.
"""

from omegaconf import OmegaConf

from gmm_pipeline.analysis import goodness
from gmm_pipeline.configuration.config import config_directory
from gmm_pipeline.records.reading import Record


def goodness_of_fit(run: Record) -> list[str]:
    """A line on whether the data differ from the mixture, and by which test; empty where the test does not hold.

    Args:
        run: the record.
    """
    if not goodness.can_be_judged(run):
        return []
    settings = OmegaConf.load(config_directory() / "report.yaml")
    test = goodness.goodness_of_fit(run, simulations=settings.simulations, seed=settings.seed)
    if test is None:
        return []
    level = float(run.config["level"])
    if test.is_limit:
        differ = test.p_value < 1.0 - level
        limit = "p < 0.001" if test.p_value < 0.001 else f"p ≤ {test.p_value:.2g}"
        complete = " without missing cells" * bool(run.incomplete)
        agree = f"each column{complete} agrees with the mixture"
        said = f"data differ from the mixture, {limit}" if differ else agree
        return [f"{said} (by Kolmogorov's distances of the columns from their marginal mixtures)"]
    differ = "differ from" if test.p_value < 1.0 - level else "agree with"
    p_value = "p < 0.001" if test.p_value < 0.001 else f"p = {test.p_value:.2g}"
    method = "by Kolmogorov's distance, allowing for the fitted parameters"
    chosen = ", though not for the choice of the model" if run.selection is not None else ""
    rounded = "; many observations are equal, which adds to it" if test.is_rounded else ""
    return [f"data {differ} the mixture, {p_value} ({method}{chosen}{rounded})"]
