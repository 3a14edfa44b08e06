"""The commands for a Ray cluster: parse, call, print, as `sweep.cli.main` does for the rest."""

import json as json_text
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from sweep.cli.console import err, out, print_json, print_text
from sweep.config.groups import LocalFolder, LocationText
from sweep.config.resolve import resolve
from sweep.config.settings import Settings
from sweep.errors import SweepError
from sweep.experiments.schedules.settings import SchedulesSettings
from sweep.experiments.tuning.settings import TuningSettings
from trainables.storage import expanded

if TYPE_CHECKING:
    from sweep.cluster.jobs_api import Cluster
    from sweep.cluster.submission import Submission

KINDS: dict[str, type[Settings] | None] = {
    "oracle": Settings,
    "schedules": SchedulesSettings,
    "tune": TuningSettings,
    "compare": None,
    "control": None,
}
"""Commands that can be submitted, with the settings that they resolve; None: they take a finished folder's."""

Storage = Annotated[LocationText, Parameter(env_var="SCYC_SWEEP_STORAGE")]
Flag = Annotated[bool, Parameter(negative="")]


def register(app: App) -> None:
    """Add the commands to the command line, whose own they submit."""

    @app.command
    def submit(
        *words: Annotated[str, Parameter(allow_leading_hyphen=True, name="COMMAND")],
        address: str | None = None,
        storage: Storage = "results",
        name: str | None = None,
        wait: Flag = False,
        dry_run: Flag = False,
    ) -> int:
        """Run a command as a job on a Ray cluster: scyc-sweep submit -- oracle --model vgg19.

        Results go to STORAGE/NAME. The same submit again attaches to the job, or goes on with what is unfinished, on
        another cluster too.

        Parameters
        ----------
        words
            After --: oracle, schedules, tune, compare or control, and its arguments as on this machine. Of compare and
            control the FOLDER, of tune the --oracle, may be a NAME of the storage.
        address
            The head's dashboard, http://HEAD:8265. Default: RAY_API_SERVER_ADDRESS, else this machine's.
        storage
            Where results go, which the submitter and all hosts of the cluster must see: a shared folder, s3://BUCKET/PATH
            or gs://BUCKET/PATH.
        name
            Name of the results. Default: as the folder is called on this machine.
        wait
            Print what the job prints, and end with its exit code.
        dry_run
            Submit nothing: print the entrypoint and the runtime environment.

        """
        from sweep.cluster import submission

        command, *rest = words or ("",)
        for flag in ("--name", "--storage", "--wait", "--dry-run"):
            if any(word.partition("=")[0] == flag for word in rest):
                raise SweepError(f"{flag} stands before --")
        if command not in KINDS:
            raise SweepError(f"submit takes {', '.join(KINDS)} after --, but got {command or 'nothing'}")
        _, bound, _ = app.parse_args(list(words), exit_on_error=False, print_error=False)
        kind, where = KINDS[command], submission.storage_of(storage)
        settings = None
        if kind is None and name is not None:
            raise SweepError(f"--name: what {command} finds goes to the folder that it is given")
        if kind is not None:
            flags = bound.arguments.get("flags")
            given = {} if flags is None else {each: getattr(flags, each) for each in flags.model_fields_set}
            settings = resolve(given, bound.arguments.get("config"), kind=kind)
        asked = submission.ask([command, *rest], command, bound.arguments, settings, where, name)
        if dry_run:
            _print_dry(asked, where)
            return 0
        submission.check(asked, settings, where)
        from sweep.cluster.jobs_api import Cluster

        cluster = Cluster(address)
        job, how = cluster.submit(asked, where)
        err.print(f"{job.id}: {how}, results in {job.folder}", soft_wrap=True)
        if not wait:
            told = f"--storage {shlex.quote(str(where))}"
            follow = "" if how == "finished already" else f"scyc-sweep status {job.name} {told}; "
            err.print(f"{follow}scyc-sweep collect {job.name} {told}", soft_wrap=True)
            return 0
        if not _follow(cluster, job.id, job.name):
            return 130
        return cluster.exit_code(job.id)

    @app.command
    def status(
        name: str | None = None, /, *, storage: Storage = "results", address: str | None = None, json: Flag = False
    ) -> None:
        """Say how far the sweeps of a storage are, from their results; with a reachable head, of their jobs too.

        Parameters
        ----------
        name
            One sweep. Default: all of the storage.
        storage
            As `submit` has it.
        address
            The head's dashboard. Default: where the sweep was submitted to; a head that is gone is passed over.
        json
            Print a JSON list on stdout and nothing else.

        """
        from sweep.cluster import catalog as stored
        from sweep.cluster import submission, views
        from sweep.reporting import terminal

        where = submission.storage_of(storage)
        found = stored.survey(where, name)
        jobs = _states(submission.records(where), address)
        if json:
            print_json([_plain(each, jobs) for each in found])
        elif found:
            out.print(terminal.render(views.status(found, jobs), out.width))
        else:
            err.print(f"{where} has no sweeps", soft_wrap=True)

    @app.command
    def logs(name: str, /, *, follow: Flag = False, storage: Storage = "results", address: str | None = None) -> int:
        """Print what the newest job of a name has printed.

        Parameters
        ----------
        name
            Name of the results, as `status` has it.
        follow
            Go on until the job ends.
        storage
            As `submit` has it.
        address
            The head's dashboard. Default: where it was submitted to.

        """
        cluster, job, _ = _newest(name, storage, address)
        if follow:
            return 0 if _follow(cluster, job, name) else 130
        print_text(cluster.logs(job))
        return 0

    @app.command
    def stop(name: str, /, *, storage: Storage = "results", address: str | None = None) -> None:
        """Stop the job of a name. What is finished is kept: the same submit goes on.

        Parameters
        ----------
        name
            Name of the results, as `status` has it.
        storage
            As `submit` has it.
        address
            The head's dashboard. Default: where it was submitted to.

        """
        cluster, _, folder = _newest(name, storage, address)
        stopped = cluster.stop(folder)
        err.print(f"{', '.join(stopped)}: stopped" if stopped else f"{name}: no job is under way", soft_wrap=True)

    @app.command
    def collect(
        name: str, /, *, to: LocalFolder | None = None, storage: Storage = "results", states: Flag = False
    ) -> None:
        """Copy the results of a name to this machine: tables, pictures, manifest.

        Parameters
        ----------
        name
            Name of the results, as `status` has it.
        to
            Folder to copy to. Default: results/NAME.
        storage
            As `submit` has it.
        states
            The networks too, which only `gradients` and further training need.

        """
        from sweep.cluster import catalog as stored
        from sweep.cluster import submission

        target = expanded(to or Path("results") / name)
        copied = stored.collect(submission.storage_of(storage), name, target, states)
        err.print(f"{len(copied)} files copied to {target}", soft_wrap=True)


def _follow(cluster: "Cluster", job: str, name: str) -> bool:
    """Print what a job prints until it ends; return whether it did, or Ctrl-C ended this alone."""
    try:
        for lines in cluster.follow(job):
            print_text(lines)
            out.file.flush()
    except KeyboardInterrupt:
        err.print(f"{job} goes on; scyc-sweep stop {name} ends it", soft_wrap=True)
        return False
    return True


def _print_dry(asked: Any, storage: Any) -> None:
    from sweep.cluster import submission

    draft = submission.new(asked, 1, "")
    with submission.parcel(asked) as folder:
        brought = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    print_text(draft.entrypoint + "\n")
    content = {
        "submission_id": draft.id,
        "folder": draft.folder,
        "runtime_env": {"working_dir": brought, "env_vars": submission.environment(draft, storage)},
    }
    print_text(json_text.dumps(content, indent=2) + "\n")


def _newest(name: str, storage: str, address: str | None) -> "tuple[Cluster, str, str]":
    """Return the cluster, the id of the newest job of a name, and its results folder. Raises SweepError if none."""
    from sweep.cluster import submission
    from sweep.cluster.jobs_api import Cluster

    where = submission.storage_of(storage)
    folder = str(submission.folder_of(where, name))
    known = [each for each in submission.records(where) if each.name == name]
    cluster = Cluster(address or (known[-1].address if known else None))
    jobs = cluster.jobs(folder)
    if not jobs:
        raise SweepError(f"{cluster.address} has no job named {name} with --storage {where}")
    return cluster, str(jobs[-1].submission_id), folder


def _states(records: "list[Submission]", address: str | None) -> dict[str, str]:
    """Return what the newest job of each name is doing, as far as a head says so."""
    newest = {each.name: each for each in records}
    folders = {each.folder: each.name for each in records}  # another storage may have the same names
    found: dict[str, str] = {}
    heads = {address} if address else {each.address for each in newest.values()}
    if heads:
        from sweep.cluster.jobs_api import (  # seconds of imports, for nothing where nothing was submitted
            FOLDER,
            Cluster,
        )
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


def _plain(stored: Any, jobs: dict[str, str]) -> dict[str, Any]:
    content = asdict(stored)
    content["last"] = stored.last.isoformat() if stored.last else None
    return content | {"job": jobs.get(stored.name.partition("/")[0])}
