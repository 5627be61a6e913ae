"""What `--help` says, made from the schema and from the first line of each YAML, so that it cannot fall behind them."""

import textwrap
from dataclasses import fields

from omegaconf import OmegaConf

from gmm_pipeline.config import SCHEMAS, config_directory

EXAMPLES = {
    "simulate": ["simulate", "simulate data=four_modes data.n_draws=500 output=draws.csv"],
    "fit": [
        "fit optimizer=adam steps=1000",
        "fit data=file data.path=waiting.csv data.column=waiting_minutes n_components=2 prior=flat",
        "fit --multirun n_components=1,2,3 seed=range(0,5)",
        "fit experiment=notebook",
    ],
    "animate": ["animate", "animate run=outputs/fit/RUN animation.frames=120"],
    "ui": ["ui", "ui port=5001"],
}


def register() -> None:
    """Let `conf/` ask for the help text of a command."""
    OmegaConf.register_new_resolver("gmm.help", help_text, replace=True)


def groups_of(command: str) -> list[str]:
    """The config groups that a command has."""
    folders = {path.name for path in config_directory().iterdir() if path.is_dir()} - {"hydra"}
    primary = OmegaConf.to_container(OmegaConf.load(config_directory() / f"{command}.yaml"))
    defaults = primary["defaults"] if isinstance(primary, dict) else []
    chosen = [name for entry in defaults if isinstance(entry, dict) for name in entry]
    return [name for name in chosen if name in folders]


def options_of(group: str) -> dict[str, str]:
    """The options of a group and what the first comment of each says."""
    return {path.stem: _first_comment(path.read_text(encoding="utf-8")) for path in _option_files(group)}


def keys_of(command: str) -> list[str]:
    """Every key of a command's config with its defaults, dotted, and its groups."""
    from hydra import compose, initialize_config_dir

    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        cfg = OmegaConf.to_container(compose(config_name=command))
    return sorted({*_dotted(cfg), *groups_of(command)})


def options_with_key(key: str) -> list[str]:
    """The choices, as `group=option`, whose own YAML has this dotted key."""
    group, _, rest = key.partition(".")
    loaded = {path.stem: OmegaConf.to_container(OmegaConf.load(path)) for path in _option_files(group)}
    return [f"{group}={option}" for option, content in loaded.items() if rest in _dotted(content)]


def help_text(command: str) -> str:
    """The text of `COMMAND --help`."""
    lines = [f"python -m gmm_pipeline {command} [key=value ...] [flags]", "", "Examples:"]
    lines += [f"  python -m gmm_pipeline {example}" for example in EXAMPLES[command]]
    lines += ["", "Groups (choose with group=option):"]
    for group in groups_of(command):
        lines += [f"  {group}", *(_entry(option, meaning, 4) for option, meaning in options_of(group).items())]
    lines += ["", "Keys (set with key=value):"]
    lines += [_entry(key.name, key.metadata["meaning"], 2) for key in fields(SCHEMAS[command])]
    lines += [
        "",
        "Flags:",
        _entry("--multirun, -m", "run once for each combination of key=a,b,c or key=range(0,20)", 2),
        _entry("--cfg job", "print the config and stop; with --resolve, its values", 2),
        _entry("--info", "print where each part of the config comes from", 2),
        _entry("--config-dir FOLDER", "find your own configs, such as FOLDER/data/mine.yaml", 2),
        _entry("--hydra-help", "more about flags and overrides", 2),
        "",
    ]
    # Hydra fills in names that follow a dollar sign.
    return "\n".join(lines).replace("$", "$$")


def _entry(name: str, meaning: str, indent: int) -> str:
    return textwrap.fill(
        meaning,
        width=110,
        initial_indent=f"{' ' * indent}{name:<{26 - indent}}",
        subsequent_indent=" " * 26,
        break_long_words=False,
    )


def _option_files(group: str) -> list:
    return sorted((config_directory() / group).glob("*.yaml"))


def _first_comment(text: str) -> str:
    comments = [line[1:].strip() for line in text.splitlines() if line.startswith("#")]
    return next((comment for comment in comments if comment and not comment.startswith("@package")), "")


def _dotted(node: object, prefix: str = "") -> list[str]:
    if not isinstance(node, dict):
        return [prefix]
    inner = [name for key, value in node.items() for name in _dotted(value, f"{prefix}.{key}" if prefix else str(key))]
    return [*inner, prefix] if prefix else inner
