"""The reference of every command and every option, from the schema, the YAMLs and the docstrings of what they name.

The pages hold a marker; what replaces it is made at each build, so that the reference cannot fall behind the program.
What a key means stands in the schema, else beside it in the YAML, else in the docstring of the function that the
option names, which for optimizers is optax's. The price: the functions are imported to be asked.
"""

import html
import importlib
import inspect
import re
import types
import typing
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any

import griffe
import yaml
from omegaconf import OmegaConf

from gmm_pipeline.__main__ import COMMANDS
from gmm_pipeline.configuration import command_help
from gmm_pipeline.configuration.config import config_directory, register
from gmm_pipeline.configuration.schemas import SCHEMAS

COMMANDS_MARKER, OPTIONS_MARKER = "<!-- every command -->", "<!-- every option -->"
WORDS = {int: "integer", float: "number", bool: "true or false", str: "text", type(None): "null", list: "list"}
NOT_CHOSEN_BY_NAME = "hydra/launcher"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill in the markers."""
    if COMMANDS_MARKER in markdown:
        markdown = markdown.replace(COMMANDS_MARKER, "\n".join(commands()))
    if OPTIONS_MARKER in markdown:
        markdown = markdown.replace(OPTIONS_MARKER, "\n".join(options()))
    return markdown


def commands() -> Iterator[str]:
    """A section for each command: what it does, examples, and its keys."""
    for command, meaning in COMMANDS.items():
        yield f"\n## {command}\n\n{_sentence(meaning)}\n"
        if command not in SCHEMAS:
            yield "Takes the keys of [`fit`](#fit).\n"
            continue
        shown = "\n".join(f"python -m gmm_pipeline {example}" for example in command_help.EXAMPLES[command])
        yield f"```sh\n{shown}\n```\n"
        yield from _table(_rows_of_command(command))


def _rows_of_command(command: str) -> Iterator[tuple[str, str, str, str]]:
    primary: Any = yaml.safe_load((config_directory() / f"{command}.yaml").read_text(encoding="utf-8"))
    chosen = {
        name: option for entry in primary["defaults"] if isinstance(entry, dict) for name, option in entry.items()
    }
    hints = typing.get_type_hints(SCHEMAS[command])
    for field in fields(SCHEMAS[command]):
        name, meaning = field.name, field.metadata.get("meaning", "")
        if name in chosen:
            group = f"[group](options.md#{name})"
            yield f"`{name}`", group, f"[`{chosen[name]}`](options.md#{_anchor(name, chosen[name])})", meaning
            yield from _rows_of_own_keys(command, name, hints[name])
        elif is_dataclass(hints[name]):
            for inner in fields(hints[name]):
                kind = _words_of(typing.get_type_hints(hints[name])[inner.name])
                default = _value(primary[name][inner.name])
                yield f"`{name}.{inner.name}`", kind, default, f"{meaning}: {inner.metadata.get('meaning', '')}"
        else:
            yield f"`{name}`", _words_of(hints[name]), _value(primary.get(name, "???")), meaning
    for name in chosen:
        if name not in hints and not name.startswith("override"):
            yield f"`{name}`", f"[group](options.md#{name})", _value(chosen[name]), "a whole config by one name"


def _rows_of_own_keys(command: str, group: str, schema: Any) -> Iterator[tuple[str, str, str, str]]:
    """The keys of a group that no option has, but the command itself."""
    values = _composed(command)
    for name, said in command_help.own_meanings(command).items():
        within, _, key = name.partition(".")
        if key and within == group:
            kind = _words_of(typing.get_type_hints(schema)[key])
            yield f"`{name}`", kind, _value(values[group][key]), said


@cache
def _composed(command: str) -> Any:
    register()
    return OmegaConf.to_container(command_help.composed(command, []))


def options() -> Iterator[str]:
    """A section for each group, and one in it for each of its options."""
    folders = sorted(path.name for path in config_directory().iterdir() if path.is_dir() and path.name != "hydra")
    for group in [*folders, NOT_CHOSEN_BY_NAME]:
        users = [f"[`{name}`](commands.md#{name})" for name in SCHEMAS if group in command_help.groups_of(name)]
        yield f"\n## {group}\n"
        if users:
            yield f"Of {', '.join(users)}. Choose with `{group}=NAME`.\n"
        for option, said in command_help.options_of(group, [config_directory()]).items():
            yield f"\n### `{group}={option}` {{ #{_anchor(group, option)} }}\n"
            path = config_directory() / group / f"{option}.yaml"
            yield from _experiment(path) if group == "experiment" else _option(group, path, said)


def _option(group: str, path: Path, said: str) -> Iterator[str]:
    content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    target = content.pop("_target_", None)
    yield f"{_head(path) or said}\n"
    if target:
        yield f"Function: `{target}`.\n"
    defaults = content.pop("defaults", [])
    base = [name for name in defaults if isinstance(name, str) and name != "_self_"]
    if base:
        yield f"All other keys are as in {', '.join(f'`{group}={name}`' for name in base)}.\n"
    forced = {key: value for entry in defaults if isinstance(entry, dict) for key, value in entry.items()}
    for key, value in forced.items():
        yield f"Chooses `{key.removeprefix('override /').partition('@')[0]}={value}` besides.\n"
    yield from _table(_rows_of_option(group, path.stem, target, content))


def _rows_of_option(group: str, option: str, target: str | None, content: dict) -> Iterator[tuple[str, str, str, str]]:
    beside = command_help.meanings_of(group, option, [config_directory()])
    schema = next((hint for hint in _hints_of_fit() if hint[0] == group and is_dataclass(hint[1])), None)
    hints = typing.get_type_hints(schema[1]) if schema else {}
    function = _function(target) if target else None
    described = _arguments(function) if function else {}
    for key, value in content.items():
        name = f"{group.replace('/', '.')}.{key}"
        meaning = beside.get(key) or described.get(key) or _beside_in_another(group, key)
        if isinstance(value, dict):
            for inner, number in value.items():
                said = f"{meaning}: {beside.get(f'{key}.{inner}', '')}"
                yield f"`{name}.{inner}`", WORDS[type(number)], _value(number), said
            continue
        kind = _words_of(hints[key]) if key in hints else _kind_of(function, key, value)
        yield f"`{name}`", kind, _value(value), meaning


def _beside_in_another(group: str, key: str) -> str:
    """What another option of the group says beside the same key."""
    folders = [config_directory()]
    said = (
        command_help.meanings_of(group, other, folders).get(key) for other in command_help.options_of(group, folders)
    )
    return next(filter(None, said), "")


def _experiment(path: Path) -> Iterator[str]:
    text = path.read_text(encoding="utf-8")
    body = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("#"))
    command = re.search(r"^#     (python .+)$", text, re.MULTILINE)
    yield f"{_head(path)}\n"
    if command:
        yield f"```sh\n{command.group(1)}\n```\n"
    yield f"```yaml\n{body.strip()}\n```\n"


def _hints_of_fit() -> list[tuple[str, Any]]:
    return list(typing.get_type_hints(SCHEMAS["fit"]).items())


def _head(path: Path) -> str:
    """What a YAML says of itself before its keys, without the commands it shows."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        if "@package" not in line and not line.startswith("#     "):
            lines.append(line[1:].strip())
    return _as_text("\n".join(lines).strip())


def _function(target: str) -> Any:
    module, _, name = target.rpartition(".")
    return getattr(importlib.import_module(module), name)


def _arguments(function: Any) -> dict[str, str]:
    """What a function's docstring says of each argument."""
    sections = griffe.Docstring(inspect.getdoc(function) or "", parser="google").parse(warnings=False)
    return {
        argument.name: _plain(argument.description)
        for section in sections
        if section.kind is griffe.DocstringSectionKind.parameters
        for argument in section.value
    }


def _plain(said: str) -> str:
    """The first sentence of a docstring, without roles of Sphinx, as the tables have it."""
    text = re.sub(r":\w+:`~?([^`]+)`", r"\1", " ".join(said.split())).replace("`", "")
    first = re.split(r"(?<=[^.]\.)\s", text)[0].rstrip(".")
    return first if first[:2].isupper() else first[:1].lower() + first[1:]


def _kind_of(function: Any, key: str, value: object) -> str:
    """By the value; where there is none, by the signature."""
    if value is not None and value != "???" and not (isinstance(value, str) and value.startswith("${")):
        return WORDS[type(value)]
    parameter = inspect.signature(function).parameters.get(key) if function else None
    declared = str(parameter.annotation) if parameter else ""
    widest = next((kind for kind in (str, float, int) if re.search(rf"\b{kind.__name__}\b", declared)), float)
    return WORDS[widest] + (" or null" if value is None else "")


def _words_of(annotation: Any) -> str:
    if annotation is Any:
        return "any"
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return " or ".join(f"`{member.value}`" for member in annotation)
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        return " or ".join(_words_of(one) for one in typing.get_args(annotation))
    if typing.get_origin(annotation) is list:
        return f"list of {_words_of(typing.get_args(annotation)[0])}"
    return WORDS[annotation]


def _value(value: object) -> str:
    if value == "???":
        return "required"
    text = value if isinstance(value, str) else yaml.safe_dump(value, default_flow_style=True, width=10_000)
    return f"`{text.removesuffix(chr(10)).removesuffix('...').strip()}`"


def _table(rows: Iterator[tuple[str, str, str, str]]) -> Iterator[str]:
    lines = [" | ".join(["", key, kind, default, _as_text(said), ""]).strip() for key, kind, default, said in rows]
    if lines:
        yield "| key | type | default | meaning |\n| --- | --- | --- | --- |\n" + "\n".join(lines) + "\n"


def _as_text(said: str) -> str:
    """A comment as Markdown that says the same: nothing in it is markup."""
    parts = re.split(r"(`[^`]+`)", said)
    return "".join(
        part if part.startswith("`") else re.sub(r"([*_|\[\]])", r"\\\1", html.escape(part, quote=False))
        for part in parts
    )


def _anchor(group: str, option: object) -> str:
    return f"{group.replace('/', '-')}-{option}"


def _sentence(said: str) -> str:
    return f"{said[:1].upper()}{said[1:]}."
