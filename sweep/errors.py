"""The errors that a user can mend; the command line prints their message as one line."""


class SweepError(Exception):
    """Something that stops a sweep; the message says what and what to do."""


class SettingsError(SweepError):
    """A setting that breaks a rule; the message names the rule, the value and the choices."""


class FolderError(SweepError):
    """A results folder that cannot be used as it is."""


class DamagedError(FolderError):
    """A file of a results folder whose content is not what was written."""


class TrainingError(SweepError):
    """Training that cannot go on although nothing that was given is wrong; finished lanes are kept."""
