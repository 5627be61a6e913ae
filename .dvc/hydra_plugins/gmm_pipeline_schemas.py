"""What `conf/` needs besides its files, for the composition of `dvc exp run`: schemas and resolvers.

DVC composes in its own process and imports the modules of this namespace before; no other Hydra program comes here. The
price: dvc must run in the environment of this package, as `pip install ".[dvc]"` gives it.
"""

from gmm_pipeline.configuration import config

config.register()
