"""All commands of the command line, as one app. The commands themselves are in the modules beside this one."""

from importlib import metadata

from cyclopts import App, Group

from sweep.cli import analyses, cluster, compare, experiments, help, show

app = App(
    name="scyc-sweep",
    help="Which peak learning rate (max_lr) is best at each pruning cycle, how wide is the range that is as good, and "
    "does the S-Cyc schedule predict it?",
    help_format="plaintext",
    version=lambda: metadata.version("scyc-sweep"),
    group_commands=Group("Other", sort_key=len(help.GROUPS)),
    group_parameters=Group("Options", sort_key=1),
    result_action="return_value",
    exit_on_error=False,
    print_error=False,
    suppress_keyboard_interrupt=False,  # main() says how to go on
)
for command in (
    *(experiments.oracle, experiments.tune, experiments.schedules, compare.compare, compare.control),
    *(show.show, show.report, analyses.gradients, show.trajectory, show.presets, show.config),
):
    app.command(command)
cluster.register(app)
app.register_install_completion_command(
    help="Install the completion of commands and flags for your shell (bash, zsh or fish). A line is added to the "
    "start-up file of bash or zsh."
)
help.complete(app)
