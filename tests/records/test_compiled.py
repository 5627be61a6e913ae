"""Compiled programs: kept where the user's are, shared by processes, bounded, and told of while they are made."""

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from hydra import compose, initialize_config_dir

from gmm_pipeline.configuration import config
from gmm_pipeline.records import compiled
from gmm_pipeline.stages import terminal

COMPILES = """
import sys, time
from gmm_pipeline.records import compiled
import jax, jax.numpy as jnp
compiled.keep_in("user")
for number in range(4):
    f = jax.jit(lambda x, number=number: jnp.sum(jnp.sin(x) ** number))
    print(float(f(jnp.arange(9.0))))
"""


def processes(cache: Path, n: int) -> list[subprocess.Popen[str]]:
    environment = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    environment["XDG_CACHE_HOME"] = environment["HOME"] = str(cache)
    return [
        subprocess.Popen(
            [sys.executable, "-c", COMPILES],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(n)
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a cache folder does not follow XDG_CACHE_HOME")
def test_processes_share_programs_and_replace_what_was_cut_off(tmp_path):
    ended = [(process.communicate(timeout=120), process.returncode) for process in processes(tmp_path, 2)]
    assert ended[0][0][0].count("\n") == 4
    assert ended == [((ended[0][0][0], ""), 0)] * 2
    folder = tmp_path / "gmm_pipeline" / "compiled"
    assert folder.stat().st_mode & 0o077 == 0
    whole = {file: file.read_bytes() for file in folder.glob("*-cache")}
    assert len(whole) >= 4
    for file, content in whole.items():
        file.write_bytes(content[: len(content) // 2])
    (process,) = processes(tmp_path, 1)
    assert process.communicate(timeout=120) == (ended[0][0][0], "")
    assert {file for file in folder.glob("*-cache") if file.stat().st_size > len(whole[file]) // 2} == {*whole}


def test_what_was_not_used_for_longest_goes_first(tmp_path):
    for age in range(10):
        file = tmp_path / f"jit_f-{age}-cache"
        file.write_bytes(bytes(100))
        os.utime(file, (1e9 - age, 1e9 - 100))
    compiled.trim(tmp_path, most=1000)
    assert len(list(tmp_path.iterdir())) == 10
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: compiled.trim(tmp_path, most=900), range(4)))
    left = int(compiled.KEPT * 900) // 100
    assert {file.name for file in tmp_path.iterdir()} == {f"jit_f-{age}-cache" for age in range(left)}
    compiled.trim(tmp_path / "nowhere")


def test_environment_and_key_win_over_the_users_folder(monkeypatch):
    def asked(*overrides: str) -> str:
        with initialize_config_dir(str(config.config_directory()), version_base="1.3"):
            return compose("fit", list(overrides)).compilation_cache

    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    assert asked() == compiled.USER
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "/elsewhere")
    assert asked() == "/elsewhere"
    assert asked("compilation_cache=mine") == "mine"


def test_a_folder_that_cannot_be_made_costs_no_fit(tmp_path, monkeypatch):
    before = jax.config.values["jax_compilation_cache_dir"]
    (tmp_path / "file").touch()
    compiled.keep_in(str(tmp_path / "file" / "cache"))
    assert jax.config.values["jax_compilation_cache_dir"] == before


def test_compiling_is_seen_while_it_lasts():
    compiled.keep_in(None)
    compiling = threading.Thread(target=lambda: jax.jit(lambda x: jnp.linalg.eigh(x @ x.T)[0])(jnp.eye(7)))
    compiling.start()
    seen = []
    while compiling.is_alive():
        seen.append(compiled.seconds_compiling())
        time.sleep(1e-4)
    assert max(seen) > 0.0
    assert compiled.seconds_compiling() == 0.0


@pytest.mark.parametrize("is_terminal", [True, False])
def test_compiling_is_said_at_once_on_a_terminal(is_terminal, monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1" if is_terminal else "")
    monkeypatch.setattr(terminal, "SECONDS_BETWEEN_LOOKS", 0.001)
    monkeypatch.setattr(compiled, "seconds_compiling", lambda: 1.0)
    said, until = "", time.monotonic() + (20 if is_terminal else 0.1)
    with terminal.progress_bar("fitting", "steps"):
        while terminal.COMPILING not in said and time.monotonic() < until:
            time.sleep(0.01)
            said += capsys.readouterr().err
    assert (terminal.COMPILING in said) == is_terminal
