"""Pages about records and sweeps: HTML that needs no network, no server and no other file."""
