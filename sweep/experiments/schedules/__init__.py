"""Comparing schedules over whole chains."""
