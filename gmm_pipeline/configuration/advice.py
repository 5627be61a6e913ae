"""Advice on overrides for which Hydra's own error names neither the override nor a remedy.

Hydra's own parser reads them, and only after something has failed, so that what works is never judged here.
"""

import re
import shlex
from collections.abc import Sequence
from typing import Any

from omegaconf import OmegaConf

from gmm_pipeline import extras, program
from gmm_pipeline.configuration.checks import for_nothing
from gmm_pipeline.configuration.limits import LARGEST_WHOLE
from gmm_pipeline.errors import InputError
from gmm_pipeline.records.overrides import hydra_override

DECIMAL_COMMA = re.compile(r"([+-]?\d+),(\d+)")


def mistaken_override(arguments: Sequence[str], command: str) -> InputError | None:
    """The first wrong override, if any: several values for one run, or a value that is no option of its group.

    Args:
        arguments: of the command line, without the command.
        command: the command's name.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parser = OverridesParser.create()
    several_runs = any(word in ("-m", "--multirun") or word.startswith("hydra.mode=") for word in arguments)
    for word in arguments:
        if word.startswith("-") or "=" not in word:
            continue
        try:
            override = parser.parse_override(word)
            value = override.value()
        except HydraException:
            continue  # Hydra's own message says what is wrong
        except ValueError as error:  # a number that is too long for Python
            return _too_large(word, f" ({error})")
        except RecursionError:
            return _too_large(word, ", with too many brackets within brackets")
        if type(value) is int and abs(value) > LARGEST_WHOLE:
            return _too_large(word, "")
        if override.is_sweep_override():
            if not several_runs:
                return _several_values(override.key_or_group, word, arguments, command)
        elif override.key_or_group in _groups(command) and not _is_option(value):
            return _no_option(override.key_or_group, value)
    return None


def _too_large(word: str, why: str) -> InputError:
    key, _, typed = word.partition("=")
    return InputError(key, expected="a value that can be read", came=f"{typed}{why}", remedy="Shorten it.")


def to_install(group: str, option: str) -> str:
    """How to install one of Hydra's plug-ins that comes with an extra of this package; empty for anything else.

    Args:
        group: a config group, such as `hydra/launcher`.
        option: the name that was chosen for it.
    """
    kind = group.removeprefix("hydra/")
    return extras.to_install(f"hydra-{option}-{kind}") if kind in ("sweeper", "launcher") else ""


def with_point(key: str, value: str) -> str:
    """How to write a number that has a decimal comma; empty for any other value.

    Args:
        key: the key, dotted.
        value: its value as it was typed.
    """
    match = DECIMAL_COMMA.fullmatch(value)
    return f"Decimal numbers have a point: {key}={match.group(1)}.{match.group(2)}." if match else ""


def _several_values(key: str, word: str, arguments: Sequence[str], command: str) -> InputError:
    typed, value = word.split("=", 1)
    # A variation takes its values from a file; without the file it would be another run.
    again = shlex.join([command, "--multirun", *(one for one in arguments if one.startswith("config=")), word])
    ways = [f"To run once for each: {program.name()} {again}"]
    usual = _usual(command, key)
    if isinstance(usual, str | list | None) and re.fullmatch(r"[^()\[\]]+", value):
        text = shlex.quote(hydra_override(typed, value))
        ways += [] if isinstance(usual, list) else [f"for a text with a comma: {text}"]
        ways += [] if isinstance(usual, str) else [f"for a list: {shlex.quote(f'{typed}=[{value}]')}"]
    point = with_point(key, value) if isinstance(usual, float) else ""
    return InputError(key, expected="one value", came=value, remedy=" ".join([point, f"{'; '.join(ways)}."]).strip())


def _no_option(group: str, value: Any) -> InputError:
    from gmm_pipeline.configuration.command_help import option_folders, options_of

    options = list(options_of(group, option_folders([])))
    return InputError(
        group,
        expected=f"one of {', '.join(options)}",
        came="null" if value is None else str(value),
        remedy=for_nothing(group, value) or f"For example {group}={options[0]}.",
    )


def _is_option(value: Any) -> bool:
    """Whether a value may choose an option of a group: its name, several names, or keys and values for it."""
    if isinstance(value, list):
        return all(map(_is_option, value))
    return isinstance(value, dict) or (isinstance(value, str) and "${" not in value and value != "")


def _groups(command: str) -> list[str]:
    from gmm_pipeline.configuration.command_help import groups_of

    return groups_of(command)


def _usual(command: str, key: str) -> Any:
    """The default of a key; None if it has none."""
    from gmm_pipeline.configuration.command_help import composed

    value: Any = OmegaConf.to_container(composed(command, []))
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value
