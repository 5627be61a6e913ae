"""Fits from Python: data in memory and keys as keywords in, a `Fit` out.

| step | module |
| --- | --- |
| what was passed → data of a config | `given`, `simulated` |
| keywords → resolved config | `composing` |
| config and data → answer | `fitting`, `sweeping`, `simulating`, with `bars` of progress |
| answer → record and MLflow, and back | `keeping`, `keeping_sweeps`, `loading` |
| answer → what a person asks of it | `results`, `sweeps`, `pictures`, `exporting` |
"""

import logging

# As a library, the program leaves its log to whoever configures one; Python would print what has no handler.
logging.getLogger("gmm_pipeline").addHandler(logging.NullHandler())
