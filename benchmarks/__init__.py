"""Measurements behind the project's promises: one command, one table.

| script | what it measures |
| --- | --- |
| `recovery` | how often the default fit finds the true parameters of generated data within 4 standard errors |
| `reference` | how often it reaches the best optima known, for real data and with the defaults; the winners by BIC |
| `search` | how often the search finds the best optimum known, and how often its searches agree on another |
| `multivariate` | several columns: the optima known, beside mclust's and scikit-learn's; the winners by BIC |
| `multivariate_speed` | seconds of an iteration of EM of several columns, beside scikit-learn's and gmmx's |
| `all` | the speed of all of it with one command: a page, pictures, ratios, and whether one became worse |
| `works` | four works beside scikit-learn, gmmx and pomegranate: seconds and log-likelihood reached |
| `scaling` | what one more run, datum, component or column costs |
| `stores` | whether commands are as fast with a store of 20,000 runs as with an empty one |
| `postgres` | whether each run of a sweep is there once after two processes logged it into PostgreSQL at once |
| `peers` | log-likelihood reached and seconds beside scikit-learn, for 1 to 6 components |
| `coverage` | how often the 95 % intervals of a fit hold the truth |
| `verdicts` | how often what speaks against a fit is said wrongly, and how often where it should be |
| `experiments` | whether every experiment of `conf/experiment/` ends as its own first lines say |
| `wall_time` | seconds of a whole `fit`, from the shell's prompt back to it |
| `large_data` | CPU seconds, memory and log-likelihood of a fit of a million and of ten million, beside scikit-learn |
| `devices` | seconds of passes over large data and of a sweep on 1, 2, 4 and 8 devices, and whether bits are the same |
| `first_answer` | seconds until a small file has its first answer, in multiples of importing JAX; programs compiled |
| `optimizers` | how close every optimizer of `conf/optimizer/` comes with its default hyperparameters |
| `kernel` | nanoseconds of loss and gradient, against a hand-written C program on the same machine |
| `sweep` | seconds, memory and break-down of a sweep of 1,000 runs; runs per second beside Hydra's own launcher |
| `interruptions` | whether a sweep that is killed and resumed, or has bad runs in it, ends with the right results |
| `faults` | whether commands that are killed or interrupted at random moments leave whole results and go on |
| `soak` | whether memory, open files and the time of a run stay as they were over thousands of runs in one process |
| `fuzz_records` | how many of thousands of damaged data files and records end in anything but a result or one message |
| `from_python` | whether a fit from Python has the bits of the command, in each result file |
| `reruns` | whether each kind of run comes out of `rerun` with the same bits, in a process of its own |

Run from the root of a checkout as `python -m benchmarks.NAME`; `--help` lists what can be varied. Words such as
`precision=float64` after the options are Hydra overrides for every fit.
"""

import argparse
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gmm_pipeline.configuration import config
from gmm_pipeline.inference import batching, fits
from gmm_pipeline.inference.jobs import FitJob, FitResult
from gmm_pipeline.model.vocabulary import REACHED
from gmm_pipeline.stages import fit, loading

ROOT = Path(__file__).parent.parent


def parser(description: str | None) -> argparse.ArgumentParser:
    """Options that every script has; the module's docstring is the help."""
    options = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("overrides", nargs="*", help="Hydra overrides for every fit, such as steps=1000")
    return options


def ratios_option(options: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add the option that `all` uses: a file for the ratios."""
    options.add_argument("--json", type=Path, help="a file for the ratios, which are the larger the worse")
    return options


def keep(file: Path | None, ratios: Mapping[str, float], **more: Any) -> None:
    """Write ratios to a file, if there is one.

    Args:
        file: of the option `--json`.
        ratios: the larger the worse, by what they are of.
        **more: for pictures.
    """
    if file is not None:
        file.write_text(json.dumps({"ratios": dict(ratios), **more}, indent=1), encoding="utf-8")


def some_of(allowed: Iterable[str]) -> Callable[[str], list[str]]:
    """Option type for a list with commas, since one with spaces would swallow the overrides after it."""
    known = list(allowed)

    def names(text: str) -> list[str]:
        chosen = text.split(",")
        if not set(chosen) <= set(known):
            raise argparse.ArgumentTypeError(f"expected some of {','.join(known)}; got {text}")
        return chosen

    return names


def loaded(*overrides: str) -> fit.Job:
    """The job of the command `fit` with these overrides.

    Programs are not cached on disk unless an override says so: a benchmark leaves nothing behind.
    """
    from hydra import compose, initialize_config_dir

    config.register()
    with initialize_config_dir(str(config.config_directory()), version_base="1.3"):
        return loading.load(compose("fit", ["compilation_cache=null", *overrides]))


def with_seeds(job: FitJob, seeds: Iterable[int]) -> list[FitJob]:
    """The same fit with other seeds."""
    import jax

    return [job._replace(key=jax.random.PRNGKey(seed)) for seed in seeds]


def fit_all(jobs: Sequence[FitJob]) -> list[FitResult]:
    """Run fits as the command does: as one batch, in as many threads as the machine has cores."""
    return fits.fit_all(jobs, workers=batching.default_workers())


def best_posterior(result: FitResult) -> float:
    """Log posterior of an answer in nats, float64 and the units of the fit; -inf where it is not sound."""
    if result.searched is not None:
        return -math.inf if result.degenerate or result.diverged else result.searched.log_posteriors[0]
    return max((start.log_posterior for start in result.restarts if start.outcome == REACHED), default=-math.inf)


def print_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a Markdown table that is aligned in a terminal too."""
    cells = [[str(cell) for cell in row] for row in [header, *rows]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    cells.insert(1, ["-" * width for width in widths])
    for row in cells:
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |")
