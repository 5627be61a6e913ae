"""Reproducible Gaussian-mixture experiments: Hydra config in, a record and MLflow runs out."""
