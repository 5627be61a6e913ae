"""Four works beside scikit-learn, gmmx and pomegranate: seconds, and the log-likelihood that each reached.

| work | data | asked |
| --- | --- | --- |
| A | 6,000 draws of two components | one fit of 2 |
| B | 19,000 draws of four | 1 to 8 components, 32 starts each |
| C | a million draws of eight | one fit of 8 |
| D | ten million draws of four | one fit of 4 |

Ours is `gmm_pipeline.fit` with prior=flat and else its defaults, from an array to errors and tests of the fit; the
others have their defaults, and of B as many starts as ours where they have such an option. All run in one process, once
to compile and then again; the fastest of the rounds counts. CPU seconds are of all threads. Log-likelihoods are of all
data in float64 by one formula for everybody; of B, those of 4 components. Who is not installed does not take part.

    python -m benchmarks.works [--only A,B] [--size 0.01] [--rounds 3]

Ratios: our CPU seconds as a share of scikit-learn's; and nats below the best of all, where ours is worse.
"""

import importlib
import importlib.util
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

import gmm_pipeline as gmm
from benchmarks import keep, parser, print_table, ratios_option, some_of

BLOCK = 10**6
SHIFT = 1.0
"""Nats below the best that are no shortfall yet, so that a ratio of two of them says something."""


class Work(NamedTuple):
    """Data, and what is asked of them."""

    n: int
    weights: tuple[float, ...]
    locs: tuple[float, ...]
    scales: tuple[float, ...]
    components: tuple[int, ...]
    starts: int | None
    """None for everybody's default."""


FOUR = (0.35, 0.3, 0.2, 0.15), (-4.0, 0.0, 1.5, 6.0), (1.0, 0.6, 1.4, 2.0)
EIGHT = (1, 2, 3, 4, 4, 3, 2, 1), (-14, -10, -6, -2, 2, 6, 10, 14), (0.5, 0.7, 0.9, 1.1, 1.1, 0.9, 0.7, 0.5)
WORKS = {
    "A": Work(6_000, (1, 5), (-2, 5), (1.1, 2), (2,), None),
    "B": Work(19_000, (2, 10, 1, 6), (-2, -5, 3, 8), (1.1, 2, 1, 1.5), (1, 2, 3, 4, 5, 6, 7, 8), 32),
    "C": Work(10**6, *EIGHT, (8,), None),
    "D": Work(10**7, *FOUR, (4,), None),
}
JUDGED = 4
"""Components of the fit of B that is looked at."""
MOST = {"pomegranate": 10**6}
"""Data that each is given at most; more would take it minutes."""

Mixture = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Weights, locs and scales."""
Method = Callable[[np.ndarray, int, int | None], Mixture]


def drawn(work: Work, size: float) -> np.ndarray:
    """Draws in float32; of a smaller size, as many fewer, but at least 2,000."""
    n, random = max(round(work.n * size), 2_000), np.random.default_rng(0)
    component = random.choice(len(work.weights), n, p=np.divide(work.weights, sum(work.weights)))
    found = np.take(work.locs, component) + np.take(work.scales, component) * random.standard_normal(n)
    return found.astype(np.float32)


def log_likelihood(data: np.ndarray, mixture: Mixture) -> float:
    """Nats, in float64, a block at a time."""
    weights, locs, scales = (np.asarray(part, np.float64) for part in mixture)
    total = 0.0
    for first in range(0, len(data), BLOCK):
        z = (data[first : first + BLOCK, None].astype(np.float64) - locs) / scales
        logs = np.log(weights) - np.log(scales) - 0.5 * z * z - 0.5 * np.log(2 * np.pi)
        top = logs.max(axis=1)
        total += float(np.sum(top + np.log(np.exp(logs - top[:, None]).sum(axis=1))))
    return total


def ours(data: np.ndarray, n_components: int, starts: int | None) -> Mixture:
    """`gmm_pipeline.fit`."""
    more = [] if starts is None else [f"restarts={starts}"]
    fit = gmm.fit(data, n_components=n_components, prior="flat", overrides=more)
    return fit.weights, fit.locs, fit.scales


def scikit_learns(data: np.ndarray, n_components: int, starts: int | None) -> Mixture:
    """`GaussianMixture`."""
    from sklearn.mixture import GaussianMixture

    model: Any = GaussianMixture(n_components, random_state=0, n_init=starts or 1).fit(data[:, None].astype(np.float64))
    return model.weights_, model.means_[:, 0], np.sqrt(model.covariances_[:, 0, 0])


def gmmxs(data: np.ndarray, n_components: int, starts: int | None) -> Mixture:
    """`GaussianMixtureSKLearn`, one start."""
    module: Any = importlib.import_module("gmmx")
    model = module.GaussianMixtureSKLearn(n_components, random_state=0).fit(data[:, None])
    return model.weights_, np.ravel(model.means_), np.sqrt(np.ravel(model.covariances_))


def pomegranates(data: np.ndarray, n_components: int, starts: int | None) -> Mixture:
    """`GeneralMixtureModel`, one start; of one component, which that refuses, the normal itself."""
    mixtures, torch = importlib.import_module("pomegranate.gmm"), importlib.import_module("torch")
    normal: Any = importlib.import_module("pomegranate.distributions").Normal
    components, weights, values = [normal() for _ in range(n_components)], np.ones(1), torch.tensor(data[:, None])
    if n_components == 1:
        components[0].fit(values)
    else:
        model: Any = mixtures.GeneralMixtureModel(components, random_state=0)
        model.fit(values)
        components, weights = list(model.distributions), np.asarray(model.priors)
    each = [(float(one.means[0]), float(one.covs.reshape(-1)[0]) ** 0.5) for one in components]
    locs, scales = map(np.array, zip(*each, strict=True))
    return weights, locs, scales


METHODS: dict[str, tuple[str, Method]] = {
    "ours": ("gmm_pipeline", ours),
    "scikit-learn": ("sklearn", scikit_learns),
    "gmmx": ("gmmx", gmmxs),
    "pomegranate": ("pomegranate", pomegranates),
}
COMPILES = ("ours", "gmmx")


class Seen(NamedTuple):
    """What a method did."""

    seconds: float
    cpu_seconds: float
    log_likelihood: float


def measured(method: str, work: Work, data: np.ndarray, rounds: int) -> Seen:
    """The fastest of the rounds; the first compiles, and counts for nobody who does."""
    fit, seconds, cpu_seconds, mixture = METHODS[method][1], [], [], None
    fit(data[:500], 1, None)  # imports
    for number in range(rounds + (method in COMPILES)):
        began, cpu_began = time.perf_counter(), time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it has not converged
            found = {count: fit(data, count, work.starts) for count in work.components}
        mixture = found.get(JUDGED) or next(iter(found.values()))
        if number or method not in COMPILES:
            seconds.append(time.perf_counter() - began)
            cpu_seconds.append(time.process_time() - cpu_began)
    assert mixture is not None  # noqa: S101 - there is a round
    return Seen(min(seconds), min(cpu_seconds), log_likelihood(data, mixture))


def compared(names: list[str], size: float, rounds: int) -> Iterator[tuple[str, Work, dict[str, Seen]]]:
    """Each work with what everybody who is here did."""
    for name in names:
        work = WORKS[name]
        data = drawn(work, size)
        found = {
            method: measured(method, work, data, rounds if len(data) < 10**5 else 1)
            for method, (module, _) in METHODS.items()
            if importlib.util.find_spec(module) and len(data) <= MOST.get(method, len(data))
        }
        print(f"{name}: {found}", file=sys.stderr, flush=True)
        yield name, work._replace(n=len(data)), found


def main() -> None:
    """Print the table."""
    options = ratios_option(parser(__doc__))
    options.add_argument("--only", type=some_of(WORKS), default=list(WORKS), help="with commas")
    options.add_argument("--size", type=float, default=1.0, help="share of the data")
    options.add_argument("--rounds", type=int, default=3, help="of fits of few data; others are done once")
    arguments = options.parse_args()
    table, ratios, points = [], {}, {}
    for name, work, found in compared(arguments.only, arguments.size, arguments.rounds):
        best, own = max(one.log_likelihood for one in found.values()), found["ours"]
        ratios[f"{name}, CPU beside scikit-learn"] = own.cpu_seconds / found["scikit-learn"].cpu_seconds
        ratios[f"{name}, nats below the best + {SHIFT:g}"] = best - own.log_likelihood + SHIFT
        points[name] = {method: (one.seconds, best - one.log_likelihood) for method, one in found.items()}
        for method, one in found.items():
            share = own.cpu_seconds / one.cpu_seconds
            lower = f"{one.log_likelihood - best:+.3f}" if one.log_likelihood < best else "best"
            figures = f"{one.seconds:.3f}", f"{one.cpu_seconds:.3f}", f"{share:.2f}", f"{one.log_likelihood:.3f}", lower
            table.append((f"{name}: n = {work.n:,}, K = {_range(work.components)}", method, *figures))
    header = ("work", "by", "seconds", "CPU seconds", "ours as a share", "log-likelihood", "nats beside the best")
    print_table(header, table)
    absent = [method for method, (module, _) in METHODS.items() if not importlib.util.find_spec(module)]
    if absent:
        print(f"not installed here: {', '.join(absent)}")
    keep(arguments.json, ratios, points=points)


def _range(components: tuple[int, ...]) -> str:
    least, most = min(components), max(components)
    return str(least) if least == most else f"{least} to {most}"


if __name__ == "__main__":
    main()
