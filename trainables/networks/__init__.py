"""The networks, and lanes of them stacked into one."""
