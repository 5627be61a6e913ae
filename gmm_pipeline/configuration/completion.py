"""What a shell is offered that Hydra does not know: command words, flags, and the paths of keys that name a file.

Everything else, such as keys and the options of groups, Hydra completes itself.
"""

from collections.abc import Iterable
from pathlib import Path

PATH_KEYS = ("config", "run", "output", "film", "outputs_dir", "data.path", "data.truth", "hydra.run.dir")
"""Keys whose value is a file or a folder."""
PATH_FLAGS = ("--config-dir", "-cd", "--config-path", "-cp")
"""Flags whose next word is one."""
FLAGS = ("--help", "--version", "--multirun", "--cfg", "--resolve", "--info", "--config-dir", "--hydra-help")
COMPLETIONS = {"--cfg": ("job", "hydra", "all"), "-c": ("job", "hydra", "all")}
"""What may follow a flag."""


def offers(line: str, commands: Iterable[str]) -> list[str] | None:
    """What the word under the cursor may become; None where Hydra knows.

    Args:
        line: as far as it is typed, the program first.
        commands: command words.
    """
    words = line.split()
    typed = "" if line.endswith(" ") else words.pop()
    if len(words) < 1 or (len(words) == 1 and not typed.startswith("-")):
        return [command for command in commands if command.startswith(typed)]
    if words[-1] in COMPLETIONS:
        return [word for word in COMPLETIONS[words[-1]] if word.startswith(typed)]
    if words[-1] in PATH_FLAGS:
        return _paths(typed)
    if typed.startswith("-"):
        return [flag for flag in FLAGS if flag.startswith(typed)]
    key, equals, value = typed.partition("=")
    if equals and key.lstrip("+") in PATH_KEYS:
        found = [f"{key}={path}" for path in _paths(value)]
        return [*found, f"{key}=latest"] if key == "run" and "latest".startswith(value) else found
    return None


def _paths(typed: str) -> list[str]:
    """Files and folders that begin so; a folder ends in a slash, so that one can go on into it."""
    folder, _, name = typed.rpartition("/")
    place = Path(folder or ("/" if typed.startswith("/") else ".")).expanduser()
    prefix = typed.removesuffix(name)
    hidden = name.startswith(".")
    if not place.is_dir():
        return []
    found = [path for path in place.iterdir() if path.name.startswith(name) and path.name.startswith(".") == hidden]
    return sorted(f"{prefix}{path.name}{'/' * path.is_dir()}" for path in found)
