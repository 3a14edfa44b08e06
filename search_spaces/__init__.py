"""What to try: grids of max_lr values, the S-Cyc trajectory, and the paper's printed tables as data."""
