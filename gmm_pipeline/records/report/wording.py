"""What a page says in words: numbers as people read them, what was asked, a verdict on each thing that may be wrong.

A verdict says no more than the numbers do: "agrees" is that nothing was found against it.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from gmm_pipeline.records.curves import LEAST_NAMED, MOST_NAMED
from gmm_pipeline.records.report.agreement import Calibration, Null, Quantiles
from gmm_pipeline.records.report.reading import Errors, Run

GOOD, CAUTION, BAD, UNKNOWN = "good", "caution", "bad", "unknown"
SIGNS = {GOOD: "✓", CAUTION: "!", BAD: "✕", UNKNOWN: "?"}
FEW_DATA = 50
"""Fewer are too few for what holds for many."""
CLEARLY = 0.02
"""A probability this small, as a share of what already counts against a fit, leaves no doubt."""
CRITERIA = {
    "bic": "BIC",
    "aic": "AIC",
    "icl": "ICL",
    "sbic": "singular BIC",
    "held_out": "held-out log-likelihood",
    "likelihood_ratio": "likelihood-ratio tests",
    "loss": "loss",
    "log_likelihood": "log-likelihood",
}
METRICS = {
    "log_likelihood": ("log-likelihood", "nats, of all data"),
    "log_prior": ("log prior", "nats"),
    "loss": ("loss", "negative log posterior, nats"),
    "bic": ("BIC", "less is better"),
    "aic": ("AIC", "less is better"),
    "icl": ("ICL", "BIC that counts overlap against a fit"),
    "sbic": ("singular BIC", "less is better"),
    "held_out": ("held-out log-likelihood", "nats, by cross-validation"),
    "n_parameters": ("free parameters", ""),
    "adjusted_rand_index": ("adjusted Rand index", "labels against the true ones; 1 is all alike"),
    "largest_z": ("farthest parameter", "standard errors from the truth"),
    "true_overlap": ("overlap of the truth", "share of the data that no rule can label"),
}
OUTCOMES = ("worse", "degenerate", "diverged")


class Finding(NamedTuple):
    """What was looked at, what came of it, and why it is said."""

    level: str
    title: str
    verdict: str
    words: str

    @property
    def sign(self) -> str:
        """Tells the levels apart without colour."""
        return SIGNS[self.level]


class Cell(NamedTuple):
    """An estimate, what it may be off by, and what is true."""

    estimate: str
    error: str
    intervals: tuple[tuple[str, str], ...]
    """Where it lies, and, where this was found in several ways, how."""
    truth: str


class Row(NamedTuple):
    """A component in the table of the answer."""

    number: int
    degenerate: bool
    cells: tuple[Cell, ...]
    """Of weight, loc and scale."""


def minus(text: str) -> str:
    """A number with a sign of the length of a plus."""
    return text.replace("-", "−")


def number(value: float | int | None, digits: int = 6) -> str:
    """A number to so many digits, with separators, or a dash for none."""
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


def with_error(value: float, error: float) -> tuple[str, str, int]:
    """A value and its error, both to the second digit of the error, and how many decimals these are; −1 for others."""
    if not (math.isfinite(error) and error > 0.0):
        return number(value, 5), "", -1
    decimals = 1 - math.floor(math.log10(error))
    if not 0 <= decimals <= 8:
        return number(value, 5), minus(f"{error:.2g}"), -1
    return minus(f"{value:,.{decimals}f}"), f"{error:.{decimals}f}", decimals


def component_rows(run: Run) -> list[Row]:
    """The answer, a row a component."""
    sources = [source for source in (run.bootstrap, run.asymptotic) if source is not None]
    return [
        Row(k, k in run.degenerate, tuple(_cell(run, sources, name, k) for name in run.fitted._fields))
        for k in range(len(run.fitted.locs))
    ]


def _cell(run: Run, sources: Sequence[Errors], name: str, component: int) -> Cell:
    value = float(getattr(run.fitted, name)[component])
    error = float(getattr(sources[0].standard_errors, name)[component]) if sources else math.nan
    estimate, error_text, decimals = with_error(value, error)
    intervals = []
    for source in sources:
        ends = [float(getattr(end, name)[component]) for end in (source.intervals.lower, source.intervals.upper)]
        if all(map(math.isfinite, ends)) and ends[1] > ends[0]:
            texts = [minus(f"{end:,.{decimals}f}") if decimals >= 0 else number(end, 5) for end in ends]
            intervals.append((" to ".join(texts), source.intervals.method if len(sources) > 1 else ""))
    true = math.nan if run.matched_truth is None else float(getattr(run.matched_truth, name)[component])
    return Cell(estimate, error_text, tuple(intervals), number(true, 4) if math.isfinite(true) else "")


def interval_names(run: Run) -> list[str]:
    """What each interval of a cell is."""
    sources = [source.intervals for source in (run.bootstrap, run.asymptotic) if source is not None]
    return [f"{100.0 * source.level:g} % interval ({source.method})" for source in sources]


def metric_rows(metrics: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Name, value and meaning of what a fit was measured by; what is not known is left out."""
    rows = []
    for name, (label, meaning) in METRICS.items():
        value = metrics.get(name)
        if value is None:
            continue
        text = number(value, 7 if isinstance(value, float) and abs(value) >= 100 else 4)
        if name == "held_out" and metrics.get("held_out_error") is not None:
            text += f" ± {number(metrics['held_out_error'], 2)}"
        rows.append((label, text, meaning))
    return rows


def many(run: Run) -> bool:
    """Whether there are more components than are told one by one: those with next to no weight are none to a reader."""
    return len(run.fitted.locs) > MOST_NAMED


def components(run: Run) -> str:
    """How many components the answer has."""
    total = len(run.fitted.locs)
    if not many(run) or not run.finished:
        return plural(total, "component")
    heavy = int(np.count_nonzero(run.fitted.weights >= LEAST_NAMED))
    return f"{heavy} of {total:,} components with {100.0 * LEAST_NAMED:g} % or more"


def plural(count: int, noun: str) -> str:
    """So many of something."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def target(node: Any) -> str:
    """The name of a plug-in, as people say it."""
    return str(node.get("_target_", "?")).rpartition(".")[2] if isinstance(node, Mapping) else str(node)


def hyperparameters(node: Any) -> str:
    """The other keys of a plug-in's node."""
    if not isinstance(node, Mapping):
        return ""
    return ", ".join(f"{key} = {value}" for key, value in node.items() if key != "_target_" and value is not None)


def question(run: Run) -> str:
    """What was asked, in a sentence or two."""
    config, info = run.config, run.data_info
    asked, prior = config.get("n_components"), target(config.get("prior"))
    counts = run.metrics.get("sum_of_weights")
    weighing = f" that count for {number(counts)}" if counts else ""
    data = f"{info['n_data']:,} data{weighing} of {info['name']}"
    under = "by maximum likelihood" if prior == "flat" else f"under the prior {prior}"
    steps = f"at most {plural(config.get('steps', 0), 'step')} of {target(config.get('optimizer'))}"
    starts = config.get("restarts", 1)
    tried = f"the best of {starts:,} starts, {steps} each" if starts > 1 else f"one start, {steps}"
    if asked == "auto":
        choice = config.get("selection", {})
        kinds = " or ".join(str(kind) for kind in choice.get("scales", []))
        criterion = CRITERIA.get(str(config.get("criterion")), str(config.get("criterion")))
        return (
            f"Mixtures of {choice.get('smallest')} to {choice.get('largest')} Gaussians, with {kinds} scales, were "
            f"fitted to {data} {under}, and one was chosen by {criterion}. Each is {tried}."
        )
    equal = " with equal scales" if config.get("scales") == "equal" and asked != 1 else ""
    wanted = "A single Gaussian" if asked == 1 else f"A mixture of {asked} Gaussians{equal}"
    return f"{wanted} was fitted to {data} {under}: {tried}."


def asked_rows(run: Run) -> list[tuple[str, str]]:
    """The config in a dozen rows; the record has all of it."""
    config, info = run.config, run.data_info
    weights = run.metrics.get("sum_of_weights")
    size = f"{info['n_data']:,}" + (f", with sample weights that sum to {number(weights)}" if weights else "")
    rows = [
        ("data", str(info["name"]) + (f" [{run.unit}]" if run.unit else "")),
        ("source", str(info.get("source", ""))),
        ("number of data", size),
        ("components", str(config.get("n_components"))),
        ("scales", str(config.get("scales"))),
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
        ("steps, at most", f"{config.get('steps', 0):,}"),
        ("tolerance", f"{config.get('tolerance')} nats, gradient {config.get('gradient_tolerance')} standard errors"),
        ("seeds", ", ".join(seeds)),
        ("precision", str(config.get("precision"))),
    ]
    return rows


def origin(about: Mapping[str, Any]) -> str:
    """Code, machine and time of a run in a line; what a record does not have is left out."""
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
        f"begun {moment(str(about['started']))}" if about.get("started") else "",
        f"{seconds:.1f} s in all" if isinstance(seconds, int | float) else "",
    ]
    return " · ".join(part for part in parts if part)


def moment(time: str) -> str:
    """An ISO 8601 time to the minute."""
    return time[:16].replace("T", " ") + (" UTC" if time.endswith(("+00:00", "Z")) else time[-6:])


def headline(run: Run, findings: Sequence[Finding]) -> Finding:
    """The verdict at a glance: the worst of what was found, and what that was."""
    if not run.finished:
        return Finding(
            BAD, "verdict", "This run diverged: its numbers are no result", _sentence([str(run.about.get("error", ""))])
        )
    levels = [finding.level for finding in findings]
    against = [finding for finding in findings if finding.level in (BAD, CAUTION)]
    level = BAD if BAD in levels else CAUTION if CAUTION in levels else GOOD
    if not against:
        known = [finding.verdict for finding in findings]
        return Finding(GOOD, "verdict", "Nothing speaks against this fit", _sentence(known))
    title = "Read this fit with care" if level == CAUTION else "This fit is not to be relied on"
    return Finding(level, "verdict", title, _sentence([finding.verdict for finding in against]))


def _sentence(parts: Sequence[str]) -> str:
    text = "; ".join(part for part in parts if part)
    return text[:1].upper() + text[1:] + "." if text else ""


def convergence(run: Run) -> Finding:
    """Whether the optimizer arrived."""
    steps, norm = run.metrics.get("n_steps"), run.metrics.get("gradient_norm")
    converged = run.metrics.get("converged")
    if converged is None:
        return Finding(UNKNOWN, "Convergence", "not recorded", "This record does not say whether the fit converged.")
    at = f"its gradient is {norm:.2g} standard errors long" if norm is not None else "its gradient is not known"
    if converged:
        words = f"The best start stopped after {plural(steps or 0, 'step')}: a step gained next to nothing, and {at}."
        return Finding(GOOD, "Convergence", f"converged in {plural(steps or 0, 'step')}", words)
    words = f"It used all of its {plural(steps or 0, 'step')}, and {at}. Use more steps, or another optimizer."
    return Finding(CAUTION, "Convergence", "did not converge", words)


def hits(run: Run) -> Finding:
    """How many starts reached the best optimum."""
    outcomes = [one["outcome"] for one in run.restarts]
    total, reached = len(outcomes), outcomes.count("reached")
    if total < 2:
        words = "Whether other starts reach a better optimum is not known: use restarts=4 or more."
        return Finding(UNKNOWN, "Restarts", "one start only", words)
    others = [f"{outcomes.count(name)} {name}" for name in OUTCOMES if name in outcomes]
    ended = f" The others ended {', '.join(others)}." if others else ""
    needed = run.metrics.get("restarts_for_99_percent")
    chance = f" With restarts={needed} the chance to reach it is 99 %." if needed and needed > total else ""
    said = f"{reached} of {total} starts reached the best optimum"
    if reached == total:
        return Finding(GOOD, "Restarts", f"all {total} starts agree", f"{said}: no start found a better one.")
    if reached > 1:
        return Finding(GOOD, "Restarts", f"{reached} of {total} starts agree", f"{said}.{ended}{chance}")
    words = f"{said}.{ended} One that few reach may not be the best.{chance}"
    return Finding(CAUTION, "Restarts", f"only {reached} of {total} starts found it", words)


def soundness(run: Run) -> Finding:
    """Whether a component has collapsed."""
    if run.degenerate:
        which = ", ".join(map(str, run.degenerate))
        words = (
            f"Component{'s' * (len(run.degenerate) > 1)} {which} at the floor of the scales or with too few data, "
            "where a likelihood has no bound. Use fewer components, scales=equal or a prior on the scales."
        )
        return Finding(BAD, "Components", f"{plural(len(run.degenerate), 'degenerate component')}", words)
    if run.metrics.get("n_degenerate") is None:
        return Finding(UNKNOWN, "Components", "not recorded", "This record does not say whether a component collapsed.")
    words = "Each component has data enough and a scale above the floor: the likelihood means something."
    return Finding(GOOD, "Components", "no component is degenerate", words)


def agreement(run: Run, found: Calibration, null: Null | None, quantiles: Quantiles, level: float) -> Finding:
    """Whether the data look like draws of the mixture."""
    root = math.sqrt(found.total)
    largest = found.largest
    said = (
        f"The empirical CDF of {number(found.total)} data is nowhere farther than D = {largest:.4f} from the fitted "
        f"one, {largest * root:.2f}/√n; {100.0 * quantiles.share_within:.0f} % of the quantiles lie in the "
        f"{100.0 * level:g} % band."
    )
    rounding = (
        f" A step of {found.largest_step:.2g} of the CDF is one value of the data: rounding has a part in D."
        if found.largest_step > 0.5 * largest and found.total * found.largest_step > 1.5
        else ""
    )
    if null is None:
        words = f"{said}{rounding} With a degenerate component no probability can be given for D."
        return Finding(UNKNOWN, "Agreement with the data", f"D = {largest * root:.2f}/√n", words)
    p_value = null.p_value
    small = p_value < 0.001
    told = "p < 0.001" if small else f"p = {p_value:.2g}"
    few = f" With fewer than {FEW_DATA} data this is a rough guide." if found.total < FEW_DATA else ""
    words = (
        f"{said}{rounding} The mixture was fitted to the same data, so that Kolmogorov's p-value is not valid; "
        f"allowing for that (Durbin 1973), draws of the mixture deviate as far with probability "
        f"{'below 0.001' if small else f'{p_value:.2g}'}.{few}"
    )
    if p_value < CLEARLY * (1.0 - level):
        return Finding(BAD, "Agreement with the data", f"the data do not look like the mixture ({told})", words)
    if p_value < 1.0 - level:
        return Finding(CAUTION, "Agreement with the data", f"the data differ from the mixture ({told})", words)
    return Finding(GOOD, "Agreement with the data", f"the data agree with the mixture ({told})", words)


def recovery(run: Run) -> Finding | None:
    """How far the answer is from the truth, where that is known."""
    if run.truth is None:
        return None
    count = int(np.count_nonzero(run.fitted.weights >= LEAST_NAMED)) if many(run) else len(run.fitted.locs)
    same = len(run.truth.locs) == count
    rand, farthest = run.metrics.get("adjusted_rand_index"), run.metrics.get("largest_z")
    labels = f" Labels agree with the true ones by an adjusted Rand index of {rand:.3f}." if rand is not None else ""
    if not same:
        words = f"The data were made by {plural(len(run.truth.locs), 'component')}, not {count}.{labels}"
        return Finding(CAUTION, "Truth", "another number of components than the truth", words)
    if farthest is None:
        return Finding(UNKNOWN, "Truth", "not comparable", f"The true mixture is known.{labels}")
    # Of 3K − 1 parameters the farthest is beyond 3 standard errors in few per cent of the fits.
    words = f"The parameter farthest from its true value is {farthest:.1f} standard errors off.{labels}"
    if farthest > 4.0:
        return Finding(CAUTION, "Truth", f"a parameter is {farthest:.1f} standard errors off", words)
    return Finding(GOOD, "Truth", "the truth is recovered", words)


def selection_table(columns: Mapping[str, Sequence[Any]], criterion: str) -> tuple[list[str], list[list[str]], int]:
    """Header, rows as text and the chosen row (−1 for none) of a selection."""
    names = ["n_components", "scales", "log_likelihood", *dict.fromkeys([criterion, "bic", "aic", "icl", "sbic"])]
    names += [name for name in ("held_out", "p_value") if name not in names]
    known = [name for name in names if any(_is_known(value) for value in columns.get(name, []))]
    labels = {"n_components": "components", "log_likelihood": "log-likelihood", "p_value": "p-value"}
    rows = []
    for index in range(len(columns["n_components"])):
        cells = [_selection_cell(name, columns[name][index]) for name in known]
        remarks = [name for name in ("degenerate", "diverged") if columns[name][index]]
        remarks += [] if columns["converged"][index] else ["not converged"]
        rows.append([*cells, ", ".join(remarks)])
    marks = [bool(mark) for mark in columns["chosen"]]
    header = [labels.get(name) or CRITERIA.get(name, name) for name in known]
    return [*header, ""], rows, marks.index(True) if True in marks else -1


def _selection_cell(name: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if not _is_known(value):
        return "–"
    return f"{value:.3g}" if name == "p_value" else minus(f"{value:,.2f}") if isinstance(value, float) else str(value)


def _is_known(value: Any) -> bool:
    return value is not None and not (isinstance(value, float) and math.isnan(value))
