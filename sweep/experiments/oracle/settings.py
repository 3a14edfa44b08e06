"""The settings of an oracle. Every setting that kinds of sweep share is in `sweep.config.settings`."""

from sweep.config.settings import Settings


class OracleSettings(Settings):
    """All settings of an oracle. Construct it with `resolve`, which fills in the preset."""
