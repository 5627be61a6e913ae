"""What SECURITY.md promises and no other test shows. Names on pages: `report/test_report_pages.py`; functions that a
config may name: `configuration/test_targets.py`; pickles and devices: `records/test_damaged_*.py`.
"""

import os
import re
import shutil
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, Quick

from gmm_pipeline.configuration.schemas import COMMANDS_OWN
from gmm_pipeline.tracking import store
from gmm_pipeline.tracking.description import in_fence, in_markdown


def test_yaml_makes_no_objects_and_writes_nowhere_else(quick: Quick, tmp_path: Path):
    (tmp_path / "evil.yaml").write_text('prior: !!python/object/apply:os.mkdir ["made"]\n')
    refused = quick("fit", "config=evil.yaml", cwd=tmp_path)
    assert (refused.returncode, (tmp_path / "made").exists()) == (2, False)
    assert refused.stderr.startswith("error: evil.yaml")
    assert {"outputs_dir", "tracking", "plugins", "output", "sweep"} <= {*COMMANDS_OWN}


def test_an_animation_is_not_written_through_a_link_of_a_record(quick: Quick, tmp_path: Path):
    record, elsewhere = tmp_path / "record", tmp_path / "elsewhere"
    shutil.copytree(ROOT / "tests" / "data" / "version_0.1.0" / "fit" / "one_column", record)
    shutil.rmtree(record / "animation", ignore_errors=True)
    elsewhere.mkdir()
    (record / "animation").symlink_to(elsewhere)
    refused = quick("animate", f"run={record}", "animation.frames=2", "animation.formats=[gif]", cwd=tmp_path)
    assert refused.returncode == 2
    assert "a link to" in refused.stderr
    assert not list(elsewhere.iterdir())


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "<img src=x onerror=alert(2)>", "</b>", "<!--"])
def test_names_are_no_html_in_notes(name):
    said = in_markdown(f"- loc of {name}: p < 0.001")
    assert not re.search(r"<[A-Za-z/!?]", said)
    assert said.endswith("p < 0.001")


def test_a_command_cannot_end_its_block():
    command = "fit 'data.name=```\n<script>alert(1)</script>\n```'"
    opened, *_, closed = in_fence(command).splitlines()
    assert opened.removesuffix("sh") == closed
    assert closed not in command


def test_the_ui_listens_on_this_machine_and_mlflow_sends_nothing(monkeypatch: pytest.MonkeyPatch):
    assert yaml.safe_load((ROOT / "conf" / "ui.yaml").read_text())["host"] == "127.0.0.1"
    monkeypatch.setattr(os, "environ", {})
    store.set_defaults()
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
