"""Training trajectories beside an oracle's choices."""
