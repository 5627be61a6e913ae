"""Everything on disk: data files, records of runs, and sweeps."""
