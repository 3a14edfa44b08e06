"""Tuning S-Cyc with Optuna."""
