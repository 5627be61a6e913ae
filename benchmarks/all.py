"""All benchmarks of speed with one command: a page, pictures, ratios, and whether a ratio became worse.

Each part is a benchmark of its own, a process that takes its turn; what it prints is a section of the page. Ratios are
of two things that were measured in the same minutes, and the larger the worse, so that they hold for other machines
too: of ours to scikit-learn's, of many to few, of a command to importing JAX.

    python -m benchmarks.all [--quick] [--only works,scaling] [--output outputs/benchmarks]
    python -m benchmarks.all --keep      # and store the ratios as the baseline, on a machine with nothing else to do
    python -m benchmarks.all --check     # exit code 1 where a ratio is 1.3 times the baseline's, or is missing

Writes benchmarks.md, ratios.json and pictures. The standard setting is meant for 12 minutes on two quiet cores; the
quick one takes the smallest sizes, which say whether all of it works and little else.
"""

import argparse
import importlib.util
import json
import math
import os
import platform
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks import ROOT

BASELINE = Path(__file__).with_name("baseline.json")
WORSE = 1.3
"""How many times a ratio may be that of the baseline."""


class Part(NamedTuple):
    """A benchmark, and how it is called."""

    title: str
    standard: tuple[str, ...]
    quick: tuple[str, ...]


PARTS = {
    "works": Part("Four works beside others", ("--rounds", "3"), ("--only", "A,C", "--size", "0.01", "--rounds", "1")),
    "scaling": Part(
        "One more run, datum, component, column",
        ("--rounds", "3"),
        ("--most-runs", "100", "--most-data", "100000", "--rounds", "1"),
    ),
    "multivariate_speed": Part(
        "Iterations of several columns", ("--rounds", "2"), ("--rounds", "1", "--only", "32 columns")
    ),
    "first_answer": Part("Commands", ("--runs", "3"), ("--runs", "1", "--kinds", "default,help")),
    "sweep": Part("A sweep", ("--seeds", "40", "--basic-seeds", "1"), ("--seeds", "2", "--basic-seeds", "1")),
    "stores": Part(
        "A large store of MLflow",
        ("--runs", "5000", "--rounds", "2", "--only", "fit,log 20 fits,ui"),
        ("--runs", "100", "--rounds", "1", "--only", "fit"),
    ),
    "devices": Part("Devices", (), ()),
}


class Ran(NamedTuple):
    """A part that has ended."""

    code: int
    printed: str
    found: dict[str, Any]
    """Its ratios, and what pictures are made of; empty where it failed."""
    seconds: float


def ran(name: str, words: tuple[str, ...], folder: Path) -> Ran:
    """Run a part.

    Args:
        name: of the module.
        words: its options.
        folder: for the file of its ratios.
    """
    file, began = folder / f"{name}.json", time.perf_counter()
    file.unlink(missing_ok=True)
    keeps = ["--json", str(file)] if "ratios_option" in _source(name) else []
    ended = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", *words, *keeps],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    file.unlink(missing_ok=True)
    return Ran(ended.returncode, ended.stdout, found, time.perf_counter() - began)


def _source(name: str) -> str:
    return Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8")


def worse(ratios: Mapping[str, float], baseline: Mapping[str, float]) -> list[str]:
    """What is said of ratios that are worse than those of the baseline, or were not measured.

    Args:
        ratios: the larger the worse, by name.
        baseline: those of earlier.
    """
    found = [f"{name}: not measured, {before:.2f} before" for name, before in baseline.items() if name not in ratios]
    return found + [
        f"{name}: {ratios[name]:.2f}, {before:.2f} before: {ratios[name] / before:.2f} times"
        for name, before in baseline.items()
        if name in ratios and ratios[name] > WORSE * before
    ]


def draw_curves(curves: Mapping[str, Mapping[str, float]], file: Path) -> None:
    """Draw what one more costs, a panel for each row of `scaling`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.2 * len(curves), 3), layout="constrained")
    for axes, (title, curve) in zip(figure.subplots(1, len(curves), squeeze=False)[0], curves.items(), strict=True):
        name, _, unit = title.rpartition(", ")
        axes.loglog([int(count) for count in curve], list(curve.values()), "o-")
        axes.set(title=name, ylabel=unit, ylim=_decades(curve.values()))
    figure.savefig(file)


def draw_points(points: Mapping[str, Mapping[str, tuple[float, float]]], file: Path) -> None:
    """Draw who took how long and ended how far from the best, a panel for each of the works."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.2 * len(points), 3), layout="constrained")
    for axes, (work, of_work) in zip(figure.subplots(1, len(points), squeeze=False)[0], points.items(), strict=True):
        for method, (seconds, below) in of_work.items():
            axes.plot(seconds, below, "o", label=method)
        axes.set(title=work, xlabel="seconds", ylabel="nats below the best", xscale="log")
        axes.set_xlim(_decades(seconds for seconds, _ in of_work.values()))
        axes.set_yscale("symlog", linthresh=0.1)
        axes.set_ylim(-0.05, 10 * max(0.1, *(below for _, below in of_work.values())))
        axes.legend(fontsize="small")
    figure.savefig(file)


def _decades(values: Iterable[float]) -> tuple[float, float]:
    """Powers of ten around values."""
    logs = np.log10(list(values))
    return 10.0 ** math.floor(logs.min()), 10.0 ** math.ceil(logs.max() + 1e-9)


def page(parts: Mapping[str, Ran], setting: str, folder: Path) -> str:
    """The page, in Markdown; pictures are drawn beside it.

    Args:
        parts: what ran, by name.
        setting: standard or quick.
        folder: of the page.
    """
    lines = [f"# Benchmarks, {date.today():%Y-%m-%d}, {setting} setting", "", machine(), ""]
    for name, part in parts.items():
        words = getattr(PARTS[name], setting)
        called = shlex.join(["python", "-m", f"benchmarks.{name}", *words])
        lines += [f"## {PARTS[name].title}", "", f"`{called}` ended with exit code {part.code} after"]
        # A table is one only after an empty line.
        lines += [f"{part.seconds:.0f} s.", "", re.sub(r"(?m)^([^|\n].*\n)(?=\|)", r"\1\n", part.printed.strip()), ""]
        for kind, draw in (("curves", draw_curves), ("points", draw_points)):
            if kind in part.found:
                draw(part.found[kind], folder / f"{name}.svg")
                lines += [f"![{PARTS[name].title}]({name}.svg)", ""]
    return "\n".join(lines)


def machine() -> str:
    """The machine, in a line."""
    cpu = Path("/proc/cpuinfo")
    models = [line.partition(": ")[2] for line in cpu.read_text().splitlines() if line.startswith("model name")]
    model = models[0] if models else platform.processor()
    return f"{os.cpu_count()} cores of {model}, load average {os.getloadavg()[0]:.1f} at the end"


def main() -> int:
    """Run the parts, write the page and the ratios, and compare."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true", help="the smallest sizes")
    options.add_argument("--only", type=lambda text: text.split(","), default=list(PARTS), help="parts, with commas")
    options.add_argument("--output", type=Path, default=ROOT / "outputs" / "benchmarks", help="folder of the page")
    options.add_argument("--keep", action="store_true", help="store the ratios as the baseline, beside others")
    options.add_argument("--check", action="store_true", help="compare with the baseline")
    arguments = options.parse_args()
    setting = "quick" if arguments.quick else "standard"
    baseline = json.loads(BASELINE.read_text(encoding="utf-8")) if BASELINE.exists() else None
    if arguments.check and (baseline is None or baseline["setting"] != setting):
        options.error(f"there is no baseline of the {setting} setting; --keep makes one")
    folder = arguments.output
    folder.mkdir(parents=True, exist_ok=True)
    parts: dict[str, Ran] = {}
    for name in arguments.only:
        if importlib.util.find_spec(f"benchmarks.{name}") is not None:
            parts[name] = ran(name, getattr(PARTS[name], setting), folder)
            print(f"{name}: exit code {parts[name].code}, {parts[name].seconds:.0f} s", flush=True)
    ratios = {
        f"{name}: {of}": ratio for name, part in parts.items() for of, ratio in part.found.get("ratios", {}).items()
    }
    about = {"setting": setting, "date": f"{date.today():%Y-%m-%d}", "machine": machine(), "ratios": ratios}
    (folder / "benchmarks.md").write_text(page(parts, setting, folder), encoding="utf-8")
    (folder / "ratios.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    if arguments.keep:
        before = baseline["ratios"] if baseline is not None and baseline["setting"] == setting else {}
        others = {name: ratio for name, ratio in before.items() if name.partition(":")[0] not in parts}
        BASELINE.write_text(json.dumps({**about, "ratios": {**others, **ratios}}, indent=1) + "\n", encoding="utf-8")
    print(f"{folder / 'benchmarks.md'}: {len(ratios)} ratios, {sum(one.seconds for one in parts.values()):.0f} s")
    failed = [f"{name}: no ratios" for name, part in parts.items() if not part.found]
    if arguments.check and baseline is not None:
        asked = {name: ratio for name, ratio in baseline["ratios"].items() if name.partition(":")[0] in parts}
        failed += worse(ratios, asked)
    print("\n".join(failed) or ("no ratio is worse than before" if arguments.check else "every part has ratios"))
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
