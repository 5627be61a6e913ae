"""The state of the code that computes results: commit, differences from it, and a digest of its source.

Only what affects a result counts: the package, `conf/`, the launcher, and the required libraries. An edited README does
not make a run dirty. An untracked file counts as a change and is part of the diff. The price: git is called once per
process, so later changes are not seen; they do not affect code that is already imported.
"""

import functools
import hashlib
import inspect
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

PACKAGE = Path(__file__).parent.parent
DECIDING = ("gmm_pipeline", "conf", "hydra_plugins", "pyproject.toml", "requirements.lock")
"""What affects a result, besides the package."""
LONGEST_DIFF = 1_000_000
"""Most characters of a diff that are stored, and most bytes of a new file that it shows."""


class CodeState(NamedTuple):
    """The state of the code according to git; None outside of a checkout."""

    commit: str | None
    dirty: bool | None
    diff: str
    """Differences between the commit and the files, for `git apply`; empty if there are none."""

    @property
    def diff_digest(self) -> str | None:
        """SHA-256 of the diff."""
        return hashlib.sha256(self.diff.encode()).hexdigest() if self.diff else None


@functools.cache
def code_state() -> CodeState:
    """The state of this package's code."""
    return state_of(PACKAGE)


def why_unknown(package: Path = PACKAGE) -> str:
    """Why git does not say the commit of a checkout, and the remedy, in sentences; empty if it does, or there is none.

    Args:
        package: the folder with `__init__.py`.
    """
    root = package.parent
    if not (root / ".git").exists() or (code_state() if package == PACKAGE else state_of(package)).commit is not None:
        return ""
    lacking = "Records lack the commit of the code"
    try:
        asked = subprocess.run(  # noqa: S603 - fixed arguments, no shell
            ["git", "-C", str(root), "rev-parse", "HEAD"],  # noqa: S607 - git is where the user has it
            capture_output=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return f"{lacking}, since git cannot be run. Install it."
    said = " ".join(asked.stderr.decode(errors="replace").split())
    if "dubious ownership" in said:
        trust = f"git config --global --add safe.directory {shlex.quote(str(root))}"
        return f"{lacking}, since git does not read a checkout of another user. If you trust it: {trust}"
    return f"{lacking}, since git says: {said}" if asked.returncode else ""


def state_of(package: Path) -> CodeState:
    """The state of a package and of the files beside it that affect results.

    Args:
        package: the folder with `__init__.py`.
    """
    root = package.parent
    tracked = _git(package, "ls-files", "--error-unmatch", "__init__.py")
    commit = None if tracked is None else _git(root, "rev-parse", "HEAD")
    if commit is None:
        return CodeState(None, None, "")
    changes = _git(root, "status", "--porcelain", "--untracked-files=all", "--", *DECIDING)
    if not changes:
        return CodeState(commit.strip(), None if changes is None else False, "")
    new = _git(root, "ls-files", "--others", "--exclude-standard", "-z", "--", *DECIDING) or ""
    shown = ("--no-color", "--no-ext-diff", "--no-textconv", "--no-renames", "--src-prefix=a/", "--dst-prefix=b/")
    tracked = _git(root, "diff", "HEAD", "--relative", *shown, "--", *DECIDING) or ""
    diff = tracked + "".join(_as_new(root, name) for name in new.split("\0") if name)
    return CodeState(commit.strip(), True, _cut(diff))


def _as_new(root: Path, name: str) -> str:
    """An untracked file as a diff."""
    header = f"diff --git a/{name} b/{name}\nnew file mode 100644\n"
    try:
        content = (root / name).read_bytes()
        text = content[:LONGEST_DIFF].decode()
    except (OSError, UnicodeDecodeError):
        text = "\0"
    if "\0" in text:
        return f"{header}Binary files /dev/null and b/{name} differ\n"
    lines = text.split("\n")
    ending = "" if lines[-1] == "" else "\\ No newline at end of file\n"
    lines = lines if lines[-1] else lines[:-1]
    body = "".join(f"+{line}\n" for line in lines)
    return f"{header}--- /dev/null\n+++ b/{name}\n@@ -0,0 +1,{len(lines)} @@\n{body}{ending}"


def _cut(diff: str) -> str:
    if len(diff) <= LONGEST_DIFF:
        return diff
    return f"{diff[:LONGEST_DIFF]}\n… and {len(diff) - LONGEST_DIFF:,} more letters\n"


def _git(folder: Path, *arguments: str) -> str | None:
    own = ("-c", "core.quotePath=off", "--no-optional-locks", "-C", str(folder))
    try:
        finished = subprocess.run(  # noqa: S603 - fixed arguments, no shell
            ["git", *own, *arguments],  # noqa: S607 - git is where the user has it
            capture_output=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return finished.stdout.decode(errors="replace")


@functools.lru_cache(maxsize=256)
def source_digest(*functions: Callable[..., object]) -> str:
    """SHA-256 of this package's source and of the files of other functions.

    Args:
        functions: plug-ins, whose source counts unless they belong to a library.
    """
    files = {*PACKAGE.rglob("*.py"), *(file for file in map(_source, functions) if file is not None)}
    sha = hashlib.sha256()
    for file in sorted(files):
        sha.update(file.read_bytes())
    return sha.hexdigest()


def _source(function: Callable[..., object]) -> Path | None:
    """The file of a user's function; None for one of an installed library, which has a version."""
    try:
        file = Path(inspect.getfile(inspect.unwrap(function)))  # a decorator, as jax.jit, is of a library
    except TypeError:  # built in
        return None
    return None if "site-packages" in file.parts else file
