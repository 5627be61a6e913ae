"""The commands: load(cfg) -> job, compute(jobs) -> results, save(cfg, job, result)."""
