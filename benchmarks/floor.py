"""The floor: loss and gradient as a hand-written C program, about as fast as a CPU can."""

import re
import shutil
import subprocess
from pathlib import Path

FLAGS = ["-O3", "-march=native", "-ffast-math", "-fopenmp"]


def build_floor(source: Path, folder: Path) -> Path | str:
    """Compile the floor; a text says why there is none."""
    cpu = Path("/proc/cpuinfo")
    if not source.is_file():
        return f"{source} is missing (--floor FILE names it)"
    if not cpu.is_file() or "avx512f" not in cpu.read_text(encoding="utf-8"):
        return "the CPU has no AVX-512, which it is written in"
    compiler = shutil.which("gcc")
    if compiler is None:
        return "there is no gcc to compile it"
    program = folder / "floor"
    compiled = subprocess.run(
        [compiler, *FLAGS, str(source.absolute()), "-o", str(program), "-lm"],
        capture_output=True,
        text=True,
        check=False,
    )
    return program if compiled.returncode == 0 else f"gcc refused it: {compiled.stderr.strip()}"


def run_floor(program: Path) -> dict[tuple[int, int], float]:
    """Nanoseconds of an element on two threads, by number of data and components."""
    finished = subprocess.run([str(program)], capture_output=True, text=True, check=True)
    found = re.findall(r"\[N=(\d+) K=(\d+) avx512 t2 ([\d.]+)", finished.stdout)
    return {(int(n_data), int(n_components)): float(each) for n_data, n_components, each in found}
