"""Overrides of runs: what differs between them, and names that tell them apart.

Overrides are taken as they were typed. The price: two ways of typing one value count as two values.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence

LONGEST_RUN_NAME = 120


def names_within(runs: Sequence[tuple[int, Sequence[str]]]) -> dict[int, str]:
    """A name for each run of a sweep, by number: the overrides that not all of them share.

    Below its parent the UI shows a dozen letters of a name: the number of components is K, as in other names.

    Args:
        runs: number and overrides of each run.
    """
    told = {number: assignments(overrides) for number, overrides in runs}
    differing = differing_keys(list(told.values()))
    ends = [last_part(key) for key in differing]
    shown = {
        key: "K" if key == "n_components" else last_part(key) if ends.count(last_part(key)) == 1 else key
        for key in differing
    }
    names = {
        number: " ".join(f"{shown[key]}={found[key]}" for key in found if key in shown)[:LONGEST_RUN_NAME]
        for number, found in told.items()
    }
    alike = Counter(names.values())
    return {
        number: name if name and alike[name] == 1 else f"run {number} {name}".rstrip() for number, name in names.items()
    }


def differing_keys(assignments: Sequence[Mapping[str, str]]) -> list[str]:
    """The keys whose values differ between runs, in the order in which they were given."""
    keys = dict.fromkeys(key for found in assignments for key in found)
    return [key for key in keys if len({found.get(key) for found in assignments}) > 1]


def assignments(overrides: Sequence[str]) -> dict[str, str]:
    """Overrides as key and value."""
    return {key: value for key, _, value in (word.lstrip("+~").partition("=") for word in overrides)}


def last_part(key: str) -> str:
    """The last part of a dotted key: what is read at a glance."""
    return re.split(r"[./]", key)[-1]
