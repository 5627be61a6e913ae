"""What the terminal says of a fit, from its record, whether it was just made or is read again."""

from collections.abc import Sequence
from typing import Any

from gmm_pipeline.analysis.matching import matched_truth
from gmm_pipeline.model.natural import MultivariateMixture
from gmm_pipeline.records.datasets import left_out
from gmm_pipeline.records.reading import Record
from gmm_pipeline.stages import terminal
from gmm_pipeline.stages.goodness import goodness_of_fit
from gmm_pipeline.stages.selection_tables import selection_tables

FLAT = "flat"


def print_answer(run: Record, remarks: Sequence[str] = ()) -> None:
    """Print the answer, and how far it can be trusted.

    Args:
        run: the record.
        remarks: on the data.
    """
    terminal.say(summary(run), *remarks, under(run))
    terminal.say(*run.about["verdict"], *goodness_of_fit(run), "")
    if run.selection is not None:
        for one in selection_tables(run.selection, run.config["criterion"]):
            terminal.say(one) if isinstance(one, str) else terminal.show(one)
        terminal.say("")
    surest = run.bootstrap or run.asymptotic
    truth: Any = matched_truth(run.fitted, run.truth)
    errors: Any = None if surest is None else surest.standard_errors
    if isinstance(run.fitted, MultivariateMixture):
        table = terminal.multivariate_table(run.fitted, truth, run.columns, run.unit, errors)
    else:
        table = terminal.parameter_table(run.fitted, truth, run.unit, errors)
    terminal.show(table._replace(columns=terminal.with_noise(table.columns, run.noise, errors=errors is not None)))
    terminal.say(*terminal.left_out(run.fitted), "")


def summary(run: Record) -> str:
    """A run in one line.

    Args:
        run: the record.
    """
    metrics, n_components, data = run.metrics, run.metrics["n_components"], run.data_info
    missing = left_out(metrics["n_data"], data.get("n_missing", 0), data.get("n_incomplete", 0))
    columns = f" of {len(run.columns)} columns" if run.columns else ""
    kind = f" with covariance {run.covariance_model}" if run.columns else ""
    if run.factors is not None:
        n_factors = run.factors.loadings.shape[-1]
        kind += f" ({n_factors} factor{'s' * (n_factors != 1)})"
    if run.equal_scales and not run.columns and n_components != 1:
        kind = " with equal scales"
    volume = run.config["noise"] if run.columns else "range"
    noise = "" if run.noise is None else f" and noise over the {volume} of the data"
    total = metrics.get("sum_of_weights")
    what = "observations" if total is None else f"rows whose weights sum to {total:,.6g}"
    return (
        f"{data['name']}: {metrics['n_data']:,} {what}{columns}{missing}, "
        f"{n_components} component{'s' * (n_components != 1)}{kind}{noise}; "
        f"loss {metrics['loss']:.4f}, log-likelihood {metrics['log_likelihood']:.4f} nats, BIC {metrics['bic']:.3f}"
    )


def under(run: Record) -> str:
    """What the fit maximises, in a line.

    Args:
        run: the record.
    """
    prior = dict(run.config["prior"])
    name = str(prior.pop("_target_")).rpartition(".")[2]
    if name == FLAT:
        return "maximum likelihood"
    values = ", ".join(f"{key}={value}" for key, value in prior.items() if not key.startswith("_"))
    return f"prior: {name}{f' ({values})' if values else ''}"
