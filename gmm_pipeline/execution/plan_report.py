"""Describe what a sweep is about to do: for the terminal, for the log of the sweep, and for the command `plan`.

Times are based on measurements on one machine, so they are rough estimates.
"""

from collections.abc import Iterator, Sequence

from gmm_pipeline.execution.planning import Group, Plan
from gmm_pipeline.execution.sweep_run import reason_of
from gmm_pipeline.inference.batching import batches, differences, memory_of
from gmm_pipeline.stages import terminal

NANOSECONDS_AN_ELEMENT = 0.8
"""Seconds of one core for loss and gradient per run, datum and component; measured on 2 cores with AVX-512."""
SECONDS_A_RUN = 0.02
"""Seconds to compose a run and write its record."""
SECONDS_A_SWEEP = 8.0
"""Seconds to start, compile, draw and track."""
MOST_SHOWN = 10
"""Most runs that cannot be fitted that a plan lists."""


def why_split(groups: Sequence[Group]) -> list[str]:
    """Why runs need several programs: the keys in which these differ, and their values."""
    lines = []
    for key, values in differences([group.program for group in groups]).items():
        shown = list(dict.fromkeys("none" if value is None else str(value) for value in values))
        lines.append(f"{key}: {', '.join(shown[:6])}{', …' if len(shown) > 6 else ''}")
    settings = {key for group in groups for key in group.settings}
    for key in sorted(settings):
        shown = list(dict.fromkeys(str(group.settings[key]) for group in groups))
        if len(shown) > 1:
            lines.append(f"{key}: {', '.join(shown)}")
    return lines


def described(group: Group) -> str:
    """A short description of a group."""
    program = group.program
    optimizer = program.plan.optimizer.function.__qualname__
    size = f"up to {program.n_data:,} observations and {program.width.components} components"
    return f"{size}, {program.steps:,} steps of {optimizer}"


def seconds_of(groups: Sequence[Group], workers: int) -> float:
    """Estimate how many seconds groups take to compute and save.

    Args:
        groups: what is to be computed.
        workers: threads that compute.
    """
    seconds = 0.0
    for one in groups:
        program, n_runs = one.program, len(one.runs)
        n_batches = len(list(batches(program, range(n_runs))))
        calls = n_batches * -(-program.restarts * program.runs_at_once // program.width.runs)
        computed = calls * program.width.runs * program.n_data * program.width.components * program.steps
        # Records are written while the next batches are computed.
        seconds += max(computed * NANOSECONDS_AN_ELEMENT * 1e-9 / workers, n_runs * SECONDS_A_RUN)
    return seconds + SECONDS_A_SWEEP


def bytes_of(group: Group, workers: int) -> int:
    """Estimate how many bytes of arrays a group holds at its peak.

    Args:
        group: runs that share a program.
        workers: threads that compute, each with a batch.
    """
    return memory_of(group.program) * workers


def rows(planned: Plan, workers: int) -> Iterator[tuple[str, ...]]:
    """A row of text for each group: description, runs, batches, runs in a batch, megabytes, seconds.

    Args:
        planned: what the sweep has to do.
        workers: threads that compute.
    """
    for one in planned.groups:
        n_batches = len(list(batches(one.program, range(len(one.runs)))))
        yield (
            described(one),
            f"{len(one.runs):,}",
            f"{n_batches:,}",
            str(one.program.runs_at_once),
            f"{bytes_of(one, workers) / 1e6:,.1f}",
            f"{seconds_of([one], workers) - SECONDS_A_SWEEP:,.1f}",
        )


def counts(planned: Plan) -> str:
    """How many runs there are, and how many of them are left."""
    left = sum(len(group.runs) for group in planned.groups)
    parts = [_counted(len(planned.runs), "run"), *_kept_back(planned)]
    parts += [f"{left:,} to fit in {_counted(len(planned.groups), 'program')}"] * bool(left)
    return ", ".join(parts)


def programs(planned: Plan) -> list[str]:
    """One line per program, and why there are several."""
    return [
        *(f"program of {_counted(len(one.runs), 'run')}: {described(one)}" for one in planned.groups),
        *(f"several programs, since they differ in {line}" for line in why_split(planned.groups)),
    ]


def print_plan(planned: Plan, workers: int) -> None:
    """Print what would be done, and about how long it would take.

    Args:
        planned: what the sweep has to do.
        workers: threads that compute.
    """
    parts = [_counted(len(planned.runs), "run"), _counted(len(planned.groups), "program"), *_kept_back(planned)]
    terminal.say(", ".join(parts), *planned.gaps)
    if planned.groups:
        terminal.say("")
        terminal.show(terminal.plan_table(list(rows(planned, workers))))
        terminal.say("", *(f"several programs, since they differ in {line}" for line in why_split(planned.groups)))
        seconds = seconds_of(planned.groups, workers)
        terminal.say(f"about {seconds:,.0f} s with {workers} workers, on a machine like the one used for the estimates")
    for run in planned.mistaken[:MOST_SHOWN]:
        terminal.say(f"{' '.join(run.overrides)}: {'' if run.mistake is None else reason_of(run.mistake)}")


def _kept_back(planned: Plan) -> list[str]:
    done, wrong = sum(run.done for run in planned.runs), len(planned.mistaken)
    return [f"{done:,} done before"] * bool(done) + [f"{wrong:,} that cannot be fitted"] * bool(wrong)


def _counted(number: int, what: str) -> str:
    """A number with its noun in the singular or plural."""
    return f"{number:,} {what}{'s' * (number != 1)}"
