"""Ray's Jobs API, as far as it can be tried without a head; `tests/cluster` has real ones."""

import os
from types import SimpleNamespace

import pytest

from sweep.cluster import jobs_api


def test_the_address_that_is_given_counts_and_not_what_ray_reads_in_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[tuple[str, set[str]]] = []
    names = {"RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"}
    monkeypatch.setattr(jobs_api, "check_reachable", lambda *address: None)
    monkeypatch.setattr(jobs_api, "JobSubmissionClient", lambda address: seen.append((address, names & {*os.environ})))
    for name in names:
        monkeypatch.setenv(name, "http://elsewhere:8265")
    jobs_api.Cluster("head:8265")
    assert seen == [("http://head:8265", set())] and names <= {*os.environ}
    assert jobs_api.Cluster(None).address == "http://elsewhere:8265"


def test_jobs_are_those_of_a_folder_and_not_of_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def job(number: int, folder: str) -> SimpleNamespace:
        metadata = {jobs_api.NAME: "digits", jobs_api.FOLDER: folder}
        return SimpleNamespace(submission_id=str(number), metadata=metadata, start_time=number)

    foreign = SimpleNamespace(submission_id="x", metadata={}, start_time=0)
    jobs = [job(2, "s3://a/digits"), job(1, "s3://b/digits"), job(0, "s3://a/digits"), foreign]
    monkeypatch.setattr(jobs_api, "check_reachable", lambda *address: None)
    monkeypatch.setattr(jobs_api, "JobSubmissionClient", lambda address: SimpleNamespace(list_jobs=lambda: jobs))
    there = jobs_api.Cluster("http://head:8265")
    assert [each.submission_id for each in there.jobs("s3://a/digits")] == ["0", "2"]
    assert [each.submission_id for each in there.jobs()] == ["0", "1", "2"]
