"""The recipes for containers: a Dockerfile whose parts exist, and a Kubernetes job whose script is bash."""

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import PurePosixPath

import pytest
import yaml
from conftest import ROOT

INSTRUCTIONS = {"FROM", "ARG", "WORKDIR", "COPY", "RUN", "ENV", "USER", "ENTRYPOINT", "CMD"}
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
LINES = [
    tuple(line.split(maxsplit=1))
    for line in re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE)).splitlines()
    if line
]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def of(instruction: str) -> list[str]:
    return [rest for name, rest in LINES if name == instruction]


def test_every_instruction_is_one_and_the_first_is_a_pinned_image():
    assert {name for name, _ in LINES} <= INSTRUCTIONS
    assert LINES[0][0] == "FROM"
    tags = [re.fullmatch(r"python:(3\.\d+)-slim( AS \w+)?", image) for image in of("FROM")]
    versions = {tag.group(1) for tag in tags if tag}
    assert all(tags)
    assert f"Programming Language :: Python :: {versions.pop()}" in PROJECT["classifiers"]
    assert not versions  # the environment of one stage runs in the other


def test_what_is_copied_exists_and_is_not_ignored():
    sources = [word for copied in of("COPY") if not copied.startswith("--from") for word in copied.split()[:-1]]
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert {str(PurePosixPath(source)) for source in sources} == kept
    assert all((ROOT / source).exists() for source in sources)
    build = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]["targets"]
    built_from = {*build["wheel"]["packages"], *build["wheel"]["force-include"]}
    assert built_from | {PROJECT["readme"], *PROJECT["license-files"]} <= kept


def test_it_runs_the_console_script_as_an_ordinary_user():
    assert of("USER") == ["gmm"]
    (entry,) = of("ENTRYPOINT")
    assert json.loads(entry)[0] in PROJECT["scripts"]
    assert set(of("ARG")[0].partition("=")[2].split(",")) <= set(PROJECT["optional-dependencies"])


def test_the_constraints_are_the_versions_of_the_lock():
    script = next(command for command in of("RUN") if "constraints.txt" in command).partition(">")[0]
    made = subprocess.run(["sh", "-c", script], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    lock = (ROOT / "requirements.lock").read_text()
    assert made.splitlines() == re.findall(r"^([a-z]\S*==.*?) \\$", lock, flags=re.MULTILINE)
    assert "--hash" not in made
    for required in PROJECT["dependencies"]:
        assert f"\n{re.split('[<>=]', required)[0]}==" in f"\n{made}"


def test_the_job_for_kubernetes_is_an_indexed_one_whose_script_is_bash():
    page = (ROOT / "docs" / "howto" / "containers.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"^```yaml\n(.*?)^```", page, flags=re.DOTALL | re.MULTILINE)
    job = yaml.safe_load(text)
    assert (job["apiVersion"], job["kind"], job["spec"]["completionMode"]) == ("batch/v1", "Job", "Indexed")
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    subprocess.run(["bash", "-n"], input=container["args"][0], text=True, check=True)
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    assert [mount["mountPath"] for mount in container["volumeMounts"]] == of("WORKDIR")[1:]


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="hadolint is not installed")
def test_hadolint_has_no_complaint():
    subprocess.run(["hadolint", "Dockerfile"], cwd=ROOT, check=True)
