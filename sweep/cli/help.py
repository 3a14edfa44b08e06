"""What every command's help has besides its flags: a group, and two examples at its end. In: the app. Out: the same."""

import inspect
import re

from cyclopts import App, Group

EXAMPLES: dict[str, tuple[str, str]] = {
    "oracle": ("oracle --engine inline", "oracle --preset resnet20 --max-lr 0.01:0.5:x9 --runs 3 --plan"),
    "tune": ("tune --by fit --oracle results/digits", "tune --trials 30 --sampler gp --cycles 8"),
    "schedules": ("schedules --preset resnet20 --plan", "schedules --schedules constant=0.05 warmup-1 scyc"),
    "compare": ("compare results/digits --scyc 0.035,0.05,1,4", "compare results/digits --train --confirm 20"),
    "control": ("control results/digits", "control results/digits --pruning random --engine inline"),
    "show": ("show results/digits --trend", "show results/digits --format csv"),
    "report": ("report results/digits", "report results/digits results/digits-schedules --output page.html"),
    "gradients": ("gradients results/digits", "gradients results/digits --images 500 --beyond -0.02,0.02"),
    "trajectory": (
        "trajectory --epsilon 0.04 --delta 0.06 --q 1 --beta 4",
        "trajectory --epsilon 0.04 --delta 0.06 --q 1 --beta 4 --json",
    ),
    "presets": ("presets", "config resnet20"),
    "config": ("config digits", "config resnet20 --command tune"),
    "submit": (
        "submit --storage /shared/results -- oracle --preset resnet20",
        "submit --storage s3://bucket/results --wait -- tune --preset vgg19",
    ),
    "status": ("status --storage /shared/results", "status digits --json"),
    "logs": ("logs digits --follow", "logs digits --storage s3://bucket/results"),
    "stop": ("stop digits", "stop digits --storage /shared/results"),
    "collect": ("collect digits", "collect digits --storage s3://bucket/results --to results/copy"),
}
"""Of each command, as they are typed behind `scyc-sweep`."""
FIRST = ("oracle --engine inline", "show results/digits")
"""Of the help without a command."""
GROUPS = (
    ("Train", ("oracle", "control", "compare", "tune", "schedules")),
    ("Look at results", ("show", "report", "gradients")),
    ("Prepare", ("presets", "config", "trajectory")),
    ("Run on a Ray cluster", ("submit", "status", "logs", "stop", "collect")),
)
"""The groups of the commands, in the order of the help."""


def complete(app: App) -> None:
    """Give each command its group, its examples, and a text that is wrapped at the width of the terminal alone."""
    app.help_epilogue = epilogue(*FIRST)
    for place, (title, names) in enumerate(GROUPS):
        group = Group(title, sort_key=place)
        for rank, name in enumerate(names):
            command = app[name]
            command.group, command.sort_key = group, rank
            command.help_epilogue = epilogue(*EXAMPLES[name])
            function = command.default_command
            assert function is not None
            function.__doc__ = unwrapped(function.__doc__ or "")


def epilogue(*lines: str) -> str:
    """Return examples as they stand at the end of a help."""
    return "\n".join(["Examples:", *(f"  scyc-sweep {line}" for line in lines)])


def unwrapped(doc: str) -> str:
    """Return a docstring with each paragraph, and each parameter's description, in one line."""
    return re.sub(r"(?m)^( *)(?!-+$)(\S.*)$(?:\n\1(?=[^\s-]).*$)+", _joined, inspect.cleandoc(doc))


def _joined(paragraph: re.Match[str]) -> str:
    return paragraph[1] + " ".join(line.strip() for line in paragraph[0].splitlines())
