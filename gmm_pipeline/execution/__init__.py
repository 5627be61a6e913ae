"""Runs in bulk: the jobs of a sweep composed, grouped, computed and saved."""
