"""A results folder: its files, manifest, lock, lanes and tables."""
