"""`rerun`: repeat a recorded fit in this process, and compare the results with the record, bit for bit.

The fit itself is that of `fit` with the values of the record, which `rerun_arguments` arranges before Hydra composes
the config. A rerun with other values is a variation, which is a plain fit and never comes here.
"""

import shlex
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from gmm_pipeline.errors import RunFailed
from gmm_pipeline.records import artifacts
from gmm_pipeline.records.comparison import Comparison, Difference, as_json, compare
from gmm_pipeline.records.files import write_json
from gmm_pipeline.stages import fit, terminal
from gmm_pipeline.stages.loading import WITHOUT_EFFECT
from gmm_pipeline.stages.printing import summary
from gmm_pipeline.stages.running import latest, overrides, quoted_override, shown
from gmm_pipeline.stages.tables import Column, Table

MOST_ROWS = 24
"""Rows of the table of differences; the file has all."""


def run(cfg: DictConfig, *, started: float) -> None:
    """Repeat a recorded fit, compare the results, and print the comparison.

    Args:
        cfg: the composed config.
        started: when the program began, on the performance counter.

    Raises:
        RunFailed: the results are not those of the record.
    """
    before = Path(cfg.config).parent
    others = [shlex.quote(override) for override in overrides() if not override.startswith("config=")]
    command = " ".join(["python -m gmm_pipeline rerun", quoted_override("run", str(before)), *others])
    done = fit.carry_out(cfg, started=started, command=command)
    comparison = compare(before, done.directory, WITHOUT_EFFECT)
    write_json(done.directory / artifacts.COMPARISON, as_json(comparison))
    terminal.say(summary(done.made), "")
    _print_comparison(comparison, before)
    terminal.say(f"comparison: {shown(done.directory / artifacts.COMPARISON)}", f"record: {shown(done.directory)}")
    if not comparison.same:
        raise RunFailed(f"not reproduced: {_counted(comparison)} of {shown(before)} differ")


def _print_comparison(comparison: Comparison, before: Path) -> None:
    n_files = len(comparison.files)
    if comparison.same:
        terminal.say(f"reproduced: the same bits as {latest(before)}, in {n_files} files")
        terminal.say(*(f"although the {circumstance}" for circumstance in comparison.circumstances))
        return
    terminal.say(f"what differs from {latest(before)}:", "")
    terminal.show(table_of(comparison.differences[:MOST_ROWS]))
    hidden = len(comparison.differences) - MOST_ROWS
    terminal.say(*[f"and {hidden} more"] * (hidden > 0), "", "possible reasons:")
    terminal.say(*(f"  the {circumstance}" for circumstance in comparison.circumstances))
    if not comparison.circumstances:
        terminal.say("  none is known: code, versions, device, settings of JAX and data are the same")


def table_of(differences: Sequence[Difference]) -> Table:
    """The differences, one row per array of a file."""
    measured = {
        "largest difference": [one.largest_absolute for one in differences],
        "relative": [one.largest_relative for one in differences],
        "last places": [one.largest_ulps for one in differences],
    }
    differ = [f"{one.n_different:,} of {one.n_values:,}" if one.n_values else "" for one in differences]
    return Table(
        [
            Column("file", [one.file for one in differences], "text"),
            Column("values", [one.key for one in differences], "text"),
            Column("differ", differ),
            *(
                Column(name, ["" if value is None else f"{value:.3g}" for value in values])
                for name, values in measured.items()
            ),
            *([Column("", [one.note for one in differences], "text")] if any(one.note for one in differences) else []),
        ],
        n_keys=2,
    )


def _counted(comparison: Comparison) -> str:
    n_values = sum(one.n_different for one in comparison.differences)
    files = [name for name, same in comparison.files.items() if not same]
    return f"{n_values:,} value{'s' * (n_values != 1)} in {len(files)} of {len(comparison.files)} files"
