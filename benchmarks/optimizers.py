"""How close does every optimizer come with its default hyperparameters?

Every file of `conf/optimizer/` fits two_modes and four_modes from the same few starts, with the default number of
steps and its own default schedule. Losses are in float64 and compared with the best that any optimizer reached from any
start: the largest distance says whether a start was left in a local optimum or short of one, the smallest whether the
optimizer gets there at all. Seconds are those of the steps alone, compiled beforehand.

    python -m benchmarks.optimizers

Seen on 2026-11-23 on 2 cores of an Intel Xeon shared with other work, 4 starts each, when fits did not stop where they
converge and em and squarem were not there: on two_modes all 13 end within 1e-7 nats of the best, in 0.07 s (lbfgs
0.18 s); on four_modes 12 of 13 end within 1e-3 nats from every start, adam and most of its kin within 1e-6, adagrad
within 3e-3, in 0.3 to 0.4 s (lbfgs 0.7 s).
"""

import time

import numpy as np

from benchmarks import best_posterior, fit_all, loaded, parser, print_table, some_of, with_seeds
from gmm_pipeline.configuration import config

DATA_SETS = {"two_modes": 2, "four_modes": 4}
REACHED = 1e-3
"""Nats."""


def losses_and_seconds(settings: list[str], n_seeds: int) -> tuple[np.ndarray, float]:
    """Loss from each start, infinite where the fit diverged, and the median time of a fit."""
    losses, seconds = [], []
    jobs = with_seeds(loaded("restarts=1", "search=none", *settings).fit, range(n_seeds))
    fit_all(jobs[:1])
    for job in jobs:
        began = time.perf_counter()
        (result,) = fit_all([job])
        seconds.append(time.perf_counter() - began)
        losses.append(-best_posterior(result))
    return np.array(losses), float(np.median(seconds))


def main() -> None:
    """Print a row for each optimizer and data set."""
    every = sorted(path.stem for path in (config.config_directory() / "optimizer").glob("*.yaml"))
    options = parser(__doc__)
    options.add_argument("--optimizers", type=some_of(every), default=every, help="with commas")
    options.add_argument("--data-sets", type=some_of(DATA_SETS), default=list(DATA_SETS), help="with commas")
    options.add_argument("--seeds", type=int, default=4, help="starts 0 to SEEDS - 1")
    arguments = options.parse_intermixed_args()

    rows = []
    for name in arguments.data_sets:
        common = [f"data={name}", f"n_components={DATA_SETS[name]}", *arguments.overrides]
        found = {
            optimizer: losses_and_seconds([f"optimizer={optimizer}", *common], arguments.seeds)
            for optimizer in arguments.optimizers
        }
        best = min(losses.min() for losses, _ in found.values())
        for optimizer, (losses, seconds) in found.items():
            above = losses - best
            rows.append(
                (
                    name,
                    optimizer,
                    *(f"{value:.1e}" for value in (above.min(), np.median(above), above.max())),
                    f"{np.sum(above < REACHED)} of {len(above)}",
                    f"{seconds:.2f}",
                )
            )
    header = ("data", "optimizer", "nats above best: least", "median", "most", f"within {REACHED:g}", "seconds")
    print_table(header, rows)


if __name__ == "__main__":
    main()
