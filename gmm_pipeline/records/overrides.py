"""Overrides of runs: how they are written, which differ between runs, and names made from them.

Overrides are compared as they were typed. The price: two ways of typing one value count as two values.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

LONGEST_RUN_NAME = 120
REMOVED = "~"
"""Stands for the value of an override that removes its key."""
PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./-]*")
NO_TEXT = ("null", "true", "false", "yes", "no", "on", "off", "nan", "inf")
"""Texts that Hydra's grammar does not read as text, in any case."""


def hydra_override(key: str, *values: str) -> str:
    """Write an override for Hydra's grammar, whatever characters its value has; several values make a sweep."""
    return f"{key}={','.join(_quoted(value) for value in values)}"


def hydra_list(key: str, values: Iterable[str]) -> str:
    """Write an override whose value is a list of texts, whatever characters they have."""
    return f"{key}=[{','.join(_quoted(value) for value in values)}]"


def _quoted(text: str) -> str:
    """Quote a text for Hydra's grammar, and then OmegaConf's.

    Hydra removes backslashes only before a quote and at the end, OmegaConf those before an interpolation.
    """
    if PLAIN.fullmatch(text) and text.lower() not in NO_TEXT:
        return text
    text = re.sub(r"(\\*)\$\{", r"\1\1\\${", text)
    text = re.sub(r'(\\*)("|$)', lambda found: found[1] * 2 + ('\\"' if found[2] else ""), text)
    return f'"{text}"'


def names_within(runs: Sequence[tuple[int, Sequence[str]]]) -> dict[int, str]:
    """A name for each run of a sweep, by number: the overrides that not all of them share.

    MLflow's UI shows about twelve characters of a child's name, so the number of components is shortened to K.

    Args:
        runs: number and overrides of each run.
    """
    values_of = {number: override_values(overrides) for number, overrides in runs}
    shown = _labels(differing_keys(list(values_of.values())))
    names = {
        number: " ".join(f"{shown[key]}={found[key]}" for key in found if key in shown)[:LONGEST_RUN_NAME]
        for number, found in values_of.items()
    }
    alike = Counter(names.values())
    return {
        number: name if name and alike[name] == 1 else f"run {number} {name}".rstrip() for number, name in names.items()
    }


def name_of_sweep(runs: Sequence[Mapping[str, str]]) -> str:
    """What was swept and how far, such as `K=1…5 seed=0…3`; empty if all runs have the same overrides.

    Args:
        runs: key and text of the value of each run's overrides.
    """
    from gmm_pipeline.records.files import is_number  # help and mistakes wait for no NumPy

    parts = []
    for key, label in _labels(differing_keys(runs)).items():
        values = list(dict.fromkeys(found[key] for found in runs if key in found))
        are_numbers = all(map(is_number, values))
        shown = f"{min(values, key=float)}…{max(values, key=float)}" if are_numbers else ",".join(values)
        parts.append(f"{label}={shown}")
    return " ".join(parts)[:LONGEST_RUN_NAME]


def _labels(differing: Sequence[str]) -> dict[str, str]:
    """Short names of keys: their last parts where these differ; the number of components is K."""
    ends = [last_part(key) for key in differing]
    return {
        key: "K" if key == "n_components" else last_part(key) if ends.count(last_part(key)) == 1 else key
        for key in differing
    }


def differing_keys(runs: Sequence[Mapping[str, str]]) -> list[str]:
    """The keys whose values differ between runs, in order of first occurrence; a missing key counts as a value."""
    keys = dict.fromkeys(key for values in runs for key in values)
    return [key for key in keys if len({values.get(key) for values in runs}) > 1]


def override_values(overrides: Iterable[str]) -> dict[str, str]:
    """Overrides as key and text of the value, without Hydra's prefixes; `REMOVED` for a removed key."""
    values = {}
    for override in overrides:
        key, _, value = override.partition("=")
        values[re.sub(r"^(\+\+|\+|~)", "", key)] = REMOVED if key.startswith("~") else value
    return values


def last_part(key: str) -> str:
    """The last part of a dotted key, for short labels."""
    return re.split(r"[./]", key)[-1]
