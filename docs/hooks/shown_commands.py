"""Runs the commands that the pages show, and puts what they printed and drew where the pages want it.

A fence that opens with `sh run=NAME` holds commands. They run in the order of the page, in a folder of the page's own,
as a reader would type them, and what they print follows them on the page. `made/NAME/figures/loss.png` is then a file
of the record that the fence NAME left; `howto/data/made/NAME/…` is one that a fence of `howto/data.md` left. A `python
run=NAME` fence is run as a script; its output follows it too. A fence of any kind that opens with a comment such as
`# mine/prior/ridge.yaml` is that file, and is there before all commands, as is `examples/`.

A folder is kept under `.docs_cache/` and used again while neither the page's commands nor the program have changed. The
price: a change anywhere in the program runs everything again, some commands for each page.
"""

import hashlib
import json
import logging
import os
import posixpath
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

ROOT = Path(__file__).parent.parent.parent
CACHE = ROOT / ".docs_cache"
FENCE = re.compile(r"^```(\w+)(?: run=(\w+))?\n(.*?)^```$", re.DOTALL | re.MULTILINE)
MADE = re.compile(r"(?<=\()((?:[\w.]+/)*)made/(\w+)/([\w./-]+)")
FOLDER_PRINTED = re.compile(r"^records?: (.+)$", re.MULTILINE)
PROGRAM = "python -m gmm_pipeline "

log = logging.getLogger("mkdocs.hooks.shown_commands")

Run = Callable[[Path, list[str]], tuple[int, str, str]]
"""(folder, words) -> exit code, stdout, stderr."""


class Fence(NamedTuple):
    """A block of a page."""

    kind: str
    name: str | None
    """Of a block that is run."""
    body: str


class Ran(NamedTuple):
    """What a fence printed, and where its files are."""

    printed: str
    folder: Path


def fences(text: str) -> list[Fence]:
    """The blocks of a page, in order."""
    return [Fence(kind, name or None, body) for kind, name, body in FENCE.findall(text)]


def words_of(line: str) -> list[str]:
    """The words of a command that a page shows, without a comment behind it."""
    return shlex.split(line, comments=True)


def run_in_a_process(folder: Path, words: list[str]) -> tuple[int, str, str]:
    """Run a shown command with this interpreter, far from the reader's settings."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW", "HYDRA"))}
    finished = subprocess.run(
        [sys.executable, *words[1:]],
        cwd=folder,
        env={
            **environment,
            "JAX_COMPILATION_CACHE_DIR": str(CACHE / "compiled"),
            "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [environment.get("PYTHONPATH")])]),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    return finished.returncode, finished.stdout, finished.stderr


def digest_of_the_program() -> str:
    """Of everything that decides what a command prints."""
    seen = hashlib.sha256()
    patterns = ("gmm_pipeline/**/*.py", "hydra_plugins/*.py", "conf/**/*.yaml", "examples/data/*", "requirements.lock")
    for path in [Path(__file__), *(path for pattern in patterns for path in sorted(ROOT.glob(pattern)))]:
        seen.update(f"{path.relative_to(ROOT)}\n".encode() + path.read_bytes())
    return seen.hexdigest()


def made_by(uri: str, text: str, program: str, cache: Path = CACHE, run: Run = run_in_a_process) -> dict[str, Ran]:
    """What each fence of a page printed and left, run now or kept from before.

    Args:
        uri: of the page, below `docs/`.
        text: its Markdown.
        program: digest of the program.
        cache: folder of what is kept.
        run: how a command is run.

    Raises:
        PluginError: a command failed.
    """
    blocks = fences(text)
    if not any(block.name for block in blocks):
        return {}
    name = uri.removesuffix(".md").replace("/", "-")
    folder, results = cache / name, cache / f"{name}.json"
    digest = hashlib.sha256(json.dumps([program, blocks]).encode()).hexdigest()
    kept = json.loads(results.read_text(encoding="utf-8")) if results.is_file() else {}
    if kept.get("digest") != digest:
        began = time.perf_counter()
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "examples").symlink_to(ROOT / "examples")
        write_files(blocks, folder)
        ran = {block.name: _ran(block, folder, uri, run) for block in blocks if block.name}
        kept = {"digest": digest, "ran": ran}
        results.write_text(json.dumps(kept), encoding="utf-8")
        log.info("Ran the commands of %s in %.0f s", uri, time.perf_counter() - began)
    return {name: Ran(printed, folder / where) for name, (printed, where) in kept["ran"].items()}


def write_files(blocks: list[Fence], folder: Path) -> None:
    """The files that a page shows, under the names that it gives them."""
    for block in blocks:
        named = re.match(r"# ([\w./-]+\.(?:py|yaml|csv))\n", block.body)
        if named and not block.name:
            path = folder / named.group(1)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.body, encoding="utf-8")


def _ran(block: Fence, folder: Path, uri: str, run: Run) -> tuple[str, str]:
    """What a block printed, and the folder that it left, relative to the page's."""
    if block.kind == "python":
        commands = [["python", "-c", block.body]]
    else:
        commands = [words_of(line) for line in block.body.splitlines() if line.strip()]
    printed = []
    for words in commands:
        shown = shlex.join(words) if block.kind == "sh" else f"python fence {block.name}"
        log.info("%s: %s", uri, shown)
        code, stdout, stderr = run(folder, words)
        if code:
            raise PluginError(f"{uri}: {shown!r} ended with exit code {code}\n{stderr[-2000:]}")
        printed.append(stdout.rstrip())
    output = "\n\n".join(printed)
    left = FOLDER_PRINTED.findall(output)
    return output, left[-1] if left else "."


def on_files(files: Any, config: Any) -> Any:
    """Run what is to be run, pages beside each other, and add the files that pages refer to."""
    pages = [file for file in files if file.is_documentation_page() and file.abs_src_path]
    program = digest_of_the_program()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        made = list(pool.map(lambda file: made_by(file.src_uri, file.content_string, program), pages))
    ran_by = {file.src_uri: ran for file, ran in zip(pages, made, strict=True)}
    config.extra["ran"] = {uri: {name: each.printed for name, each in ran.items()} for uri, ran in ran_by.items()}
    for uri, source in _files_shown(pages, ran_by).items():
        files.append(File.generated(config, uri, content=source.read_bytes()))
    return files


def _files_shown(pages: list[Any], ran_by: dict[str, dict[str, Ran]]) -> dict[str, Path]:
    """The files of records that pages refer to, by where the pages want them."""
    shown = {}
    for file in pages:
        for page, name, wanted in set(MADE.findall(file.content_string)):
            folder = posixpath.dirname(file.src_uri)
            owner = posixpath.join(folder, f"{page.removesuffix('/')}.md") if page else file.src_uri
            ran = ran_by.get(posixpath.normpath(owner), {}).get(name)
            if ran is None or not (ran.folder / wanted).is_file():
                raise PluginError(f"{file.src_uri}: there is no {page}made/{name}/{wanted}")
            shown[posixpath.normpath(posixpath.join(folder, page, "made", name, wanted))] = ran.folder / wanted
    return shown


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    """Plain fences, each followed by what it printed."""
    printed = config.extra["ran"].get(page.file.src_uri, {})

    def shown(found: re.Match[str]) -> str:
        kind, name, body = found.groups()
        fence = f"```{kind}\n{body}```"
        output = printed.get(name, "")
        return f"{fence}\n\n```text\n{output}\n```" if output else fence

    return FENCE.sub(shown, markdown)
