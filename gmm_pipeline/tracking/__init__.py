"""Everything about MLflow, which no other package imports: writing runs and sweeps, and finding them again."""
