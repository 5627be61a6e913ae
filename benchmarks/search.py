"""Does the search find the best optimum, and is it right when it says that searches agree?

Three questions, asked of the searches that a fit with all defaults and a flat prior makes:

- The best optima known of real and generated data (`optima_more.json`): the share of seeds that end within 0.01 nats;
  99 % are promised, and 90 % of the rows that are marked as hard.
- Random mixtures that this benchmark draws anew with `--mixtures SEED`: 3 to 8 components, 300 to 2,000 data. The goal
  is the best that searches of ten times the rounds, or any other here, have found; 97 % are promised.
- How often "all searches agree" was said of an optimum that is not the best: of 1 % of the fits at most.

    python -m benchmarks.search [--reference FOLDER] [--seeds 50] [--only waiting,galaxies] [--n-mixtures 50]

Log-likelihoods are in float64, in the units of the fit.

Seen on 2026-11-28: of every row of the reference with each of 50 seeds, 1,799 of 1,800 searches hit, all but one of the
hard row eight_modes with 5 components (0.98), within 0.0001 nats; 48 of 48 searches of 12 random mixtures
(`--mixtures 5 --n-mixtures 12`), and 48 of 48 of 12 others before. Agreement was wrong in none of these fits.
"""

import argparse
import csv
import json
import math
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks import ROOT, loaded, parser, print_table
from gmm_pipeline.inference.batching import default_workers
from gmm_pipeline.inference.fits import search_all
from gmm_pipeline.inference.jobs import FitJob
from gmm_pipeline.inference.restarts import log_posterior_at
from gmm_pipeline.inference.scaling import scaling_of, to_fit_units

HIT = 1e-2
"""Nats."""
PROMISED, PROMISED_IF_HARD, PROMISED_OF_RANDOM, MOST_WRONG = 0.99, 0.90, 0.97, 0.01


class Question(NamedTuple):
    """Data, a model, and the best log-likelihood known, in the units of the fit."""

    name: str
    job: FitJob
    known: float
    is_hard: bool


class Answers(NamedTuple):
    """What the searches of all seeds found."""

    log_likelihoods: np.ndarray
    agree: np.ndarray
    rounds: np.ndarray
    seconds: float

    def short(self, known: float) -> np.ndarray:
        """Whether each is short of the best known."""
        return self.log_likelihoods < known - HIT


def job_of(data: np.ndarray, n_components: int, *, equal: bool, base: FitJob) -> tuple[FitJob, float]:
    """The job of a fit, and what its log-likelihood is short of that in the units of the data."""
    ones = np.ones_like(data)
    scaling = scaling_of(data, ones)
    standardised = to_fit_units(data, scaling).astype(np.float32)
    plan = base.plan._replace(n_components=n_components)
    job = base._replace(data=standardised, sample_weights=ones.astype(np.float32), plan=plan, equal_scales=equal)
    return job, len(data) * math.log(scaling.spread)


def ask(job: FitJob, seeds: Iterable[int]) -> Answers:
    """Search with each seed."""
    jobs = [job._replace(key=np.array([0, seed], np.uint32)) for seed in seeds]
    began = time.process_time()
    found = search_all(jobs, default_workers())
    seconds = (time.process_time() - began) / len(jobs)
    ends = [log_posterior_at(job, one.best.parameters) for one in found.values()]
    agree = [one.n_agreeing == one.n_searches for one in found.values()]
    return Answers(np.array(ends), np.array(agree), np.array([one.n_rounds for one in found.values()]), seconds)


def questions(folder: Path, names: Sequence[str] | None, base: FitJob) -> list[Question]:
    """The rows of the reference that have an optimum."""
    rows: list[dict[str, Any]] = json.loads((folder / "optima_more.json").read_text())
    found = []
    for row in rows:
        if row["log_likelihood"] is None or (names and row["data"] not in names):
            continue
        path = next(path for path in (folder / row["file"], folder / "generated" / row["file"]) if path.exists())
        with path.open() as stream:
            table = list(csv.DictReader(stream))
        column = row.get("column") if row.get("column") in table[0] else next(iter(table[0]))
        data = np.array([float(line[column]) for line in table])
        equal = row["scales_are"] == "equal"
        job, offset = job_of(data, row["n_components"], equal=equal, base=base)
        name = f"{row['data']} {row['n_components']} {row['scales_are']}"
        found.append(Question(name, job, row["log_likelihood"] + offset, bool(row["hard"])))
    return found


def random_data(seed: int) -> tuple[np.ndarray, int]:
    """Data of a mixture drawn at random, and its number of components."""
    rng = np.random.default_rng([2026, seed])
    n_components, n_data = int(rng.integers(3, 9)), int(math.exp(rng.uniform(math.log(300), math.log(2000))))
    weights, locs = rng.dirichlet(np.full(n_components, 2.0)), rng.uniform(-10.0, 10.0, n_components)
    scales = np.exp(rng.uniform(math.log(0.3), math.log(2.5), n_components))
    component = rng.choice(n_components, n_data, p=weights)
    return locs[component] + scales[component] * rng.normal(size=n_data), n_components


def line_of(name: str, found: Answers, known: float) -> list[str]:
    """A row of the table."""
    short = found.short(known)
    wrong = found.agree & short
    return [
        name,
        f"{np.mean(~short):.2f}",
        f"{np.mean(found.agree):.2f}",
        f"{int(wrong.sum())}",
        f"{found.log_likelihoods.max() - known:+.4f}",
        f"{found.log_likelihoods.min() - known:+.3f}",
        f"{found.rounds.mean():.0f}",
        f"{found.seconds:.2f}",
    ]


HEADER = ["data, components, scales", "hit", "agree", "wrong", "best", "worst", "rounds", "CPU s"]


def main() -> int:
    """Run the benchmark; returns 1 where a promise is not kept."""
    options = parser(__doc__)
    options.add_argument("--reference", type=Path, default=ROOT.parent / "shared" / "reference")
    options.add_argument("--seeds", type=int, default=50)
    options.add_argument("--only", default="", help="names of data, with commas; none for the random mixtures alone")
    options.add_argument("--mixtures", type=int, default=0, help="seed of the random mixtures")
    options.add_argument("--n-mixtures", type=int, default=50)
    options.add_argument("--seeds-of-mixtures", type=int, default=4)
    arguments: argparse.Namespace = options.parse_args()
    base = loaded("data.n_draws=100", "prior=flat", *arguments.overrides).fit
    kept, n_fits, n_wrong = True, 0, 0
    lines = []
    if arguments.only != "none":
        for one in questions(arguments.reference, [*filter(None, arguments.only.split(","))], base):
            found = ask(one.job, range(arguments.seeds))
            share = float(np.mean(~found.short(one.known)))
            kept &= share >= (PROMISED_IF_HARD if one.is_hard else PROMISED)
            n_fits, n_wrong = n_fits + len(found.agree), n_wrong + int((found.agree & found.short(one.known)).sum())
            lines.append(line_of(one.name + (" (hard)" if one.is_hard else ""), found, one.known))
            print(" | ".join(lines[-1]), flush=True)
    hits = []
    for number in range(arguments.n_mixtures):
        data, n_components = random_data(1000 * arguments.mixtures + number)
        job, _ = job_of(data, n_components, equal=False, base=base)
        found = ask(job, range(arguments.seeds_of_mixtures))
        if job.search is None:
            raise SystemExit("search=none leaves nothing to be measured")
        thorough = job.search._replace(rounds=10 * job.search.rounds, patience=10 * job.search.patience)
        known = max(ask(job._replace(search=thorough), [10**6]).log_likelihoods.max(), found.log_likelihoods.max())
        hits += list(~found.short(known))
        n_fits, n_wrong = n_fits + len(found.agree), n_wrong + int((found.agree & found.short(known)).sum())
        lines.append(line_of(f"random {number}, K = {n_components}, n = {len(data):,}", found, known))
        print(" | ".join(lines[-1]), flush=True)
    print_table(HEADER, lines)
    if hits:
        kept &= float(np.mean(hits)) >= PROMISED_OF_RANDOM
        print(f"random mixtures: {np.mean(hits):.3f} of {len(hits)} searches hit")
    print(f"all searches agree, and are wrong: {n_wrong} of {n_fits} fits")
    kept &= n_wrong <= MOST_WRONG * n_fits
    print("promises kept" if kept else "MISSED")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
