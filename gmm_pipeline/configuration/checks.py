"""What a config must satisfy before any work starts, beyond the types of its schema."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, get_origin

from omegaconf import DictConfig, OmegaConf

from gmm_pipeline.errors import InputError, nearest

PICTURE_FORMATS = {"figures": ("png", "svg", "pdf"), "animation": ("gif", "mp4", "html")}
"""File formats by config group; the modules that write them cannot be asked, since matplotlib is imported late."""
PICTURE_STYLES = ("default", "none")
PICTURED_RUNS = ("best", "all", "none")
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
LEAST_DPI = 20
"""At fewer dots per inch, fonts are too small to be drawn."""
LEAST_FONT, LARGEST_FONT = 4, 40
LEAST_FPS, MOST_FPS = 0.01, 50
"""What the formats of animations can hold."""
MOST_STEPS = 10**9
MOST_RESTARTS = 10**5


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


def check_range(cfg: DictConfig, name: str, least: int, most: int | None = None) -> None:
    """Refuse a whole number out of its range.

    Args:
        cfg: the config.
        name: the key, dotted.
        least: smallest value allowed.
        most: largest value allowed; None for no limit.

    Raises:
        InputError: which key, and its range.
    """
    check_number(name, OmegaConf.select(cfg, name), least, most)


def check_number(name: str, value: int, least: int, most: int | None = None) -> None:
    """Refuse a whole number out of its range.

    Args:
        name: the key, for the message.
        value: its value.
        least: smallest value allowed.
        most: largest value allowed; None for no limit.

    Raises:
        InputError: which key, and its range.
    """
    if value < least or (most is not None and value > most):
        raise InputError(
            name,
            expected=f"a whole number, {least} or more" if most is None else f"a whole number from {least} to {most}",
            came=str(value),
            remedy=f"For example {name}={least + 1}.",
        )


def check_real(cfg: DictConfig, name: str, least: float, most: float | None = None) -> None:
    """Refuse a real number that is out of its range or not finite.

    Args:
        cfg: the config.
        name: the key, dotted.
        least: smallest value allowed.
        most: largest value allowed; None for any finite number.

    Raises:
        InputError: which key, and its range.
    """
    value = OmegaConf.select(cfg, name)
    if not least <= value < float("inf") or (most is not None and value > most):
        raise InputError(
            name,
            expected=f"a finite number, {least:g} or more" if most is None else f"a number from {least:g} to {most:g}",
            came=str(value),
            remedy=f"Leave {name} out to use the default.",
        )


def check_choice(cfg: DictConfig, name: str, choices: Sequence[str]) -> None:
    """Refuse a value that is not among the choices.

    Args:
        cfg: the config.
        name: the key, dotted.
        choices: the values allowed.

    Raises:
        InputError: which key, and the choices.
    """
    value = OmegaConf.select(cfg, name)
    if value not in choices:
        close = nearest(str(value), choices)
        raise InputError(
            name,
            expected=f"one of {', '.join(choices)}",
            came=repr(value),
            remedy=f"Did you mean {close[0]}?" if close else f"For example {name}={choices[0]}.",
        )


def check_pictures(cfg: DictConfig, group: str) -> None:
    """Refuse formats, sizes and speeds that cannot be drawn.

    Args:
        cfg: the config.
        group: `figures` or `animation`.

    Raises:
        InputError: which key.
    """
    node, formats = cfg[group], PICTURE_FORMATS[group]
    if "style" in node:
        check_choice(cfg, f"{group}.style", PICTURE_STYLES)
    if "sweep" in node:
        check_choice(cfg, f"{group}.sweep", PICTURED_RUNS)
    for suffix in node.formats:
        if suffix not in formats:
            raise InputError(
                f"{group}.formats",
                expected=f"any of {', '.join(formats)}",
                came=repr(suffix),
                remedy=f"Name the formats as in {group}.formats=[{','.join(formats[:2])}].",
            )
    if len(node.size) != 2 or not all(0 < side < float("inf") for side in node.size):
        raise InputError(
            f"{group}.size",
            expected="width and height in inches, two positive numbers",
            came=str(node.size),
            remedy=f"For example {group}.size=[6.4,3.6].",
        )
    if not max(node.size) * node.dpi <= MOST_PIXELS:
        raise InputError(
            f"{group}.dpi",
            expected=f"pictures of at most {MOST_PIXELS} pixels a side",
            came=f"{max(node.size) * node.dpi:g}: {node.dpi} dots per inch on {max(node.size):g} inches",
            remedy=f"Choose a smaller {group}.dpi or {group}.size.",
        )
    for name, allowed, right in (
        ("dpi", f"a whole number, {LEAST_DPI} or more", lambda dpi: dpi >= LEAST_DPI),
        (
            "font_size",
            f"a number of points, {LEAST_FONT} to {LARGEST_FONT}",
            lambda points: LEAST_FONT <= points <= LARGEST_FONT,
        ),
        ("frames", "a whole number, 1 or more", lambda frames: frames >= 1),
        (
            "fps",
            f"a positive number, at least {LEAST_FPS} and at most {MOST_FPS}",
            lambda fps: LEAST_FPS <= fps <= MOST_FPS,
        ),
        ("hold", "a number of seconds, 0 to 600", lambda hold: 0 <= hold <= 600),
    ):
        if name in node and not right(node[name]):
            raise InputError(
                f"{group}.{name}",
                expected=allowed,
                came=str(node[name]),
                remedy=f"Leave {group}.{name} out to use the default.",
            )
