"""The greedy oracle, and its controls."""
