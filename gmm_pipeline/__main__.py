"""The command line: a command, then Hydra's overrides and flags.

Each command is a Hydra program of its own with a primary config of the same name in `conf/`. Heavy libraries are
imported by the command that needs them, so that `--help` answers at once. Mistakes of the user end with one message and
exit code 2; a fit that failed ends with exit code 1.
"""

import signal
import sys

if (__name__ == "__main__" or sys.argv[0].endswith("gmm-pipeline")) and (
    signal.getsignal(signal.SIGINT) == signal.default_int_handler
):
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it without a traceback until `main` heeds it

import contextlib
import gc
import importlib
import logging
import os
import re
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from gmm_pipeline import program
from gmm_pipeline.configuration import completion

STARTED = time.perf_counter()

RARE_COLLECTIONS = (50_000, 20, 20)
INTERRUPTED = tuple(128 + number for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
"""Exit codes after Ctrl-C and other signals that ask a program to end, as shells have them."""

COMMANDS = {
    "simulate": "draw data from a mixture, with its truth and a picture",
    "fit": "fit a mixture to data and leave a record",
    "rerun": "repeat a recorded run and compare bit for bit, or vary it",
    "plan": "show what a sweep would do: runs, programs, memory, time",
    "predict": "label data with a fitted mixture; also responsibilities and log densities",
    "animate": "render the animation of a record again",
    "report": "write a page about a run or a sweep",
    "log": "upload records that are missing from a tracking store",
    "repair": "fix the tracking store's paths after its folder was moved",
    "ui": "open the tracked runs in the MLflow UI",
}

WITHOUT_JAX = ("animate", "log", "repair", "ui")
"""Commands that do not use JAX; importing it would take most of their time."""

FLAGS_WITH_ARGUMENT = {
    "--cfg": "-c",
    "--package": "-p",
    "--config-path": "-cp",
    "--config-name": "-cn",
    "--config-dir": "-cd",
    "--experimental-rerun": "",
}
"""Hydra's flags that take an argument, and their short forms."""

INFO_ARGUMENTS = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
"""Optional arguments of --info; anything else after it is an override."""


def usage() -> str:
    """The usage message."""
    lines = [f"  {command:<10}{meaning}" for command, meaning in COMMANDS.items()]
    return "\n".join(
        [
            f"usage: {program.name()} COMMAND [FILE] [key=value ...] [flags]",
            "",
            "Fits Gaussian mixtures to one column of data or several, reproducibly.",
            "",
            "commands:",
            *lines,
            "",
            "examples:",
            f"  {program.name()} fit optimizer=adam steps=1000",
            f"  {program.name()} fit waiting.csv n_components=auto",
            f"  {program.name()} fit --multirun n_components=1,2,3 'seed=range(0,20)'",
            "",
            "COMMAND --help explains the keys of a command; COMMAND --cfg job prints its config.",
        ]
    )


def _task(command: str) -> Callable[[Any], Any]:
    def task(cfg: Any) -> Any:
        from gmm_pipeline.errors import interrupts_deferred

        with interrupts_deferred():
            if command not in WITHOUT_JAX:
                _import_jax()
            from gmm_pipeline.stages.running import run_stage

            stage = importlib.import_module(f"gmm_pipeline.stages.{command}")
        gc.freeze()
        gc.enable()
        return run_stage(stage.run, cfg, started=STARTED)

    return task


def _import_jax() -> None:
    """Import JAX without its search for a ROCm plug-in, which reads all installed packages' metadata: 0.1 s."""
    folders = [folder for folder in map(Path, sys.path) if folder.is_dir()]
    if any(next(folder.glob("jax_rocm*"), None) for folder in folders):
        return
    from importlib import metadata

    everything = metadata.distributions
    metadata.distributions = lambda **_: iter(())
    try:
        importlib.import_module("jax")
    finally:
        metadata.distributions = everything


def overrides_first(arguments: Sequence[str]) -> list[str]:
    """The arguments with the overrides before the flags: Hydra's parser takes overrides in one place only."""
    from gmm_pipeline.configuration.positional import is_file

    overrides, flags = [], []
    flag = ""
    for argument in arguments:
        if argument.startswith("-") and not is_file(argument):
            flags.append(argument)
            flag = argument
        else:
            (flags if _takes(flag, argument) else overrides).append(argument)
            flag = ""
    return [*overrides, *flags]


def _takes(flag: str, following: str) -> bool:
    """Whether `following`, which comes after `flag`, is its argument; a long flag may be abbreviated."""
    if flag == "-i" or (len(flag) > 2 and "--info".startswith(flag)):
        return following in INFO_ARGUMENTS
    abbreviates = len(flag) > 2 and any(name.startswith(flag) for name in FLAGS_WITH_ARGUMENT)
    return abbreviates or (bool(flag) and flag in FLAGS_WITH_ARGUMENT.values())


def _not_a_command(arguments: Sequence[str]) -> str:
    """What is wrong with arguments that do not begin with a command, and what to type instead."""
    from gmm_pipeline.errors import nearest

    meant = next((argument for argument in arguments if argument in COMMANDS), None)
    if meant is not None:
        others = [argument for number, argument in enumerate(arguments) if number != arguments.index(meant)]
        return f"the command comes first: {program.name()} {shlex.join([meant, *others])}"
    if "=" in arguments[0] or arguments[0].startswith("-") or Path(arguments[0]).exists():
        return f"there is no command. To fit: {program.name()} {shlex.join(['fit', *arguments])}"
    close = nearest(arguments[0], COMMANDS)
    hint = f" Did you mean {' or '.join(close)}?" if close else ""
    return f"{arguments[0]!r} is not a command.{hint}\n\n{usage()}"


def main() -> None:
    """Run the command that the command line names; never returns normally on failure."""
    program.write_plainly()
    try:
        if signal.getsignal(signal.SIGINT) == signal.SIG_DFL:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        _command_line()
    except KeyboardInterrupt:  # before or after what handles it
        sys.stderr.write("interrupted\n")
        _leave(INTERRUPTED[0])
    except SystemExit as ended:
        peers = sys.modules.get("gmm_pipeline.inference.peers")
        if ended.code in INTERRUPTED or (peers is not None and peers.are_bound()):
            _leave(int(ended.code or 0))
        raise


def _leave(code: int) -> NoReturn:
    """Exit at once: threads may still compute in XLA, which aborts the process if Python exits first."""
    with contextlib.suppress(OSError):
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _command_line() -> None:
    arguments = sys.argv[1:]
    completing = bool(arguments) and arguments[0] in ("-sc", "--shell-completion", "--shell_completion")
    if completing:
        # The shell passes the whole line in COMP_LINE; Hydra expects no command in it.
        line = os.environ.get("COMP_LINE", "")
        offered = completion.offers(line, COMMANDS) if "query" in " ".join(arguments) else None
        if offered is not None:
            sys.stdout.write(" ".join(offered) + "\n")
            return
        words = line.split(maxsplit=2)
        command = words[1] if len(words) > 1 and words[1] in COMMANDS else "fit"
        os.environ["COMP_LINE"] = " ".join([*words[:1], *words[2:]]) + (" " if len(words) == 2 else "")
    elif not arguments or arguments[0] in ("-h", "--help", "help"):
        sys.stdout.write(usage() + "\n")
        return
    elif "--version" in arguments:
        sys.stdout.write(f"{program.MODULE} {program.version()}\n")
        return
    elif arguments[0] not in COMMANDS:
        sys.stderr.write(f"error: {_not_a_command(arguments)}\n")
        raise SystemExit(2)
    else:
        command, arguments = arguments[0], overrides_first(arguments[1:])
    if command == "plan" and completing:
        _run("fit", arguments)
    elif command == "plan":
        import tempfile

        with tempfile.TemporaryDirectory() as scratch:
            # Hydra's sweepers write into the folder of a sweep before they launch it.
            nothing = [f"hydra.sweep.dir={scratch}", "hydra/launcher=plan", "--multirun"]
            _run("fit", overrides_first([*arguments, *nothing]))
    else:
        _run(command, arguments)


def _run(command: str, arguments: Sequence[str]) -> None:
    sys.argv = [sys.argv[0], *arguments]
    # Imports create many long-lived objects. Also, an interrupt during a collection is lost in JAX's callback.
    gc.disable()
    gc.set_threshold(*RARE_COLLECTIONS)
    logging.raiseExceptions = False  # a log that cannot be written must not spoil an answer
    try:
        _run_hydra(command)
    finally:
        gc.freeze()  # avoids a final collection of everything imported, which takes a second


def _run_hydra(command: str) -> None:
    from gmm_pipeline import home
    from gmm_pipeline.configuration.command_errors import read_flags, report_mistakes

    with report_mistakes("fit" if command == "rerun" else command):  # rerun takes all keys of fit
        from gmm_pipeline.configuration.positional import as_overrides

        home.in_environment()
        sys.argv[1:] = home.in_arguments(as_overrides(command, sys.argv[1:]))
        flags = read_flags(sys.argv[1:], command)

        import hydra

        from gmm_pipeline.configuration import command_help, config, config_files
        from gmm_pipeline.execution.plugins import register_plugins

        config.register()
        command_help.register()
        register_plugins()
        if command == "rerun":
            from gmm_pipeline.stages.rerun_arguments import routed

            command, primary, sys.argv[1:] = routed(sys.argv[1:])
        else:
            primary = config_files.primary_of(command, sys.argv[1:])
        if flags.help and command_help.show(primary, flags):
            return
        for doubt in config_files.shadowed(Path(flags.config_dir)) if flags.config_dir else ():
            from gmm_pipeline.stages import terminal

            terminal.warn(doubt)
        with _joined(command, flags):
            _heed_environment(command, flags)
            with home.in_configs(), _composed_once(flags), _sweeps_finished(), _nothing_begun():
                hydra.main(version_base="1.3", config_path=str(config.config_directory()), config_name=primary)(
                    _task(command)
                )()


@contextlib.contextmanager
def _joined(command: str, flags: Any) -> Iterator[None]:
    """Meet the other processes of a fit, if it has any, before anything else; all but the first write elsewhere.

    Raises:
        InputError: some process does not come.
    """
    from gmm_pipeline.configuration.limits import DISTRIBUTED

    is_asked = command == "fit" and any(DISTRIBUTED in override for override in flags.overrides)
    if not is_asked or flags.multirun or flags.cfg or flags.info or flags.hydra_help:
        yield
        return
    from gmm_pipeline.api.composing import composed

    execution = composed(flags.overrides, flags.config_dir)["execution"]
    if execution["kind"] != DISTRIBUTED:
        yield
        return
    import tempfile

    from gmm_pipeline.inference import peers

    peers.join(execution["address"], execution["n_processes"], execution["process_id"], execution["patience"])
    if peers.is_first():
        yield
        return
    with tempfile.TemporaryDirectory() as scratch:
        sys.argv[1:] = overrides_first([*sys.argv[1:], f"hydra.run.dir={scratch}/run"])
        yield


def _heed_environment(command: str, flags: Any) -> None:
    """Let JAX read its environment variables, if any, before a folder is made for a run that cannot start.

    Raises:
        ValueError: JAX cannot read the value of a variable.
        InputError: JAX cannot compute with these settings.
    """
    from gmm_pipeline import home
    from gmm_pipeline.configuration import config

    is_set = any(name.startswith("JAX_") and name not in home.IN_ENVIRONMENT for name in os.environ)
    computes = command not in WITHOUT_JAX and not (flags.cfg or flags.info or flags.hydra_help)
    if is_set and computes:
        _import_jax()
        if command in ("fit", "rerun"):
            config.check_jax()
        elif command == "simulate":
            config.check_devices()


@contextlib.contextmanager
def _composed_once(flags: Any) -> Iterator[None]:
    """Keep Hydra from composing the whole config just to read `hydra.mode`, if no argument can set it."""
    from hydra._internal.hydra import Hydra

    name = "get_mode"
    elsewhere = flags.config_dir or flags.config_path or flags.config_name
    mode = re.compile(r"[+~]*hydra(/|\.(mode|searchpath)\b|=)")
    if elsewhere or any(mode.match(override) for override in flags.overrides) or not hasattr(Hydra, name):
        yield
        return
    own = getattr(Hydra, name)
    setattr(Hydra, name, lambda *_, **__: None)
    try:
        yield
    finally:
        setattr(Hydra, name, own)


@contextlib.contextmanager
def _nothing_begun() -> Iterator[None]:
    """Remove what Hydra wrote of a run that found the disk full before it began; an interrupt waits until it has."""
    from gmm_pipeline.errors import heeding_interrupts, interrupts_deferred, is_full_disk

    try:
        with heeding_interrupts(), interrupts_deferred():
            yield
    except OSError as error:
        from gmm_pipeline.stages.running import remove_begun

        if is_full_disk(error):
            remove_begun()
        raise


@contextlib.contextmanager
def _sweeps_finished() -> Iterator[None]:
    """Print the answers of the sweeps that were launched inside, even if the sweeper raises."""

    def finish() -> None:
        launcher = sys.modules.get("gmm_pipeline.execution.launcher")
        if launcher is not None:
            launcher.finish_sweeps()

    try:
        yield
    except KeyboardInterrupt:
        if "gmm_pipeline.execution.launcher" in sys.modules:
            sys.modules["gmm_pipeline.execution.launcher"].remove_unbegun()
        raise
    except BaseException:
        finish()
        raise
    finish()


if __name__ == "__main__":
    main()
