"""Whatever is of MLflow, which no other room imports: records and sweeps written into stores, and found there again."""
