"""Shell completions that Hydra lacks: commands, flags, and paths for keys that name a file.

Hydra completes everything else itself, such as keys and the options of groups.
"""

from collections.abc import Iterable
from pathlib import Path

PATH_KEYS = ("config", "run", "output", "film", "outputs_dir", "data.path", "data.truth", "hydra.run.dir")
"""Keys whose value is a file or a folder."""
PATH_FLAGS = ("--config-dir", "-cd", "--config-path", "-cp")
"""Flags whose argument is a file or a folder."""
FLAGS = ("--help", "--version", "--multirun", "--cfg", "--resolve", "--info", "--config-dir", "--hydra-help")
COMPLETIONS = {"--cfg": ("job", "hydra", "all"), "-c": ("job", "hydra", "all")}
"""What may follow a flag."""


def offers(line: str, commands: Iterable[str]) -> list[str] | None:
    """Completions of the word under the cursor; None if Hydra completes it.

    Args:
        line: the command line typed so far, beginning with the program.
        commands: names of the commands.
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
        paths = [f"{key}={path}" for path in _paths(value)]
        return [*paths, f"{key}=latest"] if key == "run" and "latest".startswith(value) else paths
    return None


def _paths(typed: str) -> list[str]:
    """Files and folders that begin with `typed`; a folder ends in a slash, so that completion continues inside it."""
    folder, _, name = typed.rpartition("/")
    place = Path(folder or ("/" if typed.startswith("/") else ".")).expanduser()
    prefix = typed.removesuffix(name)
    hidden = name.startswith(".")
    if not place.is_dir():
        return []
    paths = [path for path in place.iterdir() if path.name.startswith(name) and path.name.startswith(".") == hidden]
    return sorted(f"{prefix}{path.name}{'/' * path.is_dir()}" for path in paths)
