"""Jobs of a Ray cluster: submit, follow, stop. In: `Asked`. Out: `Submission`, and what Ray's Jobs API says of it.

The job's driver runs on the cluster's head and is an ordinary sweep there: what survives is its results folder, not the
job. So a job that ended before its sweep is simply submitted again.
"""

import asyncio
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Literal
from urllib.parse import urlsplit
from urllib.request import getproxies

import aiohttp
from ray.dashboard.modules import dashboard_sdk
from ray.dashboard.modules.job import sdk
from ray.exceptions import AuthenticationError
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

from sweep.cluster.parcel import ENTRYPOINT, parcel
from sweep.cluster.records import Submission, environment, record_of, records, write_record
from sweep.cluster.request import Asked
from sweep.errors import SweepError, TrainingError
from sweep.execution.on_ray.address import TOKEN_HINT, check_reachable
from trainables.storage import Location

DEFAULT_ADDRESS = "http://127.0.0.1:8265"
STOPPED = 143
"""Exit code of a job that was stopped: that of a process that SIGTERM ended."""
POLL = 1.0

Found = Literal["submitted", "attached", "finished already"]


class Cluster:
    """The Jobs API of a cluster's head."""

    def __init__(self, address: str | None) -> None:
        """`address`: http://HEAD:8265, or None for RAY_API_SERVER_ADDRESS, else this machine.

        Raises SweepError where nothing answers, or what answers wants a token.
        """
        self.address = address or os.environ.get("RAY_API_SERVER_ADDRESS") or DEFAULT_ADDRESS
        if "://" not in self.address:
            self.address = f"http://{self.address}"
        if not self.address.startswith(("http://", "https://")):
            raise SweepError(f"--address takes http://HEAD:8265, the address of the dashboard, but got {self.address}")
        if "@" in self.address:
            raise SweepError("--address without credentials: the storage keeps it; a token goes into RAY_AUTH_TOKEN")
        if not getproxies():  # Ray's client has no end of patience
            check_reachable(*_host_of(self.address), "the head's dashboard, http://HEAD:8265")
        with _without("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"):  # which Ray takes before what it is given
            self.client: JobSubmissionClient = _answered(self.address, lambda: JobSubmissionClient(self.address))
        logging.getLogger("ray").setLevel(logging.ERROR)  # making a client sets it to talk
        for module in (sdk, dashboard_sdk):
            module.logger.setLevel(logging.ERROR)

    def jobs(self, folder: str | None = None) -> list[JobDetails]:
        """Return the sweeps that were submitted here, oldest first, all or those into a results folder."""
        found = [job for job in _answered(self.address, self.client.list_jobs) if job.metadata and NAME in job.metadata]
        kept = [job for job in found if folder is None or (job.metadata or {})[FOLDER] == folder]
        return sorted(kept, key=lambda job: job.start_time or 0)

    def job(self, submission_id: str) -> JobDetails:
        """Return what is known of a job."""
        return _answered(self.address, lambda: self.client.get_job_info(submission_id))

    def submit(self, asked: Asked, storage: Location) -> tuple[Submission, Found]:
        """Return the job that does what was asked for: one under way, one that has done it, or a new one.

        Raises SweepError if another is at work in the folder.
        """
        known = {each.id: each for each in records(storage)}
        draft = Submission.of(asked, 1, self.address)
        here = self.jobs()
        for job in here:
            metadata = job.metadata or {}
            if metadata.get(FOLDER) != draft.folder or job.status.is_terminal():
                continue
            if metadata[STEM] != draft.stem:
                raise SweepError(
                    f"{draft.folder} is what {job.submission_id} is at work on: wait for it, stop it, or give --name"
                )
            return known.get(str(job.submission_id), draft), "attached"
        attempts = [each for each in known.values() if each.stem == draft.stem]
        own = [job for job in here if (job.metadata or {})[STEM] == draft.stem]
        newest = str(own[-1].submission_id) if own and own[-1].status == JobStatus.SUCCEEDED else ""
        if newest in known and asked.finished:
            return known[newest], "finished already"
        taken = {each.attempt for each in attempts} | {int((job.metadata or {})[ATTEMPT]) for job in own}
        new = Submission.of(asked, 1 + max(taken, default=0), self.address)
        with parcel(asked.request) as folder:
            write_record(storage, new)  # which the job looks for when it begins
            env = {"working_dir": str(folder), "env_vars": environment(new, storage)}
            try:
                _answered(
                    self.address,
                    lambda: self.client.submit_job(
                        entrypoint=ENTRYPOINT,
                        submission_id=new.id,
                        runtime_env=env,
                        metadata={NAME: new.name, FOLDER: new.folder, STEM: new.stem, ATTEMPT: str(new.attempt)},
                    ),
                )
            except SweepError:
                if not any(job.submission_id == new.id for job in self.jobs()):
                    record_of(storage, new.id).unlink(missing_ok=True)
                    raise
                return new, "attached"  # somebody submitted the same at the same time
        return new, "submitted"

    def logs(self, submission_id: str) -> str:
        """Return what a job has printed so far."""
        return str(_answered(self.address, lambda: self.client.get_job_logs(submission_id)))

    def follow(self, submission_id: str) -> Iterator[str]:
        """Yield what a job prints until it ends. Raises TrainingError if the head is lost meanwhile."""
        lines = self.client.tail_job_logs(submission_id)
        loop = asyncio.new_event_loop()
        try:
            while True:
                try:
                    yield loop.run_until_complete(anext(lines))
                except StopAsyncIteration:
                    return
        except (RuntimeError, OSError, aiohttp.ClientError) as error:
            raise self._lost(error) from error
        finally:
            # Left by Ctrl-C, what waits for the next line must be let go of before its connection is.
            for task in asyncio.all_tasks(loop):
                task.cancel()
            with suppress(Exception, asyncio.CancelledError):
                loop.run_until_complete(asyncio.gather(*asyncio.all_tasks(loop), return_exceptions=True))
                loop.run_until_complete(lines.aclose())
            loop.close()

    def exit_code(self, submission_id: str) -> int:
        """Wait for a job's end and return its exit code: that of its command, 143 where it was stopped."""
        while not (job := self.job(submission_id)).status.is_terminal():
            time.sleep(POLL)
        if job.status == JobStatus.STOPPED:
            return STOPPED
        if job.driver_exit_code is None and job.status == JobStatus.FAILED:
            raise TrainingError(f"{submission_id} failed: {' '.join((job.message or '').split())[-400:]}")
        return job.driver_exit_code or 0

    def stop(self, folder: str) -> list[str]:
        """Stop the jobs into a results folder that are under way, wait for their end, and return their ids."""
        running = [str(job.submission_id) for job in self.jobs(folder) if not job.status.is_terminal()]
        for each in running:
            _answered(self.address, lambda each=each: self.client.stop_job(each))
        for each in running:
            self.exit_code(each)
        return running

    def _lost(self, error: Exception) -> TrainingError:
        reason = " ".join(str(error).split())[:200]
        return TrainingError(
            f"the head at {self.address} no longer answers ({reason}); the same submit, on this or another cluster, "
            "goes on from what is in the storage"
        )


@contextmanager
def _without(*names: str) -> Iterator[None]:
    """Be without some variables of the environment for the length of a block."""
    kept = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)


def _host_of(address: str) -> tuple[str, int]:
    """Return host and port of a URL. Raises SweepError where it has none."""
    try:
        found = urlsplit(address)
        return str(found.hostname), found.port or (443 if found.scheme == "https" else 80)
    except ValueError as error:
        raise SweepError(f"--address takes http://HEAD:8265, but got {address}: {error}") from error


PREFIX = "scyc_sweep_"
NAME, FOLDER, STEM, ATTEMPT = (PREFIX + what for what in ("name", "folder", "stem", "attempt"))
"""What a job's metadata say of it."""


def _answered(address: str, ask: Any) -> Any:
    """Return what a head answers. Raises SweepError, one line, where it does not, or refuses."""
    try:
        return ask()
    except AuthenticationError as error:
        raise SweepError(f"{address} asks for a token, and got none or another; {TOKEN_HINT}") from error
    except (ConnectionError, OSError) as error:
        raise SweepError(
            f"no Ray answers at {address}: {' '.join(str(error).split())[:200]}; --address takes the head's dashboard, "
            "http://HEAD:8265"
        ) from error
    except (RuntimeError, ValueError) as error:
        raise SweepError(f"{address} refused: {' '.join(str(error).split())[:300]}") from error
