"""Fits from Python: data in memory and keys as keywords in, a `Fit` out.

| step | module |
| --- | --- |
| what was passed → data of a config | `given`, `simulated` |
| keywords → resolved config | `composing` |
| config and data → answer | `fitting`, `sweeping`, `simulating`, with `bars` of progress |
| answer → record and MLflow, and back | `keeping`, `loading` |
| answer → what a person asks of it | `results`, `sweeps`, `pictures` |
"""
