"""The text of a page: numbers as people read them, what was asked, and the tables of the answer."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gmm_pipeline.analysis import rounding
from gmm_pipeline.analysis.candidates import is_known, table_columns
from gmm_pipeline.analysis.curves import LEAST_NAMED, MOST_NAMED
from gmm_pipeline.model.vocabulary import NAMES
from gmm_pipeline.records.reading import Record
from gmm_pipeline.records.sample_weights import COUNTS

METRICS = {
    "log_likelihood": ("log-likelihood", "nats, of all data"),
    "log_prior": ("log prior", "nats"),
    "loss": ("loss", "negative log posterior, nats"),
    "bic": ("BIC", "lower is better"),
    "aic": ("AIC", "lower is better"),
    "icl": ("ICL", "BIC with a penalty for overlap"),
    "sbic": ("singular BIC", "lower is better"),
    "held_out": ("held-out log-likelihood", "nats, by cross-validation"),
    "n_parameters": ("free parameters", ""),
    "noise_weight": ("weight of the noise", "what the components' weights lack to sum to one"),
    "adjusted_rand_index": ("adjusted Rand index", "agreement with the true labels; 1 is perfect"),
    "largest_z": ("farthest parameter", "standard errors from the truth"),
    "true_overlap": ("overlap of the truth", "share of observations that no rule can label correctly"),
}


def minus(text: str) -> str:
    """A number with a minus sign as long as a plus."""
    return text.replace("-", "−")


def number(value: float | int | None, digits: int = 6) -> str:
    """A number to so many digits, with separators, or a dash for none.

    Args:
        value: any number; None for none.
        digits: significant digits.
    """
    if value is None or not math.isfinite(value):
        return "–"
    if isinstance(value, int) or (value == round(value) and abs(value) < 1e15):
        value = round(value)
        return minus(f"{value:,}")
    size = abs(value)
    if size and not 1e-4 <= size < 1e9:
        return minus(f"{value:.{digits}g}")
    decimals = max(digits - 1 - (math.floor(math.log10(size)) if size else 0), 0)
    text = f"{value:,.{min(decimals, 8)}f}"
    return minus(text.rstrip("0").rstrip(".") if "." in text and decimals > 3 else text)


def with_error(value: float, error: float, size: float = math.nan) -> tuple[str, str, int]:
    """A value and its error, both to the second digit of the error, and at how many decimals these end.

    Args:
        value: an estimate.
        error: its standard error; NaN for none.
        size: decides the number of digits if there is no error, as for `decimals_of`.
    """
    if not math.isfinite(value):
        return "–", "", 0
    text, error_text, decimals = rounding.with_error(value, error, size, separator=",")
    return minus(text), minus(error_text), decimals


def metric_rows(metrics: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Name, value and meaning of each metric that has a value."""
    rows = []
    for name, (label, meaning) in METRICS.items():
        value = metrics.get(name)
        if value is None:
            continue
        text = number(value, 7 if isinstance(value, float) and abs(value) >= 100 else 4)
        if metrics.get(f"{name}_error") is not None:
            text += f" ± {number(metrics[f'{name}_error'], 2)}"
        rows.append((label, text, meaning))
    return rows


def many(run: Record) -> bool:
    """Whether there are too many components to list all of them: those with almost no weight are summarised."""
    return len(run.fitted.locs) > MOST_NAMED


def components(run: Record) -> str:
    """How many components the answer has."""
    total = len(run.fitted.locs)
    if not many(run) or not run.finished:
        return plural(total, "component")
    heavy = int(np.count_nonzero(run.fitted.weights >= LEAST_NAMED))
    return f"{heavy} of {total:,} components with {100.0 * LEAST_NAMED:g} % or more"


def plural(count: int, noun: str) -> str:
    """So many of something.

    Args:
        count: how many.
        noun: in the singular, with a regular plural.
    """
    return f"{count:,} {noun}{'s' * (count != 1)}"


def target(node: Any) -> str:
    """The short name of a plug-in."""
    return str(node.get("_target_", "?")).rpartition(".")[2] if isinstance(node, Mapping) else str(node)


def hyperparameters(node: Any) -> str:
    """The other keys of a plug-in's node."""
    if not isinstance(node, Mapping):
        return ""
    return ", ".join(f"{key} = {value}" for key, value in node.items() if key != "_target_" and value is not None)


def question(run: Record) -> str:
    """What was asked, in a sentence or two."""
    config, info = run.config, run.data_info
    asked, prior = config.get("n_components"), target(config.get("prior"))
    counts = run.metrics.get("sum_of_weights")
    weighing = f", which count for {number(counts)}," if counts else ""
    of_columns = f" ({plural(len(run.columns), 'column')})" if run.columns else ""
    data = f"{info['n_data']:,} observations{weighing} of {info['name']}{of_columns}"
    under = "by maximum likelihood" if prior == "flat" else f"under the prior {prior}"
    steps = f"at most {plural(config.get('steps', 0), 'step')} of {target(config.get('optimizer'))}"
    starts, searches = config.get("restarts", 1), run.metrics.get("searches") or 0
    tried = f"{starts:,} starts, {steps} each" if starts > 1 else f"one start, {steps}"
    if searches:
        tried = f"{f'{searches:,} independent searches' if searches > 1 else 'one search'} and {tried}"
    if searches or starts > 1:
        tried = f"the best of {tried}"
    if asked == "auto":
        choice, compared = config.get("selection", {}), run.selection or {}
        several = zip(compared.get("scales", []), compared.get("n_components", []), strict=False)
        kinds = f"{' or '.join(sorted({str(kind) for kind, number in several if number != 1}, reverse=True))} scales"
        if run.columns:
            models = sorted({str(name) for name in compared.get("covariance", []) if name})
            kinds = f"the covariance models {', '.join(models)}" if models else "one covariance model"
        criterion = NAMES.get(str(config.get("criterion")), str(config.get("criterion")))
        which = "Those far behind had a short search; that one is" if searches else "Each is"
        return (
            f"Mixtures of {choice.get('smallest')} to {choice.get('largest')} Gaussians, with {kinds}, were "
            f"fitted to {data} {under}, and one was chosen by {criterion}. {which} {tried}."
        )
    equal = " with equal scales" if not run.columns and config.get("scales") == "equal" and asked != 1 else ""
    wanted = "A single Gaussian" if asked == 1 else f"A mixture of {asked} Gaussians{equal}"
    return f"{wanted} was fitted to {data} {under}: {tried}."


def weighing(info: Mapping[str, Any]) -> str:
    """The sample weights of data, by what they mean.

    Args:
        info: of the data.
    """
    meaning = info.get("weights_are", COUNTS)
    return "sample weights" if meaning == COUNTS else f"sample weights that are {meaning}, scaled to numbers"


def asked_rows(run: Record) -> list[tuple[str, str]]:
    """The config in a dozen rows; the record has all of it."""
    config, info = run.config, run.data_info
    weights = run.metrics.get("sum_of_weights")
    size = f"{info['n_data']:,}" + (f", with {weighing(info)} that sum to {number(weights)}" if weights else "")
    rows = [
        ("data", str(info["name"]) + (f" [{run.unit}]" if run.unit else "")),
        ("source", str(info.get("source", ""))),
        ("observations", size),
        ("components", str(config.get("n_components"))),
        *(
            [("columns", ", ".join(run.columns)), ("covariance", str(config.get("covariance")))]
            if run.columns
            else [("scales", str(config.get("scales")))]
        ),
    ]
    for group in ("prior", "optimizer", "schedule", "init"):
        node = config.get(group)
        if node is not None:
            rest = hyperparameters(node)
            rows.append((group, f"{target(node)}{f' ({rest})' if rest else ''}"))
    seeds = [f"starts {config.get('seed')}"]
    if isinstance(config.get("data"), Mapping) and "seed" in config["data"]:
        seeds.append(f"data {config['data']['seed']}")
    rows += [
        ("starts", str(config.get("restarts"))),
        ("maximum steps", f"{config.get('steps', 0):,}"),
        ("tolerance", f"{config.get('tolerance')} nats, gradient {config.get('gradient_tolerance')} standard errors"),
        ("seeds", ", ".join(seeds)),
        ("precision", str(config.get("precision"))),
    ]
    return rows


def origin(about: Mapping[str, Any]) -> str:
    """Code, machine and time of a run in one line; what the record lacks is left out."""
    made = about.get("provenance", {})
    git = made.get("git", {})
    commit = git.get("commit")
    state = "with changes" if git.get("dirty") else "clean"
    seconds = about.get("timings", {}).get("total")
    device = made.get("device")
    parts = [
        f"commit {commit[:10]} ({state})" if isinstance(commit, str) else "",
        f"Python {made['python']}" if "python" in made else "",
        ", ".join(f"{name} {made['versions'][name]}" for name in ("jax", "numpy") if name in made.get("versions", {})),
        f"device {device if isinstance(device, str) else next(iter(device.values()), '')}" if device else "",
        f"started {moment(str(about['started']))}" if about.get("started") else "",
        # A run of a sweep takes hundredths of a second.
        f"{seconds:.{1 if seconds >= 1.0 else 3}f} s in total" if isinstance(seconds, int | float) else "",
    ]
    return " · ".join(part for part in parts if part)


def moment(time: str) -> str:
    """An ISO 8601 time to the minute."""
    return time[:16].replace("T", " ") + (" UTC" if time.endswith(("+00:00", "Z")) else time[-6:])


def selection_table(columns: Mapping[str, Sequence[Any]], criterion: str) -> tuple[list[str], list[list[str]], int]:
    """Header, rows as text and the chosen row (−1 for none) of a selection.

    Args:
        columns: of the record's table of candidates.
        criterion: the one that the choice was made by.
    """
    present = table_columns(columns, criterion)
    labels = {"n_components": "components", "log_likelihood": "log-likelihood", "p_value": "p-value"}
    rows = []
    for index in range(len(columns["n_components"])):
        cells = [_selection_cell(name, columns[name][index]) for name in present]
        remarks = [name for name in ("degenerate", "diverged") if columns[name][index]]
        other = columns["barred"][index] if "barred" in columns else ""
        remarks += [other] if other and other not in remarks else []
        remarks += [] if columns["converged"][index] else ["not converged"]
        rows.append([*cells, ", ".join(remarks)])
    marks = [bool(mark) for mark in columns["chosen"]]
    header = [labels.get(name) or NAMES.get(name, name) for name in present]
    return [*header, ""], rows, marks.index(True) if True in marks else -1


def _selection_cell(name: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if not is_known(value):
        return "–"
    return f"{value:.3g}" if name == "p_value" else minus(f"{value:,.2f}") if isinstance(value, float) else str(value)
