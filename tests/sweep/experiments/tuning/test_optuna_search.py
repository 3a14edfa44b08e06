"""Searches repeat, whatever ends first; their journal follows them, and is left alone where it is another's."""

import math
import os
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from search_spaces.ranges import Range
from sweep.errors import FolderError
from sweep.experiments.tuning.optuna_search import Journal, Search, Trial, open_journal

RANGES = {"rate": Range(0.001, 1.0, log=True), "q": Range(0, 3, integer=True)}
IDENTITY = {"model": "mlp", "seed": 0}


def search(name: str = "study", journal: Journal | None = None, **changes: object) -> Search:
    settings: dict[str, object] = {"trials": 8, "batch": 4, "sampler": "tpe", "pruner": "none", "seed": 0}
    return Search(name, RANGES, **(settings | changes), journal=journal)  # type: ignore[arg-type]


def value(trial: Trial) -> float:
    return -abs(trial.params["rate"] - 0.1) - trial.params["q"]


def finish(found: Search, order: Callable[[list[Trial]], list[Trial]] = lambda batch: batch) -> list[dict[str, float]]:
    asked = []
    while batch := found.ask():
        asked += [dict(trial.params) for trial in batch]
        for trial in order(batch):
            trial.end("complete", value(trial))
    return asked


@pytest.mark.parametrize("sampler", ["tpe", "gp", "random"])
class TestEverySampler:
    def test_a_search_asks_for_its_trials_in_batches_within_the_ranges(self, sampler: str) -> None:
        found = search(trials=7, batch=3, sampler=sampler)
        sizes = []
        while batch := found.ask():
            sizes.append(len(batch))
            for trial in batch:
                assert 0.001 <= trial.params["rate"] <= 1 and trial.params["q"] in range(4)
                trial.end("complete", value(trial))
        assert sizes == [3, 3, 1]

    def test_the_same_search_asks_the_same_again(self, sampler: str) -> None:
        assert finish(search(sampler=sampler)) == finish(search(sampler=sampler))

    def test_another_seed_asks_otherwise(self, sampler: str) -> None:
        assert finish(search(sampler=sampler)) != finish(search(sampler=sampler, seed=1))

    def test_no_batch_repeats_the_draws_of_another(self, sampler: str) -> None:
        asked = finish(search(sampler=sampler, trials=12))
        assert len({tuple(trial.values()) for trial in asked}) == 12

    def test_what_ends_first_within_a_batch_does_not_matter(self, sampler: str) -> None:
        assert finish(search(sampler=sampler), lambda batch: batch[::-1]) == finish(search(sampler=sampler))


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_the_first_batch_covers_the_ranges_evenly(sampler: str) -> None:
    batch = search(sampler=sampler, batch=4).ask()
    shares = sorted((math.log10(trial.params["rate"]) + 3) / 3 for trial in batch)  # of the range that lies below
    assert [int(share * 4) for share in shares] == [0, 1, 2, 3]
    assert sorted(trial.params["q"] for trial in batch) == [0, 1, 2, 3]


def test_a_first_batch_follows_the_seed_and_chance_alone_is_not_stratified() -> None:
    def quarters(sampler: str, seed: int) -> list[int]:
        batch = search(sampler=sampler, seed=seed).ask()
        return sorted(int(4 * (math.log10(trial.params["rate"]) + 3) / 3) for trial in batch)

    first = [[trial.params["rate"] for trial in search(seed=seed).ask()] for seed in range(3)]
    assert first[0] != first[1] != first[2]
    assert all(quarters("tpe", seed) == [0, 1, 2, 3] for seed in range(8))
    assert not all(quarters("random", seed) == [0, 1, 2, 3] for seed in range(8))


def test_parameters_are_rounded_as_a_grid_s() -> None:
    for trial in search(trials=8, batch=8).ask():
        assert trial.params["rate"] == float(f"{trial.params['rate']:.6g}")


def test_gp_takes_what_ended_early_for_the_worst_and_does_not_stay_there() -> None:
    found = search(sampler="gp", trials=12, batch=4)
    batch = sorted(found.ask(), key=lambda trial: trial.params["rate"])  # two of four lie above 0.03
    for trial in batch:
        bad = trial.params["rate"] > 0.03
        trial.end("diverged" if bad else "complete", None if bad else value(trial))
    told = [found.study.trials[trial.number].value for trial in batch]
    assert told[:2] == [value(trial) for trial in batch[:2]]
    assert told[2:] == [min(told[:2])] * 2
    later = [trial.params["rate"] for trial in found.ask()]
    assert sum(rate > 0.03 for rate in later) < 4


def test_later_batches_depend_on_the_values_of_earlier_ones() -> None:
    def ends(sign: int) -> list[dict[str, float]]:
        found, asked = search(trials=16), []
        while batch := found.ask():
            asked += [dict(trial.params) for trial in batch]
            for trial in batch:
                trial.end("complete", sign * value(trial))
        return asked

    assert ends(1)[:4] == ends(-1)[:4]
    assert ends(1)[4:] != ends(-1)[4:]


def test_the_median_pruner_ends_a_trial_below_the_median_of_earlier_ones_and_nothing_in_the_first_batch() -> None:
    found = search(pruner="median", trials=6, batch=3)
    for trial, steps in zip(found.ask(), ([1.0, 2.0], [2.0, 4.0], [3.0, 6.0]), strict=True):
        for step, reported in enumerate(steps):
            trial.report(step, reported)
            assert not trial.should_prune()
        trial.end("complete", steps[-1])
    low, middle, high = found.ask()
    for trial, reported in ((low, 1.9), (middle, 2.0), (high, 2.1)):
        trial.report(0, reported)
    assert [trial.should_prune() for trial in (low, middle, high)] == [True, False, False]


def states(path: Path, name: str = "study") -> list[TrialState]:
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path)))
    return [trial.state for trial in optuna.load_study(study_name=name, storage=storage).trials]


class TestJournal:
    def test_it_shows_what_runs_and_what_came_of_it(self, tmp_path: Path) -> None:
        path = tmp_path / "journal.log"
        found = search(journal=Journal(path, IDENTITY), trials=4)
        batch = found.ask()
        assert states(path) == [TrialState.RUNNING] * 4
        batch[0].report(0, 5.0)
        batch[0].end("complete", 7.0)
        batch[1].end("pruned", None)
        batch[2].end("diverged", None)
        assert states(path) == [TrialState.COMPLETE, TrialState.PRUNED, TrialState.PRUNED, TrialState.RUNNING]
        storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path)))
        study = optuna.load_study(study_name="study", storage=storage)
        assert study.best_value == 7.0 and study.trials[0].intermediate_values == {0: 5.0}
        assert study.trials[0].params == pytest.approx(batch[0].params)

    def test_what_a_kill_left_running_is_failed_and_comes_again_and_what_ended_does_not(self, tmp_path: Path) -> None:
        path = tmp_path / "journal.log"
        batch = search(journal=Journal(path, IDENTITY), trials=4).ask()
        batch[0].end("complete", 1.0)
        again = search(journal=Journal(path, IDENTITY), trials=4)
        for trial in again.ask():
            trial.end("complete", 1.0)
        assert states(path) == [TrialState.COMPLETE] + [TrialState.FAIL] * 3 + [TrialState.COMPLETE] * 3

    def test_a_search_begun_again_in_the_same_process_adds_nothing(self, tmp_path: Path) -> None:
        journal = Journal(tmp_path / "journal.log", IDENTITY)
        search(journal=journal, trials=4).ask()
        for trial in search(journal=journal, trials=4).ask():
            trial.end("complete", 1.0)
        assert states(tmp_path / "journal.log") == [TrialState.COMPLETE] * 4

    def test_a_number_with_other_parameters_is_another_trial(self, tmp_path: Path) -> None:
        path = tmp_path / "journal.log"
        for seed in (0, 1):
            for trial in search(journal=Journal(path, IDENTITY), trials=4, seed=seed).ask():
                trial.end("complete", 1.0)
        assert states(path) == [TrialState.COMPLETE] * 8

    def test_a_pruned_trial_has_no_value(self, tmp_path: Path) -> None:
        found = search(journal=Journal(tmp_path / "journal.log", IDENTITY), trials=4)
        found.ask()[0].end("pruned", 3.0)
        backend = optuna.storages.journal.JournalFileBackend(str(tmp_path / "journal.log"))
        study = optuna.load_study(study_name="study", storage=optuna.storages.JournalStorage(backend))
        assert study.trials[0].value is None

    def test_a_half_written_record_and_a_stale_lock_are_cleared_away(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "journal.log"
        search(journal=Journal(path, IDENTITY), trials=4).ask()
        path.write_bytes(path.read_bytes()[:-7])
        (tmp_path / "journal.log.lock").symlink_to(path)
        monkeypatch.chdir(tmp_path)
        journal = Journal(Path("journal.log"), IDENTITY)
        assert not (tmp_path / "journal.log.lock").is_symlink()  # Optuna would wait for it, half a minute or for ever
        assert journal.path.is_absolute()  # Optuna links to it from the lock, and a relative link would point elsewhere
        for trial in search(journal=journal, trials=4).ask():
            trial.end("complete", 1.0)
        assert states(path).count(TrialState.COMPLETE) == 4 and states(path)[-1] == TrialState.COMPLETE

    def test_a_journal_that_fails_is_given_up_and_the_search_goes_on(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        found = search(journal=Journal(tmp_path / "no" / "such" / "folder" / "journal.log", IDENTITY), trials=8)
        assert len(finish(found)) == 8
        assert "the journal for optuna-dashboard is given up" in caplog.text

    def test_a_journal_of_another_experiment_is_refused_and_left_as_it_is(self, tmp_path: Path) -> None:
        path = tmp_path / "journal.log"
        search(journal=Journal(path, IDENTITY)).ask()
        before = path.read_bytes()
        with pytest.raises(FolderError, match=r"journal\.log has a study of another experiment \(study\)"):
            Journal(path, IDENTITY | {"seed": 1})
        assert path.read_bytes() == before

    @pytest.mark.parametrize("target", ["victim", "nowhere"])
    def test_a_link_is_not_followed_and_no_lock_beside_its_end_is_removed(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture, target: str
    ) -> None:
        outside, path = tmp_path / "outside", tmp_path / "results" / "journal.log"
        outside.mkdir(), path.parent.mkdir()
        for name in ("victim", "victim.lock", "nowhere.lock"):
            (outside / name).write_text("the user's own")
        path.symlink_to(outside / target)
        assert open_journal(path, IDENTITY) is None
        assert "it is a link, not a file" in caplog.text
        assert {each.name: each.read_text() for each in outside.iterdir()} == dict.fromkeys(
            ("victim", "victim.lock", "nowhere.lock"), "the user's own"
        )

    def test_a_pipe_is_not_waited_for(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "journal.log")
        assert open_journal(tmp_path / "journal.log", IDENTITY) is None

    def test_other_names_of_the_file_keep_what_it_was(self, tmp_path: Path) -> None:
        path = tmp_path / "journal.log"
        search(journal=Journal(path, IDENTITY), trials=4).ask()
        os.link(path, tmp_path / "other")
        before = path.read_bytes()
        for trial in search(journal=Journal(path, IDENTITY), trials=4).ask():
            trial.end("complete", 1.0)
        assert (tmp_path / "other").read_bytes() == before
        assert path.read_bytes().startswith(before) and states(path).count(TrialState.COMPLETE) == 4

    def test_a_lock_is_removed_and_not_what_it_leads_to(self, tmp_path: Path) -> None:
        (tmp_path / "victim").write_text("the user's own")
        (tmp_path / "journal.log.lock").symlink_to(tmp_path / "victim")
        Journal(tmp_path / "journal.log", IDENTITY)
        assert [path.name for path in tmp_path.iterdir()] == ["victim"]

    def test_a_stranger_s_study_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "journal.log"
        storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path)))
        optuna.create_study(study_name="mine", storage=storage).enqueue_trial({"x": 1.0})
        before = path.read_bytes()
        with pytest.raises(FolderError, match=r"another experiment \(mine\)"):
            Journal(path, IDENTITY)
        assert path.read_bytes() == before

    def test_a_damaged_journal_is_named(self, tmp_path: Path) -> None:
        path = tmp_path / "journal.log"
        path.write_text("nothing of the kind\nnor this\n")
        with pytest.raises(FolderError, match=r"journal\.log is damaged"):
            Journal(path, IDENTITY)
