"""Why a trial failed, as far as Ray Tune tells."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sweep.execution.on_ray.hooks import PatientScheduler
from sweep.execution.outcomes import HostGone, WorkerDied


@pytest.mark.parametrize(("failures", "kind"), [(0, HostGone), (1, WorkerDied)])
def test_what_tune_counts_as_no_failure_is_a_host_that_was_drained(
    searching: Callable[..., Any], tmp_path: Path, failures: int, kind: type
) -> None:
    searcher = searching(1, 1)
    (tmp_path / "error.txt").write_text("Failure # 1\nThe actor died:\n\tits node was drained\n")
    trial = SimpleNamespace(trial_id="0", num_failures=failures, error_file=str(tmp_path / "error.txt"))
    PatientScheduler(searcher).on_trial_error(None, trial)
    assert searcher.failures == {"0": kind("The actor died: its node was drained")}
