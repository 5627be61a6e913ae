"""What the program is to whoever starts it: its name, its version, and what it may write to their streams."""

import codecs
import io
import select
import sys
from pathlib import Path

DISTRIBUTION = "gmm-pipeline"
"""The name that it is installed by, and that of its script."""
MODULE = "gmm_pipeline"
PLAIN = "gmm_pipeline.plain"
"""Name of the error handler of the streams."""
IN_ASCII = {
    "±": "+/-",
    "…": "...",
    "–": "-",
    "—": "-",
    "−": "-",
    "→": "->",
    "×": "x",
    "·": "*",
    "≤": "<=",
    "√": "sqrt ",
    "²": "^2",
    "µ": "u",
    "‘": "'",
    "’": "'",
    "“": '"',
    "”": '"',
}
"""What stands for characters that a stream cannot have."""


def name() -> str:
    """The program as it was started: its script, or the module."""
    started = Path(sys.argv[0])
    if started.name != DISTRIBUTION:
        return f"python -m {MODULE}"
    import shlex
    import shutil

    on_path = str(started) in (DISTRIBUTION, shutil.which(DISTRIBUTION))
    return DISTRIBUTION if on_path else shlex.quote(str(started))


def version() -> str:
    """Of the installed program."""
    from importlib.metadata import version as installed

    return installed(DISTRIBUTION)


def extra_with(package: str) -> str | None:
    """The extra of this program that installs a package and the least besides, if one does."""
    import re
    from importlib.metadata import requires

    packages: dict[str, list[str]] = {}
    for requirement in requires(DISTRIBUTION) or []:
        found = re.match(r"([\w.-]+).*;.*extra == ['\"]([\w-]+)['\"]", requirement)
        if found:
            packages.setdefault(found.group(2), []).append(found.group(1).lower())
    with_it = [extra for extra, members in packages.items() if package.lower() in members]
    return min(with_it, key=lambda extra: len(packages[extra]), default=None)


def write_plainly() -> None:
    """Let stdout and stderr write what their encoding lacks as something like it, where Python would raise.

    A terminal or a cron job may be ASCII, and the name of a file may be no text at all.
    """
    codecs.register_error(PLAIN, _plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=PLAIN)


def is_unread() -> bool:
    """Whether the reader of stdout or stderr, such as `head`, has closed the pipe."""
    for number in (1, 2):
        seen = select.poll()
        seen.register(number, 0)
        if any(event & (select.POLLERR | select.POLLHUP) for _, event in seen.poll(0)):
            return True
    return False


def as_written(text: str) -> str:
    """A text as stdout writes it, whose length may differ."""
    encoding, errors = sys.stdout.encoding or "utf-8", getattr(sys.stdout, "errors", None)
    return text.encode(encoding, PLAIN).decode(encoding) if errors == PLAIN else text


def _plain(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    characters = error.object[error.start : error.end]
    return "".join(IN_ASCII.get(one, one.encode("ascii", "backslashreplace").decode()) for one in characters), error.end
