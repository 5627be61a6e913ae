"""The text of `--help`, made from the schema and the comments of each YAML, so that it is always up to date."""

import itertools
import re
import string
import sys
import textwrap
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gmm_pipeline import program
from gmm_pipeline.configuration.config import config_directory
from gmm_pipeline.configuration.schemas import OF_FILE, SCHEMAS

# The C versions, if PyYAML has them.
LOADER, DUMPER = (getattr(yaml, f"C{name}", getattr(yaml, name)) for name in ("SafeLoader", "SafeDumper"))
EXAMPLES = {
    "simulate": ["simulate", "simulate data=four_modes data.n_draws=500 output=draws.csv"],
    "fit": [
        "fit optimizer=adam steps=1000",
        "fit waiting.csv n_components=auto",
        "fit waiting.csv data.column=waiting_minutes n_components=2 prior=flat",
        "fit --multirun n_components=1,2,3 'seed=range(0,5)' sweep=my_study",
        "plan n_components=1,2,3 'seed=range(0,5)'",
        "fit experiment=notebook",
        "fit config=outputs/fit/RUN/config.yaml optimizer=sgd",
    ],
    "rerun": ["rerun", "rerun run=outputs/fit/RUN", "rerun run=outputs/sweeps/NAME/7 steps=4000 optimizer=sgd"],
    "predict": [
        "predict new.csv",
        "predict new.csv run=outputs/fit/RUN data.column=minutes output=labels.csv",
    ],
    "animate": ["animate", "animate run=outputs/fit/RUN animation.frames=120"],
    "report": ["report", "report run=outputs/sweeps/NAME output=study.html"],
    "log": ["log", "log run=outputs/sweeps/my_study tracking.uri=http://localhost:5000"],
    "repair": ["repair", "repair outputs_dir=/new/place/outputs"],
    "ui": ["ui", "ui port=5001"],
}


def register() -> None:
    """Register the resolver through which `conf/` gets the help text of a command."""
    OmegaConf.register_new_resolver("gmm.help", help_text, replace=True)


def groups_of(command: str) -> list[str]:
    """The config groups that a command has."""
    folders = {path.name for path in config_directory().iterdir() if path.is_dir()} - {"hydra"}
    primary = _read(config_directory() / f"{command}.yaml")
    chosen = [name for entry in primary["defaults"] if isinstance(entry, dict) for name in entry]
    return [name for name in chosen if name in folders]


def _text(path: Path) -> str:
    """Of a YAML file, which may be a user's in another encoding: help does without what it cannot read."""
    return path.read_text(encoding="utf-8", errors="replace")


def _read(path: Path) -> dict[str, Any]:
    return yaml.load(_text(path), Loader=LOADER) or {}  # noqa: S506 - it is the safe one


def option_folders(arguments: Sequence[str]) -> list[Path]:
    """Where options are looked for: the program's own folder, then that of --config-dir, if there is one."""
    flags = itertools.zip_longest(arguments, arguments[1:], fillvalue="")
    named = [following for word, following in flags if word in ("--config-dir", "-cd")]
    named += [word.partition("=")[2] for word in arguments if word.startswith("--config-dir=")]
    return [config_directory(), *(Path(folder) for folder in named[-1:] if folder)]


def options_of(group: str, folders: Sequence[Path]) -> dict[str, str]:
    """The options of a group, each with the first comment of its YAML.

    Args:
        group: the config group.
        folders: where its YAMLs are looked for; the first folder wins.
    """
    files = _option_files(group, folders)
    return {option: _first_comment(_text(path)) for option, path in files.items()}


def keys_of(command: str, arguments: Sequence[str] = ()) -> list[str]:
    """Every key of a command, dotted, and its groups, with the options that `arguments` choose or else the defaults.

    They are read from the schema and the YAMLs, since a config with a mistake cannot be composed. A sweep such as
    `optimizer=adam,sgd` chooses no single option and is ignored.

    Args:
        command: the command's name.
        arguments: of the command line.
    """
    folders, groups, schema = option_folders(arguments), groups_of(command), SCHEMAS[command].__dataclass_fields__
    typed = [re.fullmatch(rf"({'|'.join(groups)})=([\w./-]+)", word) for word in arguments]
    choices = _choices(_primary(command)["defaults"]) | {match[1]: match[2] for match in typed if match}
    chosen = {group: _option(group, choices[group], folders) for group in groups}
    forced = {group: option for content in chosen.values() for group, option in _choices(content["defaults"]).items()}
    chosen |= {group: _option(group, option, folders) for group, option in forced.items() if group in groups}
    open_ended = [group for group in groups if group in schema and not is_dataclass(schema[group].type)]
    named = {group: {key: None for key in chosen[group] if key != "defaults"} for group in open_ended}
    return sorted({*_dotted(_of_schema(SCHEMAS[command]) | named), *groups})


def _primary(command: str) -> dict[str, Any]:
    """The primary config of a command, or the one that `config=FILE` has made of it."""
    from hydra.core.config_store import ConfigStore

    store, of_file = ConfigStore.instance(), f"{command}_{OF_FILE}.yaml"
    return (
        _plain(store.load(of_file).node) if of_file in store.list("") else _read(config_directory() / f"{command}.yaml")
    )


def _choices(defaults: Sequence[Any]) -> dict[str, str]:
    """The option of each group that a list of defaults chooses, or forces on others."""
    entries = [entry for entry in defaults if isinstance(entry, dict)]
    named = {
        re.sub(r"^override |/|@.*", "", str(group)): option for entry in entries for group, option in entry.items()
    }
    return {group: str(option) for group, option in named.items()}


def _option(group: str, option: str, folders: Sequence[Path]) -> dict[str, Any]:
    """The content of an option with what it builds on, and its `defaults`; these alone if there is no such option."""
    if option == OF_FILE:
        from hydra.core.config_store import ConfigStore

        return {**_plain(ConfigStore.instance().load(f"{group}/{option}.yaml").node), "defaults": []}
    path = _option_files(group, folders).get(option)
    content = {"defaults": [], **({} if path is None else _read(path))}
    parts = [name for name in content["defaults"] if isinstance(name, str) and name not in ("_self_", option)]
    return {key: value for part in parts for key, value in _option(group, part, folders).items()} | content


def _of_schema(schema: Any) -> dict[str, Any]:
    """The keys of a schema, and those below them."""
    return {one.name: _of_schema(one.type) if is_dataclass(one.type) else None for one in fields(schema)}


def _plain(node: Any) -> dict[str, Any]:
    content: Any = OmegaConf.to_container(node) if OmegaConf.is_config(node) else node
    return content


def options_with_key(key: str, arguments: Sequence[str] = ()) -> list[str]:
    """The choices, as `group=option`, whose own YAML has this dotted key.

    Args:
        key: dotted, its group first.
        arguments: of the command line; `--config-dir` among them counts.
    """
    group, _, rest = key.partition(".")
    files = _option_files(group, option_folders(arguments))
    loaded = {option: _content(path) for option, path in files.items()}
    return [f"{group}={option}" for option, content in loaded.items() if rest in _dotted(content)]


def _content(path: Path) -> Any:
    """Of a YAML file; nothing of one that cannot be read, about which the mistake at hand is not."""
    try:
        return OmegaConf.to_container(OmegaConf.load(path))
    except (yaml.YAMLError, OmegaConfBaseException, OSError, UnicodeDecodeError):
        return {}


def composed(primary: str, overrides: Sequence[str], folders: Sequence[Path] = ()) -> DictConfig:
    """The config that Hydra composes from a primary config.

    Args:
        primary: its name.
        overrides: as they are typed.
        folders: where options are looked for; empty for the program's own.
    """
    from hydra import compose, initialize_config_dir

    own, *others = folders or [config_directory()]
    with initialize_config_dir(str(own.absolute()), version_base="1.3"):
        return compose(primary, [*overrides, *_searched(others)])


def _searched(folders: Sequence[Path]) -> list[str]:
    """The override that adds folders to Hydra's search path."""
    quoted = ["'file://" + str(folder.absolute()).replace("'", "\\'") + "'" for folder in folders]
    return [f"hydra.searchpath=[{','.join(quoted)}]"] if quoted else []


def show(primary: str, flags: Namespace) -> bool:
    """Print `hydra.help.template` if nothing else is needed; Hydra itself takes half a second longer.

    Args:
        primary: the primary config.
        flags: as Hydra's parser reads them.

    Returns:
        Whether it was printed; Hydra must do it if folders are searched in another way or the template needs more.
    """
    from hydra import compose, initialize_config_dir

    folders = [] if flags.config_dir is None else [Path(flags.config_dir)]
    searched_otherwise = any(word.lstrip("+~").startswith("hydra.searchpath") for word in flags.overrides)
    if flags.config_path or searched_otherwise or not all(folder.is_dir() for folder in folders):
        return False
    with initialize_config_dir(str(config_directory().absolute()), version_base="1.3"):
        overrides = [*flags.overrides, *_searched(folders)]
        cfg = compose(flags.config_name or primary, overrides, return_hydra_config=True)
        try:
            text = string.Template(cfg.hydra.help.template).substitute()
        except KeyError:  # a name that Hydra fills in
            return False
    sys.stdout.write(f"{text}\n")
    return True


def help_text(command: str, _root_: DictConfig) -> str:
    """The text of `COMMAND --help`.

    Args:
        command: the command's name.
        _root_: the config as the command line composes it; OmegaConf passes it.
    """
    folders, groups = option_folders(sys.argv[1:]), groups_of(command)
    lines = [f"{program.name()} {command} [key=value ...] [flags]", "", "Examples:"]
    lines += [f"  {program.name()} {example}" for example in EXAMPLES[command]]
    lines += ["", "Groups (choose with group=option):"]
    for group in groups:
        lines += [f"  {group}", *(_entry(option, meaning, 4) for option, meaning in options_of(group, folders).items())]
    lines += ["", "Keys (set with key=value):"]
    lines += [_entry(key.name, key.metadata["meaning"], 2) for key in fields(SCHEMAS[command])]
    lines += ["", "Keys of the chosen options (others: --help with group=option):"]
    content: Any = OmegaConf.to_container(_root_)
    lines += [line for group in groups for line in _group_keys(command, group, content, folders)]
    lines += [
        "",
        "Flags:",
        _entry("--multirun, -m", "run once for each combination of key=a,b,c or 'key=range(0,20)'", 2),
        _entry("--cfg job", "print the config and stop; with --resolve, its values", 2),
        _entry("--info", "print where each part of the config comes from", 2),
        _entry("--config-dir FOLDER", "find your own configs, such as FOLDER/data/mine.yaml", 2),
        _entry("--hydra-help", "more about flags and overrides", 2),
        "",
    ]
    # Hydra fills in names that follow a dollar sign.
    return "\n".join(lines).replace("$", "$$")


def _group_keys(command: str, group: str, node: Mapping[str, Any], folders: Sequence[Path]) -> list[str]:
    """A line for each key below a group, with its value and the comment beside it in the YAML of the chosen option."""
    values = node.get(group)
    if not isinstance(values, dict):  # an option may set keys elsewhere, as experiments do
        return []
    beside = meanings_of(group, str(node["hydra"]["runtime"]["choices"].get(group)), folders)
    meanings = own_meanings(command) | {f"{group}.{key}": meaning for key, meaning in beside.items()}
    return [
        _entry(f"{group}.{key} = {_as_yaml(value)}", meanings.get(f"{group}.{key}", ""), 2, column=44)
        for key, value in values.items()
        if key != "_target_"
    ]


def own_meanings(primary: str) -> dict[str, str]:
    """The comments beside the keys, dotted, of a command's primary config and of those that it includes."""
    path = config_directory() / f"{primary}.yaml"
    if not path.exists():  # a schema
        return {}
    parts = [name for name in _read(path).get("defaults", []) if isinstance(name, str)]
    inherited = {key: meaning for part in parts for key, meaning in own_meanings(part).items()}
    return inherited | _comments_beside(_text(path))


def meanings_of(group: str, option: str, folders: Sequence[Path]) -> dict[str, str]:
    """The comments beside the keys, dotted, of an option's YAML and of the options that it builds on.

    Args:
        group: the config group.
        option: one of its options.
        folders: where its YAMLs are looked for; the first folder wins.
    """
    path = _option_files(group, folders).get(option)
    if path is None:
        return {}
    defaults = _read(path).get("defaults", [])
    parts = [name for name in defaults if isinstance(name, str) and name not in ("_self_", option)]
    inherited = {key: meaning for part in parts for key, meaning in meanings_of(group, part, folders).items()}
    return inherited | _comments_beside(_text(path))


def _comments_beside(text: str) -> dict[str, str]:
    """The comment on the line of each key, dotted, in a YAML of at most two levels."""
    comments, above = {}, ""
    for indent, key, meaning in re.findall(r"^( *)(\w+):.*?(?:\s#\s*(.+))?$", text, re.MULTILINE):
        above = above if indent else key
        if meaning:
            comments[f"{above}.{key}" if indent else key] = meaning
    return comments


def _as_yaml(value: object) -> str:
    """A value as it would be written after `key:`."""
    if isinstance(value, str):
        return value
    return yaml.dump(value, Dumper=DUMPER, default_flow_style=True, width=10_000).removesuffix("...\n").strip()


def _entry(name: str, meaning: str, indent: int, column: int = 26) -> str:
    head = " " * indent + name
    if not meaning:
        return head
    too_long = len(head) >= column
    wrapped = textwrap.fill(
        meaning,
        width=110,
        initial_indent=" " * column if too_long else head.ljust(column),
        subsequent_indent=" " * column,
        break_long_words=False,
    )
    return f"{head}\n{wrapped}" if too_long else wrapped


def _option_files(group: str, folders: Sequence[Path]) -> dict[str, Path]:
    """The YAML of each option; of two with one name, the first folder's, as in Hydra."""
    files = {path.stem: path for folder in reversed(folders) for path in (folder / group).glob("*.yaml")}
    return dict(sorted(files.items()))


def _first_comment(text: str) -> str:
    comments = [line[1:].strip() for line in text.splitlines() if line.startswith("#")]
    return next((comment for comment in comments if comment and not comment.startswith("@package")), "")


def _dotted(node: object, prefix: str = "") -> list[str]:
    if not isinstance(node, dict):
        return [prefix]
    inner = [name for key, value in node.items() for name in _dotted(value, f"{prefix}.{key}" if prefix else str(key))]
    return [*inner, prefix] if prefix else inner
