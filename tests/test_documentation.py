"""The documentation builds without a warning, loads nothing from elsewhere, and everything it shows works."""

import ast
import importlib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import yaml
from conftest import ROOT, Fork
from dvc.cli import parse_args
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from mkdocs.exceptions import PluginError
from omegaconf import OmegaConf

from gmm_pipeline.__main__ import COMMANDS, FLAGS_WITH_ARGUMENT, overrides_first
from gmm_pipeline.configuration.config import config_directory
from gmm_pipeline.configuration.schemas import SCHEMAS

DOCS = ROOT / "docs"
sys.path.insert(0, str(DOCS / "hooks"))

formulas, shown_commands = importlib.import_module("formulas"), importlib.import_module("shown_commands")

PAGES = {path.relative_to(DOCS).as_posix(): path.read_text(encoding="utf-8") for path in sorted(DOCS.rglob("*.md"))}
FENCES = [(uri, fence) for uri, text in PAGES.items() for fence in shown_commands.fences(text)]
NOT_RUN = [
    (uri, line) for uri, fence in FENCES if fence.kind == "sh" and not fence.name for line in fence.body.splitlines()
]
LOADING = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "video": "src",
    "source": "src",
    "embed": "src",
    "object": "data",
    "link": "href",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, fork: Fork) -> Path:
    """The built site. Its commands and scripts run in forks, without imports; the build finds them done."""

    def run(folder: Path, words: list[str]) -> tuple[int, str, str]:
        ended = fork(folder, *(words[3:] if words[:3] == ["python", "-m", "gmm_pipeline"] else words[1:]))
        return ended.returncode, ended.stdout, ended.stderr

    program = shown_commands.digest_of_the_program()
    for uri, text in PAGES.items():
        shown_commands.made_by(uri, text, program, run=run)
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    assert not built.stderr
    return folder


class Page(HTMLParser):
    """What a page loads, and the text of its tables' cells by the section that they are in."""

    def __init__(self, path: Path):
        super().__init__()
        self.loaded: list[str] = []
        self.rows: dict[str, list[list[str]]] = {}
        self.section, self.in_cell = "", False
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        named = dict(attrs)
        if tag in LOADING and LOADING[tag] in named:
            self.loaded.append(named[LOADING[tag]])
        if tag in ("h2", "h3"):
            self.section = named.get("id", "")
        if tag == "tr":
            self.rows.setdefault(self.section, []).append([])
        if tag == "td":
            self.in_cell = True
            self.rows[self.section][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self.in_cell = self.in_cell and tag != "td"

    def handle_data(self, data: str) -> None:
        if self.in_cell:
            self.rows[self.section][-1][-1] += data


def test_every_page_loads_from_the_site_alone(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > len(PAGES)  # those of the changelog and of errors besides
    for path in pages:
        loaded = Page(path).loaded
        assert any(name.endswith(".css") for name in loaded)
        assert not [name for name in loaded if name.startswith(("http:", "https:", "//"))], path
    for path in site.rglob("*.css"):
        assert "@import" not in path.read_text(encoding="utf-8")
        assert "url(http" not in path.read_text(encoding="utf-8")


def dotted_keys(command: str) -> Iterator[str]:
    hints = get_type_hints(SCHEMAS[command])
    for field in fields(SCHEMAS[command]):
        is_group = (config_directory() / field.name).is_dir()
        if is_dataclass(hints[field.name]) and not is_group:
            yield from (f"{field.name}.{inner.name}" for inner in fields(hints[field.name]))
        else:
            yield field.name


@pytest.mark.parametrize("command", SCHEMAS)
def test_every_key_of_a_command_is_on_its_page(site, command):
    rows = {row[0]: row for row in Page(site / "reference" / "commands" / "index.html").rows[command] if row}
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        composed: Any = OmegaConf.to_container(compose(command, overrides=[]), enum_to_str=True)
    for key in dotted_keys(command):
        _, kind, default, meaning = rows[key]
        assert kind
        assert meaning
        value = composed
        for part in key.split("."):
            value = value[part]
        if not isinstance(value, dict):
            assert default == "required" if value == "???" else yaml.safe_load(default) == value


def flat(content: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """The dotted keys of an option and their values."""
    for key, value in content.items():
        if isinstance(value, dict):
            yield from flat(value, f"{above}{key}.")
        elif key not in ("_target_", "defaults"):
            yield f"{above}{key}", value


def test_every_key_of_every_option_is_on_its_page(site):
    rows = Page(site / "reference" / "options" / "index.html").rows
    options = [path for path in config_directory().glob("*/*.yaml") if path.parent.name != "experiment"]
    assert len(options) > 30
    for path in options:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        told = {row[0]: row[2:] for row in rows.get(f"{path.parent.name}-{path.stem}", []) if row}
        for key, value in flat(content):
            default, meaning = told[f"{path.parent.name}.{key}"]
            assert default == "required" if value == "???" else yaml.safe_load(default) == value
            assert meaning, key
            assert not meaning.rstrip().endswith(":"), key


def test_every_metric_and_file_of_a_record_is_explained(site):
    kept = shown_commands.made_by("index.md", PAGES["index.md"], shown_commands.digest_of_the_program())
    record = kept["first"].folder
    explained = " ".join(row[0] for row in Page(site / "reference/statistics/index.html").rows["every-metric"] if row)
    assert set(yaml.safe_load((record / "metrics.json").read_text())) <= set(explained.replace(",", " ").split())
    files = " ".join(row[0] for row in Page(site / "reference/record/index.html").rows[""] if row)
    told = {name.strip("/") for name in files.replace(",", " ").split()}
    assert {path.name for path in record.iterdir()} <= told


def test_what_was_printed_stands_below_its_command(site):
    page = (site / "index.html").read_text(encoding="utf-8")
    assert "independent searches found this optimum" in page
    assert "made/first/figures/fitted_density.png" in page
    assert (site / "made" / "first" / "figures" / "fitted_density.png").stat().st_size > 0


def composed(command: str, words: list[str], folder: Path) -> Any:
    """The config of a command line, the first of each choice of a sweep."""
    flags = [word for word in words if word.startswith("-")]
    taken = [words[words.index(flag) + 1] for flag in flags if flag in FLAGS_WITH_ARGUMENT]
    overrides = []
    for override in OverridesParser.create().parse_overrides([w for w in words if w not in {*flags, *taken}]):
        if override.is_discrete_sweep():
            overrides.append(f"{override.get_key_element()}={next(override.sweep_string_iterator())}")
        elif not override.is_sweep_override():
            overrides.append(override.input_line)
    own = [folder / named for flag, named in zip(flags, taken, strict=False) if flag == "--config-dir"]
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        searched = ",".join(f"'file://{path}'" for path in own)
        return compose(command, [*overrides, f"hydra.searchpath=[{searched}]"], return_hydra_config=True)


@pytest.mark.parametrize(("uri", "line"), NOT_RUN, ids=[f"{uri}: {line}" for uri, line in NOT_RUN])
def test_a_command_that_is_shown_and_not_run_could_be(tmp_path, uri, line):
    program, *words = shown_commands.words_of(line)
    if program == "make":
        dry_run = subprocess.run([program, "--dry-run", *words], cwd=ROOT, capture_output=True, check=False)
        assert dry_run.returncode == 0
    elif program in ("dvc", "git"):
        assert program != "dvc" or parse_args(words).func
    else:
        shown_commands.write_files(shown_commands.fences(PAGES[uri]), tmp_path)
        assert [program, *words[:2]] == ["python", "-m", "gmm_pipeline"]
        command, arguments = words[2], overrides_first(words[3:])
        assert command in COMMANDS
        keys = {word.partition("=")[0].partition(".")[0] for word in arguments if "=" in word}
        if command == "rerun" and not keys <= {field.name for field in fields(SCHEMAS[command])}:
            command, arguments = "fit", [word for word in arguments if not word.startswith("run=")]  # a variation
        assert composed("fit" if command == "plan" else command, arguments, tmp_path)


@pytest.mark.parametrize("uri", PAGES)
def test_every_block_of_python_is_a_file_or_was_run(uri):
    for fence in shown_commands.fences(PAGES[uri]):
        assert fence.kind != "python" or fence.name or fence.body.startswith("# ")


def test_scripts_for_bash_are_bash():
    scripts = [fence.body for _, fence in FENCES if fence.kind == "bash"]
    assert scripts
    for script in scripts:
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_the_messages_that_are_explained_are_those_of_the_program():
    """Each heading in backticks is part of a text in the code."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in sorted((ROOT / "gmm_pipeline").rglob("*.py"))]
    texts = [
        part.value
        for tree in trees
        for part in ast.walk(tree)
        if isinstance(part, ast.Constant) and isinstance(part.value, str)
    ]
    parts = [
        message.removeprefix("expected ")  # put before what the code expects
        for heading in re.findall(r"^### (`.*)$", PAGES["troubleshooting.md"], flags=re.MULTILINE)
        for message in re.findall(r"`([^`]+)`", heading)
    ]
    assert len(parts) > 15
    assert [part for part in parts if not any(part in text for text in texts)] == []


def test_commands_run_again_only_after_a_change(tmp_path):
    seen = []

    def run(folder: Path, words: list[str]) -> tuple[int, str, str]:
        seen.append(shlex.join(words))
        return 0, f"record: {folder.name}\n", ""

    text = "```sh run=first\npython -m gmm_pipeline fit\n```\n"
    for program, page, runs in (("a", text, 1), ("a", text, 1), ("b", text, 2), ("b", text + "more", 2)):
        made = shown_commands.made_by("page.md", page, program, tmp_path, run)
        assert made["first"].printed == "record: page"
        assert made["first"].folder == tmp_path / "page" / "page"
        assert len(seen) == runs
    shown_commands.made_by("page.md", text.replace("fit", "ui"), "b", tmp_path, run)
    assert seen == ["python -m gmm_pipeline fit"] * 2 + ["python -m gmm_pipeline ui"]


def test_a_command_that_fails_fails_the_build(tmp_path):
    text = "```sh run=first\npython -m gmm_pipeline fit stepps=3\n```\n"
    for _ in range(2):  # what failed is not kept
        with pytest.raises(PluginError, match="stepps=3' ended with exit code 2\nerror: no such key"):
            shown_commands.made_by("page.md", text, "a", tmp_path, lambda *_: (2, "", "error: no such key"))


def test_a_formula_that_cannot_be_drawn_fails_the_build():
    assert 'aria-label="x &lt; \\mu"' in formulas.on_page_content(r'<span class="arithmatex">\(x &lt; \mu\)</span>')
    with pytest.raises(PluginError, match="nosuchthing"):
        formulas.on_page_content(r'<div class="arithmatex">\[\nosuchthing\]</div>')
