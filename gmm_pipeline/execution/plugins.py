"""Hydra's plug-ins of this package, registered by name.

Hydra finds plug-ins by looking through the folders of the namespace `hydra_plugins`. It does not see those of a
checkout if an editable installation works by an import hook, or if another package owns the name.
"""

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

LAUNCHER = "hydra_plugins.gmm_batch_launcher"


def register_plugins() -> None:
    """Register the launcher `batch`; call this before `hydra.main`. Calling it twice does no harm."""
    from hydra.core.plugins import Plugins

    plugins = Plugins.instance()  # first, since it reimports what it finds
    plugins.register(_launcher_module().GmmBatchLauncher)


def _launcher_module() -> ModuleType:
    """The plug-in's module: as installed, or else from the folder beside the package, in a checkout."""
    try:
        return importlib.import_module(LAUNCHER)
    except ModuleNotFoundError as error:
        if error.name not in ("hydra_plugins", LAUNCHER):
            raise
    path = Path(__file__).parents[2] / f"{LAUNCHER.replace('.', '/')}.py"
    spec = importlib.util.spec_from_file_location(LAUNCHER, path)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"{path} cannot be imported", name=LAUNCHER)
    module = sys.modules[LAUNCHER] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
