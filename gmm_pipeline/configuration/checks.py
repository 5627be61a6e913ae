"""What a config must satisfy before any work starts, beyond the types of its schema."""

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from types import NoneType, UnionType
from typing import Any, NamedTuple, get_args, get_origin

from omegaconf import DictConfig, OmegaConf

from gmm_pipeline.configuration.limits import PICTURE_FORMATS, PLAIN, Function, Limit, Text, is_plain
from gmm_pipeline.errors import InputError, nearest

NOTHING = ("", "none", "null", "no", "off", "false")
"""What people write to switch something off."""
OPTION_FOR_NOTHING = {
    "figures": "none",
    "animation": "none",
    "tracking": "none",
    "prior": "flat",
    "schedule": "constant",
}
"""The option that switches a group off."""
OF_EVERY_OPTION = {"figures.formats": "figures", "animation.formats": "animation", "tracking.uri": "tracking"}
"""A key that every option of a group has: if it is missing, the option was removed."""
MOST_PIXELS = 20_000


def for_nothing(group: str, value: Any) -> str:
    """How to switch a group off, if `value` seems to ask for that; else empty.

    Args:
        group: a config group.
        value: what was chosen for it.
    """
    asked = value is None or str(value).lower() in NOTHING
    return f"For no {group}: {group}={OPTION_FOR_NOTHING[group]}." if asked and group in OPTION_FOR_NOTHING else ""


def check_complete(cfg: DictConfig) -> None:
    """Refuse a config that lacks a mandatory value or has an interpolation without a target.

    Raises:
        InputError: which key.
    """
    missing = sorted(name for key in cfg if key != "hydra" for name in _missing(cfg, str(key)))
    if missing:
        raise missing_value(next((group for key, group in OF_EVERY_OPTION.items() if key in missing), missing[0]))


def missing_value(name: str) -> InputError:
    """The error for a key without a value, such as one removed on the command line."""
    remedy = for_nothing(name, None) or f"Set it on the command line: {name}=VALUE."
    return InputError(name, expected="a value", came="none", remedy=remedy)


def _missing(cfg: DictConfig, key: str) -> list[str]:
    """The dotted keys of what is missing at a key or below it."""
    if OmegaConf.is_missing(cfg, key):
        return [key]
    return list(OmegaConf.missing_keys(cfg[key])) if OmegaConf.is_config(cfg[key]) else []


def check_shape(schema: type, content: Mapping[Any, Any], *, within: str = "", file: str) -> None:
    """Refuse keys that a schema lacks, and other values where it has keys and values, or a list.

    Args:
        schema: a dataclass.
        content: keys and values, as a file has them.
        within: their parent key, dotted; empty at the top.
        file: that they come from, for messages.

    Raises:
        InputError: which key, and what is expected of it.
    """
    kinds = {field.name: field.type for field in fields(schema)}
    for name, value in content.items():
        key = f"{within}.{name}" if within else str(name)
        kind = kinds.get(name)
        if kind is None:
            raise unknown_key(f"{file}: {key}", within, str(name), list(kinds))
        if is_dataclass(kind) and isinstance(kind, type):
            if not isinstance(value, Mapping):
                raise _other_kind(f"{file}: {key}", f"keys and values: {', '.join(_names(kind))}", value)
            check_shape(kind, value, within=key, file=file)
        elif get_origin(kind) is list and not isinstance(value, list):
            raise _other_kind(f"{file}: {key}", "a list, as in [1,2]", value)


def unknown_key(where: str, within: str, name: str, names: Sequence[str]) -> InputError:
    """The error for an unknown key.

    Args:
        where: how the message names the key.
        within: its parent key, dotted; empty at the top.
        name: its own name.
        names: the valid names.
    """
    close = [f"{within}.{one}" if within else one for one in nearest(name, names)]
    return InputError(
        where,
        expected=f"one of {', '.join(names)}",
        came="an unknown name",
        remedy=f"Did you mean {' or '.join(close)}?" if close else "Remove it.",
    )


def _names(schema: Any) -> list[str]:
    return [field.name for field in fields(schema)]


def _other_kind(where: str, expected: str, value: Any) -> InputError:
    key = where.rpartition(": ")[2]
    came = "null" if value is None else repr(value)
    return InputError(where, expected=expected, came=came, remedy=f"Leave {key} out to use the default.")


def check_values(schema: type, content: Mapping[Any, Any]) -> None:
    """Refuse a resolved config with a value that its schema does not allow: of another type, or out of its range.

    OmegaConf has checked each value that was typed, but lets an interpolation put anything in the place of a list, of a
    group and of what a function takes, and knows no ranges.

    Args:
        schema: of the command.
        content: the config as plain containers.

    Raises:
        InputError: which key, and what it allows.
    """
    _check_below(schema, content, "")
    for group in PICTURE_FORMATS:
        if group in content:
            _check_pixels(group, content[group])


def check_pictures(group: str, schema: type, node: Mapping[str, Any]) -> None:
    """Refuse formats, sizes and speeds that cannot be drawn.

    Args:
        group: `figures` or `animation`.
        schema: of the group.
        node: its keys and values.

    Raises:
        InputError: which key.
    """
    _check_below(schema, node, group)
    _check_pixels(group, node)


class _Key(NamedTuple):
    """What a schema says of a key."""

    name: str
    kind: Any
    """Its type, without None."""
    optional: bool
    limit: Limit | None


@functools.cache
def _keys_of(schema: type) -> list[_Key]:
    keys = []
    for field in fields(schema):
        kinds = [kind for kind in get_args(field.type) if kind is not NoneType] if _is_union(field.type) else []
        kind = (kinds or [field.type])[0]
        limit = field.metadata.get("limit") or (Text() if kind is str else None)
        keys.append(_Key(field.name, kind, bool(kinds), limit))
    return keys


def _is_union(kind: Any) -> bool:
    return get_origin(kind) is UnionType


def _check_below(schema: type, content: Mapping[Any, Any], within: str) -> None:
    keys = _keys_of(schema)
    names = [key.name for key in keys]
    for name in content:
        # At the top, `+` can add keys for the user's own interpolations; one that is nearly a key is a typo.
        if name not in names and (within or nearest(str(name), names)):
            where = f"{within}.{name}" if within else str(name)
            raise unknown_key(where, within, str(name), names)
    for key in keys:
        where = f"{within}.{key.name}" if within else key.name
        if key.name not in content:
            raise missing_value(where)
        _check_value(where, key, content[key.name])


def _check_value(where: str, key: _Key, value: Any) -> None:
    if value is None and key.optional:
        return
    if is_dataclass(key.kind) and isinstance(key.kind, type):
        if not isinstance(value, Mapping):
            raise _refused(where, f"keys and values: {', '.join(_names(key.kind))}", value)
        _check_below(key.kind, value, where)
        return
    expected = _of_type(key.kind, value)
    if expected is None and key.limit is not None and not key.limit.allows(value):
        expected = key.limit.said
    if expected is not None:
        raise _refused(where, expected, value)
    if isinstance(key.limit, Function) and isinstance(value, Mapping):
        check_function(where, value)


def check_function(where: str, node: Mapping[Any, Any]) -> None:
    """Refuse what cannot be a function's hyperparameters: these are numbers, texts and lists of them.

    Args:
        where: the node's key.
        node: names the function by `_target_`.

    Raises:
        InputError: which of its keys.
    """
    for name, value in node.items():
        key = f"{where}.{name}"
        if name != "_target_" and (not isinstance(name, str) or re.fullmatch(r"_\w*_", name)):
            remedy = "A function gets its hyperparameters by name."
            raise InputError(key, expected="the name of a hyperparameter", came=repr(name), remedy=remedy)
        if not is_plain(value):
            raise _refused(key, PLAIN, value)


def _of_type(kind: Any, value: Any) -> str | None:
    """What is expected in place of a value of another type; None for one of the right type."""
    if kind is Any:
        return None
    if get_origin(kind) is list:
        (of_each,) = get_args(kind)
        right = isinstance(value, list) and all(_of_type(of_each, one) is None for one in value)
        return None if right else "a list, as in [1,2]" if of_each is float else "a list of texts, as in [a,b]"
    if isinstance(kind, type) and issubclass(kind, Enum):
        return None if isinstance(value, str) and value in kind.__members__ else f"one of {', '.join(kind.__members__)}"
    types, expected = OF_TYPES[kind]
    return None if type(value) in types else expected


OF_TYPES: Mapping[type, tuple[tuple[type, ...], str]] = {
    bool: ((bool,), "true or false"),
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
    str: ((str,), "a text"),
}
"""Types that a value may have where the schema has one, and what they are called."""


def _refused(where: str, expected: str, value: Any) -> InputError:
    came = "null" if value is None else repr(value)
    return InputError(where, expected=expected, came=came, remedy=f"Leave {where} out to use the default.")


def _check_pixels(group: str, node: Mapping[str, Any]) -> None:
    pixels = max(node["size"]) * node["dpi"]
    if pixels > MOST_PIXELS:
        raise InputError(
            f"{group}.dpi",
            expected=f"pictures of at most {MOST_PIXELS} pixels a side",
            came=f"{pixels:g}: {node['dpi']} dots per inch on {max(node['size']):g} inches",
            remedy=f"Choose a smaller {group}.dpi or {group}.size.",
        )
