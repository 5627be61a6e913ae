"""The launcher that Hydra finds: defined here, since Hydra accepts plug-ins of this namespace only.

Every Hydra program of the environment imports this module, so it imports nothing of the package until a sweep is
launched. There is no `__init__.py` beside it: other plug-ins share the namespace.
"""

from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class GmmBatchLauncher(Launcher):
    """Hands everything to `gmm_pipeline.execution.launcher.BatchLauncher`.

    Args:
        settings: the keys of `conf/hydra/launcher/batch.yaml`, passed on.
    """

    def __init__(self, **settings: Any):
        self._settings = settings
        self._launcher: Any = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Make the real launcher, and set it up."""
        from gmm_pipeline.execution.launcher import BatchLauncher

        self._launcher = BatchLauncher(**self._settings)
        self._launcher.setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs."""
        return self._launcher.launch(job_overrides, initial_job_idx)
