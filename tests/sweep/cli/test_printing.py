"""What a command says besides its results: one line a message, whatever its width; of a sweep with the time of day."""

import re

import pytest

from sweep.cli.printing import log, say

LONG = "results in " + "a/very/long/path " * 20


def test_a_message_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    say(LONG)
    assert capsys.readouterr() == ("", f"{LONG}\n")


def test_in_a_file_what_is_said_of_a_running_sweep_begins_with_the_time_of_day(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log(LONG)
    out, err = capsys.readouterr()
    assert out == "" and re.fullmatch(rf"\d\d:\d\d:\d\d {LONG}\n", err)
