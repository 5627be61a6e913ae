"""Fitting: arrays in, arrays out; no files, no servers, no config."""
