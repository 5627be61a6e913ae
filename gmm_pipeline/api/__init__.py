"""Fits from Python: data in memory and keys as keywords in, a `Fit` out.

| step | module |
| --- | --- |
| keywords → resolved config | `composing` |
| config and data → answer | `fitting` |
| answer → what a person asks of it | `results` |
"""
