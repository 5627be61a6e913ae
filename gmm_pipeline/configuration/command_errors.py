"""Errors of Hydra and OmegaConf as one message that names the wrong key and the nearest valid ones.

The errors are distinguished by type and, where that says too little, by text. If a later version changes the text,
there is still one message and exit code 2, only without the hint.
"""

import argparse
import contextlib
import os
import re
import shlex
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, NoReturn

from gmm_pipeline import program
from gmm_pipeline.configuration import advice
from gmm_pipeline.configuration.checks import for_nothing, missing_value, unknown_key
from gmm_pipeline.errors import (
    REPORTED,
    InputError,
    Interrupted,
    RunFailed,
    heeding_interrupts,
    interrupt,
    is_full_disk,
    nearest,
)
from gmm_pipeline.records.formats import has_data_suffix
from gmm_pipeline.records.overrides import hydra_override

ENDING = {signal.SIGTERM: "terminated", signal.SIGHUP: "hung up"}
"""Signals by which a scheduler, a container or a closed terminal ends a program, and what is said then."""
SECONDS_UNTIL_AGAIN = 0.05
"""Until an interrupt that was lost in a finaliser is sent again."""


@contextlib.contextmanager
def report_mistakes(command: str) -> Iterator[None]:
    """Turn the user's mistakes into one message on stderr and exit code 2; HYDRA_FULL_ERROR=1 shows the traceback."""
    wants_traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # so that Hydra raises rather than prints
    # A shell's background ignores the first of them, and nohup the last.
    usual = {signal.SIGINT: signal.default_int_handler, **dict.fromkeys(ENDING, signal.SIG_DFL)}
    heeded = {number: handler for number, handler in usual.items() if signal.getsignal(number) is handler}
    for number in heeded:
        signal.signal(number, interrupt)
    unraised, sys.unraisablehook = sys.unraisablehook, _send_again
    try:
        with heeding_interrupts():
            yield
    except KeyboardInterrupt as interrupted:
        # A thread that still computes is waited for; another interrupt meanwhile would abort the process.
        heeded = dict.fromkeys(usual, signal.SIG_IGN)
        for number in usual:
            signal.signal(number, signal.SIG_IGN)
        by = interrupted.number if isinstance(interrupted, Interrupted) else signal.SIGINT
        sys.stderr.write(f"{ENDING.get(by, 'interrupted')}\n")
        raise SystemExit(128 + by) from None
    except BrokenPipeError:
        if not program.is_unread():  # it is another pipe, as to a process of ours
            raise
        # Nothing more can be written.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except Exception as error:
        failed = isinstance(error, RunFailed)
        message = error if failed else as_mistake(error, command)
        if message is None or wants_traceback:
            raise
        if REPORTED not in getattr(error, "__notes__", ()):
            sys.stderr.write(f"error: {message}\n")
        raise SystemExit(1 if failed else 2) from None
    finally:
        sys.unraisablehook = unraised
        for number, handler in heeded.items():
            signal.signal(number, handler)


def _send_again(seen: "sys.UnraisableHookArgs") -> None:
    """Send an interrupt again that came where Python passes no exception on, as while an object is finalised."""
    if isinstance(seen.exc_value, Interrupted):
        again = threading.Timer(SECONDS_UNTIL_AGAIN, os.kill, (os.getpid(), seen.exc_value.number))
        again.daemon = True
        again.start()
    else:
        sys.__unraisablehook__(seen)


def read_flags(arguments: Sequence[str], command: str) -> argparse.Namespace:
    """The flags and overrides as Hydra's parser reads them; by itself it would print its own usage for a wrong flag.

    Args:
        arguments: of the command line, without the command.
        command: the command's name.

    Raises:
        InputError: if a flag is unknown or its argument cannot be used.
    """
    from hydra._internal.utils import get_args_parser

    parser = get_args_parser()
    see_help = f"See {program.name()} {command} --help."

    def fail(message: str) -> NoReturn:
        raise InputError("the command line", expected="flags with their arguments", came=message, remedy=see_help)

    parser.error = fail
    flags, unknown = parser.parse_known_args(arguments)
    if unknown:
        close = nearest(unknown[0], re.findall(r"--[a-z-]+", parser.format_usage()))
        raise InputError(
            unknown[0],
            expected=f"a flag of {command}",
            came="an unknown name",
            remedy=f"Did you mean {' or '.join(close)}?" if close else see_help,
        )
    return flags


def as_mistake(error: Exception, command: str, arguments: Sequence[str] | None = None) -> InputError | None:
    """The user's mistake behind an error; None if the fault is the program's.

    Args:
        error: what was raised.
        command: the command that was running.
        arguments: its overrides and flags; None for those of the command line.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    import yaml
    from hydra.errors import HydraException, MissingConfigException, OverrideParseException
    from omegaconf.errors import OmegaConfBaseException

    if isinstance(error, InputError):
        return error
    if is_full_disk(error):
        return InputError(
            str(error.filename or "the disk"),
            expected="free space for the output",
            came=str(error.strerror),
            remedy="Free some, or write to another disk.",
        )
    if isinstance(error, OSError) and error.filename is not None and error.strerror is not None:
        return InputError(
            str(error.filename),
            expected="a place that can be read and written",
            came=error.strerror,
            remedy="Check outputs_dir and the other paths of the command.",
        )
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return InputError(
            str(mark.name),
            expected="keys and values in YAML",
            came=f"{error.problem} in line {mark.line + 1}",
            remedy="Close brackets and quotes that are open, and check the indentation.",
        )
    if isinstance(error, OSError) and "Invalid loaded object type" in str(error):
        return InputError(
            "a config",
            expected="a YAML file with keys and values",
            came=f"one with {'a text' if 'str' in str(error) else 'a number'} alone",
            remedy="Check the files in the folder of --config-dir.",
        )
    if isinstance(error, MissingConfigException):
        return _missing_option(error, command)
    if isinstance(error, OverrideParseException) and re.match(r"[+~]*[\w./@:-]+=", error.override):
        return _unreadable_value(error.override)
    of_config = isinstance(error, HydraException | OmegaConfBaseException)
    if of_config:
        unknown = re.search(r"Could not override '([^']+)'", str(error))
        if unknown:
            return _unknown_key(unknown.group(1), command, arguments)
    environment = re.search(r"invalid truth value '(.*)' for environment '(JAX_\w+)'", str(error))
    if environment:
        came, variable = environment.groups()
        return InputError(variable, expected="0 or 1", came=came, remedy="Unset it, or set it to one of these.")
    environment = re.search(r'Invalid value "(.*)" for JAX flag (jax_\w+)', str(error))
    if environment:
        came, flag = environment.groups()
        remedy = "Unset it, or see JAX's documentation of its settings."
        return InputError(flag.upper(), expected="a value that JAX knows for it", came=came, remedy=remedy)
    places = [frame.filename.replace("\\", "/") for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, UnicodeDecodeError) and any(name in place for name in COMPOSERS for place in places):
        return InputError(
            "a config",
            expected="a YAML file in UTF-8",
            came=f"one with bytes that are none: {error.reason}",
            remedy="Check the files in the folder of --config-dir.",
        )
    of_composing = isinstance(error, OF_COMPOSING) and any(name in places[-1] for name in COMPOSERS)
    if not of_config and not of_composing:
        return None
    mistake = advice.mistaken_override(arguments, command)
    if mistake is not None:
        return mistake
    if of_config:
        cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
        return _unusable_value(str(cause), command)
    return InputError(
        "the command line",
        expected="flags that go together and overrides of the form key=value",
        came=(str(error) or type(error).__name__).splitlines()[0],
        remedy=f"See {program.name()} {command} --help.",
    )


OF_COMPOSING = (ValueError, TypeError, AttributeError, AssertionError, ArithmeticError, LookupError, RecursionError)
COMPOSERS = ("/hydra/", "/omegaconf/", "/antlr4/")
"""What Hydra, OmegaConf and their parser raise for values that they do not foresee."""
KINDS = {
    "Integer": "a whole number",
    "int": "a whole number",
    "Float": "a number",
    "float": "a number",
    "Boolean": "true or false",
    "bool": "true or false",
}
"""OmegaConf's types in plain English."""
REFUSALS = (
    (r"Value '(?P<came>.*)' of type '\w+' could not be converted to (?P<kind>\w+)", ""),
    (r"Value '(?P<came>.*)' is not a valid bool", "true or false"),
    (r"Invalid value '(?P<came>.*)', expected one of \[(?P<choices>.*)\]", ""),
    (r"field '.*' is not Optional", "a value"),
    (r"Incompatible value '(?P<came>None)' for field of type '(?P<kind>\w+)'", ""),
    (r"is not a subclass of \w+Config\. value: (?P<came>.*)", "keys and values"),
    (
        r"Cannot merge (Dict|List)Config with (Dict|List)Config",
        "a mapping or a list, whichever belongs there",
    ),
    (r"Cannot convert '\w+' to string: '(?P<came>.*)'", "a text"),
    (r"Invalid value assigned: AnyNode is not a ListConfig", "a list, as in [1,2]"),
    (r"Invalid value assigned: (?P<came>\w+) is not a (ListConfig|subclass of ListConfig)", "a list, as in [1,2]"),
    (r"Value (?P<came>.*) \(\w+\) is not a valid input for <enum", "one of the names that it has"),
    (
        r"\w+ raised while resolving interpolation: (?P<came>.*)|(?P<why>(Interpolation|Recursive|Unsupported) .*)",
        "an interpolation that leads to a value",
    ),
    (r"Environment variable '(?P<came>.*)' not found", "an environment variable that is set"),
    (
        r"BasicSweeper does not support sweep type : (?P<came>INTERVAL)",
        "key=a,b,c or key=range(1,4), unless a sweeper such as hydra/sweeper=optuna chooses the values",
    ),
)
"""OmegaConf's messages for a value that it refuses, and what is expected instead."""
COMPOSED = re.compile(r"In '([^']+)': \w+ raised while composing config:\n")
"""How Hydra names the file with such a value."""


def _unusable_value(text: str, command: str) -> InputError:
    """The error for a value of the wrong type, from OmegaConf's message, or for an override that cannot be read."""
    missing = re.search(r"Missing mandatory value: (\S+)", text)
    if missing:
        return missing_value(missing.group(1))
    key = re.search(r"full_key: (\S+)", text)
    composed = COMPOSED.match(text)
    text = text[composed.end() :] if composed else text
    unknown = re.match(r"Key '(.*)' not in '(\w+)'", text)
    if composed and unknown:
        return _unknown_of_file(composed[1], key[1] if key else unknown[1], unknown[2], command)
    expected, came = "overrides of the form key=value", text.splitlines()[0].rstrip(".")
    for pattern, kind in REFUSALS:
        match = re.search(pattern, text)
        if match is None:
            continue
        parts = match.groupdict()
        choices = f"one of {parts['choices']}" if "choices" in parts else ""
        named = KINDS.get(parts["kind"], f"a value of type {parts['kind']}") if "kind" in parts else ""
        nothing = "null" if "Optional" in pattern else "a value of another kind"
        said = parts.get("why") or (repr(parts["came"]) if parts.get("came") is not None else nothing)
        expected, came = kind or choices or named, said
        break
    schema = re.search(r"is not a subclass of (\w+Config)", text)
    place, _ = _places(command).get(schema[1] if schema else "", ("", []))
    where = key.group(1) if key else place or ("its keys" if composed else "the command line")
    point = advice.with_point(where, came.strip("'"))
    where = f"{composed[1]}: {where}" if composed else where
    return InputError(where, expected=expected, came=came, remedy=point or f"See {program.name()} {command} --help.")


def _unknown_of_file(file: str, key: str, schema: str, command: str) -> InputError:
    """The error for an unknown key in a YAML file."""
    within, _, name = key.rpartition(".")
    _, names = _places(command).get(schema, ("", [f"the keys of {within or command}"]))
    return unknown_key(f"{file}: {key}", within, name, names)


def _places(command: str) -> dict[str, tuple[str, list[str]]]:
    """The schemas of a command by name: at which key each is, and which keys it has."""
    from gmm_pipeline.configuration.schemas import SCHEMAS

    def places(schema: Any, within: str) -> dict[str, tuple[str, list[str]]]:
        by_name = {schema.__name__: (within, [field.name for field in fields(schema)])}
        for field in fields(schema):
            if is_dataclass(field.type):
                by_name |= places(field.type, f"{within}.{field.name}".lstrip("."))
        return by_name

    return places(SCHEMAS[command], "")


def _unreadable_value(override: str) -> InputError:
    """The error for a value with characters that have a meaning in Hydra's grammar, such as brackets."""
    key, _, value = override.partition("=")
    quoted = shlex.quote(hydra_override(key, value))
    return InputError(
        key.lstrip("+~"),
        expected="a value that Hydra's grammar can read",
        came=value,
        remedy=f"Close brackets and quotes that are open; quote a text twice, for the shell and for Hydra: {quoted}.",
    )


def _missing_option(error: Any, command: str) -> InputError:
    from gmm_pipeline.configuration.schemas import OF_FILE

    asked = error.missing_cfg_file or ""
    if asked.startswith("data/") and (has_data_suffix(asked) or Path(asked.removeprefix("data/")).exists()):
        file = asked.removeprefix("data/")
        return InputError(
            "data",
            expected="the name of a config",
            came=f"{file}, a data file",
            remedy=f"Name the file alone, as in {command} {shlex.quote(file)}, or choose data=file with data.path.",
        )
    group, _, option = asked.rpartition("/")
    options = [name for name in error.options or [] if not name.endswith(("_schema", OF_FILE))]
    close = nearest(option, options)
    remedy = f"Did you mean {group}={close[0]}?" if close else "Your own configs are found with --config-dir FOLDER."
    return InputError(
        group or "the config",
        expected=f"one of {', '.join(options)}" if options else "a config that exists",
        came=option or "nothing",
        remedy=advice.to_install(group, option) or for_nothing(group, option) or remedy,
    )


def _unknown_key(key: str, command: str, arguments: Sequence[str]) -> InputError:
    from gmm_pipeline.configuration.command_help import keys_of, options_with_key

    keys = keys_of(command, arguments)
    parent = key.rpartition(".")[0]
    siblings = [name for name in keys if parent and name.rpartition(".")[0] == parent]
    close = [f"{parent}.{name}" for name in nearest(key.rpartition(".")[2], [n.rpartition(".")[2] for n in siblings])]
    close = close if siblings else nearest(key, keys)
    elsewhere = options_with_key(key, arguments)
    if elsewhere:
        remedy = f"It belongs to {' and '.join(elsewhere)}: choose that first."
    elif close:
        remedy = f"Did you mean {' or '.join(close)}?"
    else:
        remedy = f"See {program.name()} {command} --help."
    return InputError(
        key,
        expected=f"one of {', '.join(siblings)}" if siblings else f"a key or group of {command}",
        came="an unknown name",
        remedy=remedy,
    )
