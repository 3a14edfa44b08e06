"""Two examples at the end of every command's help. In: the app. Out: the same, with examples."""

from cyclopts import App

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
        "trajectory --epsilon 0.04 --delta 0.06 --q 1 --beta 4 --cycles 13 --json",
    ),
    "presets": ("presets", "presets --help"),
    "config": ("config digits", "config resnet20 --command tune"),
    "submit": (
        "submit --storage /shared/results -- oracle --preset resnet20",
        "submit --storage s3://bucket/results --wait -- tune --preset vgg19",
    ),
    "status": ("status --storage /shared/results", "status digits --json"),
    "logs": ("logs digits --follow", "logs digits --storage s3://bucket/results"),
    "stop": ("stop digits", "stop digits --storage /shared/results"),
    "collect": ("collect digits", "collect digits --storage s3://bucket/results --to results/from-cluster --states"),
}
"""Of each command, as they are typed behind `scyc-sweep`."""
FIRST = ("oracle --engine inline", "show results/digits")
"""Of the help without a command."""


def add(app: App) -> None:
    """Put its examples at the end of each command's help."""
    app.help_epilogue = _epilogue(*FIRST)
    for name, lines in EXAMPLES.items():
        app[name].help_epilogue = _epilogue(*lines)


def _epilogue(*lines: str) -> str:
    return "\n".join(["Examples:", "", *(f"    scyc-sweep {line}" for line in lines)])
