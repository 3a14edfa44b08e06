"""The commands for a Ray cluster: submit, status, logs, stop, collect, and `job`, which a submitted job runs."""

import json as json_text
import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter
from cyclopts.exceptions import UnknownOptionError

from sweep.cli.console import out, print_json, print_text
from sweep.cli.experiments import carry_out
from sweep.cli.parameters import Flag
from sweep.cli.printing import command_line, print_view, say
from sweep.config.groups import LocalFolder, LocationText
from sweep.config.resolve import resolve
from sweep.errors import SweepError
from trainables.storage import Location, expanded

if TYPE_CHECKING:
    from sweep.cluster.catalog import CatalogEntry
    from sweep.cluster.jobs_api import Cluster
    from sweep.cluster.records import Submission
    from sweep.cluster.request import Asked

Storage = Annotated[LocationText, Parameter(env_var="SCYC_SWEEP_STORAGE")]
OWN_FLAGS = ("--name", "--storage", "--wait", "--dry-run")
"""Flags of `submit` that no command after -- has."""


def register(app: App) -> None:
    """Add the commands to the command line; `submit` parses the other commands of it."""

    @app.command
    def submit(
        *words: Annotated[str, Parameter(allow_leading_hyphen=True, name="COMMAND")],
        address: str | None = None,
        storage: Storage = "results",
        name: str | None = None,
        wait: Flag = False,
        dry_run: Flag = False,
    ) -> int:
        """Run a command as a job on a Ray cluster.

        Results go to STORAGE/NAME. The same submit again attaches to the job while it runs. After that it continues
        what is unfinished, also on another cluster.

        Parameters
        ----------
        words
            After --: a command that trains (oracle, tune, schedules, compare, control) and its arguments. The FOLDER of
            compare and control, and the --oracle of tune, may be a NAME of the storage.
        address
            Address of the dashboard of the cluster's head, http://HEAD:8265. Default: RAY_API_SERVER_ADDRESS, else
            this machine.
        storage
            Folder of all results. This machine and all hosts of the cluster must see it: a shared folder,
            s3://BUCKET/PATH or gs://BUCKET/PATH.
        name
            Name of the results. Default: the name of the results folder on this machine.
        wait
            Print what the job prints, and end with its exit code.
        dry_run
            Submit nothing. Print what would be sent: the job's command, its environment and the settings.

        """
        where, asked = asked_of(app, words, storage, name)
        if dry_run:
            _print_dry(asked, where)
            return 0
        asked.check()
        from sweep.cluster.jobs_api import Cluster

        cluster = Cluster(address)
        asked.at_once()
        job, how = cluster.submit(asked, where)
        say(f"{job.id}: {how}, results in {job.folder}")
        if not wait:
            told = f"--storage {shlex.quote(str(where))}"
            follow = "" if how == "finished already" else f"scyc-sweep status {job.name} {told}; "
            say(f"{follow}scyc-sweep collect {job.name} {told}")
            return 0
        if not _follow(cluster, job.id, job.name):
            return 130
        return cluster.exit_code(job.id)

    @app.command(show=False)
    def job(request: Path, /) -> None:
        """Carry out the request of a submission; the job that `submit` makes runs this command.

        Parameters
        ----------
        request
            The request, a JSON file.

        """
        from sweep.cluster.job import read_request, sweeps_of

        asked = read_request(request)
        for experiment, settings in sweeps_of(asked):
            carry_out(experiment, settings, asked.command)

    @app.command
    def status(
        name: str | None = None, /, *, storage: Storage = "results", address: str | None = None, json: Flag = False
    ) -> None:
        """Print how far the sweeps of a storage are. Only results are read; no cluster need run.

        If the head of the cluster answers, the state of each job is printed too.

        Parameters
        ----------
        name
            Name of one sweep. Default: all sweeps of the storage.
        storage
            Folder of all results, as in `scyc-sweep submit`.
        address
            Address of the head's dashboard. Default: the one that the sweep was submitted to; if it does not answer,
            the job is listed as `head gone`.
        json
            Print one JSON list on stdout and nothing else there.

        """
        from sweep.cluster import views
        from sweep.cluster.catalog import survey
        from sweep.cluster.names import storage_of
        from sweep.cluster.records import records

        where = storage_of(storage)
        found = survey(where, name)
        jobs = _states(records(where), address)
        if json:
            print_json([_plain(each, jobs) for each in found])
        elif found:
            print_view(views.status(found, jobs))
        else:
            say(f"{where} has no sweeps")

    @app.command
    def logs(name: str, /, *, follow: Flag = False, storage: Storage = "results", address: str | None = None) -> int:
        """Print what the newest job of a sweep has printed.

        Parameters
        ----------
        name
            Name of the sweep, as `scyc-sweep status` prints it.
        follow
            Continue to print until the job ends. Ctrl-C ends the printing, not the job.
        storage
            Folder of all results, as in `scyc-sweep submit`.
        address
            Address of the head's dashboard. Default: the one that the sweep was submitted to.

        """
        cluster, job, _ = _newest(name, storage, address)
        if follow:
            return 0 if _follow(cluster, job, name) else 130
        print_text(cluster.logs(job))
        return 0

    @app.command
    def stop(name: str, /, *, storage: Storage = "results", address: str | None = None) -> None:
        """Stop the job of a sweep. All finished lanes are kept; the same submit continues the sweep.

        Parameters
        ----------
        name
            Name of the sweep, as `scyc-sweep status` prints it.
        storage
            Folder of all results, as in `scyc-sweep submit`.
        address
            Address of the head's dashboard. Default: the one that the sweep was submitted to.

        """
        cluster, _, folder = _newest(name, storage, address)
        stopped = cluster.stop(folder)
        say(f"{', '.join(stopped)}: stopped" if stopped else f"{name}: no job is under way")

    @app.command
    def collect(
        name: str, /, *, to: LocalFolder | None = None, storage: Storage = "results", states: Flag = False
    ) -> None:
        """Copy the results of a sweep to this machine: tables, figures and manifest.

        Files that are equal already are not copied again. A sweep that runs can be copied too.

        Parameters
        ----------
        name
            Name of the sweep, as `scyc-sweep status` prints it.
        to
            Folder to copy to. Without it, results/NAME.
        storage
            Folder of all results, as in `scyc-sweep submit`.
        states
            Copy the trained networks too. Only `scyc-sweep gradients` and further training need them.

        """
        from sweep.cluster import catalog
        from sweep.cluster.names import storage_of

        target = expanded(to or Path("results") / name)
        copied = catalog.collect(storage_of(storage), name, target, states)
        say(f"{len(copied)} files copied to {target}")


def _follow(cluster: "Cluster", job: str, name: str) -> bool:
    """Print what a job prints until it ends. Return False if Ctrl-C ended the printing, and not the job."""
    try:
        for lines in cluster.follow(job):
            print_text(lines)
            out.file.flush()
    except KeyboardInterrupt:
        say(f"{job} goes on; scyc-sweep stop {name} ends it")
        return False
    return True


def asked_of(app: App, words: Sequence[str], storage: str, name: str | None) -> "tuple[Location, Asked]":
    """Return the storage, and what a command asks for there. Raises SweepError for what cannot be submitted."""
    from sweep.cluster import request
    from sweep.cluster.names import storage_of
    from sweep.experiments.registry import EXPERIMENTS, settings_class

    command, where, typed = words[0] if words else "", storage_of(storage), command_line()
    known = dict.fromkeys([*EXPERIMENTS, "control"])
    if command not in known:
        raise SweepError(f"submit takes {', '.join(known)} after --, but got {command or 'nothing'}")
    try:
        function, bound, _ = app.parse_args(list(words), exit_on_error=False, print_error=False)
    except UnknownOptionError as error:
        flag = (error.token.keyword or error.token.value).partition("=")[0]
        if flag in OWN_FLAGS:
            raise SweepError(f"{flag} stands before --") from error
        raise
    if function is not app[command].default_command:
        raise SweepError("--help and --version train nothing: run them here")
    arguments = bound.arguments
    given = dict(arguments.get("flags") or {})
    request.check_arguments(arguments, given)
    if command not in ("compare", "control"):
        settings = resolve(given, arguments.get("config"), kind=settings_class(command))
        return where, request.ask_sweep(command, settings, where, name, typed)
    if name is not None:
        raise SweepError(f"--name: the results of {command} go to the folder that it is given")
    folder, confirm = str(arguments["folder"]), arguments.get("confirm")
    if command == "control":
        return where, request.ask_control(folder, arguments.get("pruning"), given, where, typed)
    runs = [*([None] if arguments.get("train") else []), *([] if confirm is None else [confirm])]
    return where, request.ask_compare(folder, arguments.get("scyc"), runs, given, where, typed)


def _print_dry(asked: "Asked", storage: Location) -> None:
    from sweep.cluster.parcel import ENTRYPOINT, parcel
    from sweep.cluster.records import Submission, environment

    draft = Submission.of(asked, 1, "")
    with parcel(asked.request) as folder:
        brought = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    print_text(ENTRYPOINT + "\n")
    content = {
        "submission_id": draft.id,
        "folder": draft.folder,
        "request": asked.request.model_dump(mode="json"),
        "runtime_env": {"working_dir": brought, "env_vars": environment(draft, storage)},
    }
    print_text(json_text.dumps(content, indent=2) + "\n")


def _newest(name: str, storage: str, address: str | None) -> "tuple[Cluster, str, str]":
    """Return the cluster, the id of the newest job of a name, and its results folder. Raises SweepError if none."""
    from sweep.cluster.jobs_api import Cluster
    from sweep.cluster.names import folder_of, storage_of
    from sweep.cluster.records import records

    where = storage_of(storage)
    folder = str(folder_of(where, name))
    known = [each for each in records(where) if each.name == name]
    cluster = Cluster(address or (known[-1].address if known else None))
    jobs = cluster.jobs(folder)
    if not jobs:
        raise SweepError(f"{cluster.address} has no job named {name} with --storage {where}")
    return cluster, str(jobs[-1].submission_id), folder


def _states(known: "list[Submission]", address: str | None) -> dict[str, str]:
    """Return the state of the newest job of each name, or `head gone` where its head does not answer."""
    newest = {each.name: each for each in known}
    folders = {each.folder: each.name for each in known}  # another storage may have the same names
    found: dict[str, str] = {}
    heads = {address} if address else {each.address for each in newest.values()}
    if heads:
        from sweep.cluster.jobs_api import FOLDER, Cluster  # seconds of imports, not needed where nothing was submitted
    for head in heads:
        try:
            jobs = Cluster(head).jobs()
        except SweepError:
            if address:
                raise
            for each in newest.values():
                if each.address == head:
                    found[each.name] = "head gone"
            continue
        for job in jobs:
            folder = (job.metadata or {}).get(FOLDER)
            if folder in folders:
                found[folders[folder]] = str(job.status.value).lower()
    return found


def _plain(entry: "CatalogEntry", jobs: dict[str, str]) -> dict[str, Any]:
    content = asdict(entry)
    content["last"] = entry.last.isoformat() if entry.last else None
    return content | {"job": jobs.get(entry.name.partition("/")[0])}
