"""What the program calls itself, and that its streams take every character."""

import io
import re
import sys
from pathlib import Path

import pytest
from conftest import Cli

from gmm_pipeline import program
from gmm_pipeline.__main__ import WITHOUT_JAX


@pytest.mark.parametrize(
    ("encoding", "written"),
    [
        ("utf-8", "0.5 ± 0.1 … −3 → µ é"),
        ("ascii", "0.5 +/- 0.1 ... -3 -> u \\xe9"),
        ("latin-1", "0.5 ± 0.1 ... -3 -> µ é"),
        ("cp1252", "0.5 ± 0.1 … -3 -> µ é"),
    ],
)
@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_stream_writes_what_it_can_and_something_like_the_rest(monkeypatch, name, encoding, written):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, name, stream)
    program.write_plainly()
    stream.write("0.5 ± 0.1 … −3 → µ é")
    stream.flush()
    assert stream.buffer.getvalue().decode(encoding) == written
    if name == "stdout":
        assert program.as_written("0.5 ± 0.1 … −3 → µ é") == written


def test_the_name_of_a_file_that_is_no_text_can_be_written(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    monkeypatch.setattr(sys, "stderr", stream)
    program.write_plainly()
    stream.write("error: " + b"caf\xe9.csv".decode("utf-8", "surrogateescape"))
    stream.flush()
    assert stream.buffer.getvalue() == rb"error: caf\udce9.csv"


@pytest.mark.parametrize(
    ("started", "name"),
    [
        ("/somewhere/gmm_pipeline/__main__.py", "python -m gmm_pipeline"),
        ("/usr/lib/python3/site-packages/ipykernel_launcher.py", "python -m gmm_pipeline"),
        ("gmm-pipeline", "gmm-pipeline"),
        (".venv/bin/gmm-pipeline", ".venv/bin/gmm-pipeline"),
    ],
)
def test_the_program_is_called_what_was_typed(monkeypatch, started, name):
    monkeypatch.setattr(sys, "argv", [started, "fit"])
    assert program.name() == name


def test_a_script_on_the_path_is_called_by_its_name_alone(monkeypatch, tmp_path: Path):
    script = tmp_path / "gmm-pipeline"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", [str(script), "fit"])
    assert program.name() == "gmm-pipeline"


@pytest.mark.parametrize("command", WITHOUT_JAX)
def test_commands_that_compute_nothing_do_not_import_jax(cli: Cli, command):
    ended = cli(command, PYTHONPROFILEIMPORTTIME="1")
    imported = re.findall(r"^import time:[\d |]+\| +(\w+)", ended.stderr, re.MULTILINE)
    assert ended.returncode == 2  # of the stage itself: there are no records
    assert "omegaconf" in imported
    assert "jax" not in imported
