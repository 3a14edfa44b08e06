"""Places of results: a folder and a bucket read and write alike, an outage passes, and files are whole or not there."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trainables import storage
from trainables.storage import SMALL, STATE, TABLE, Remote, Replacing, StorageError, copy, locate, read, reason

Place = Any
"""A Path or a Remote, which these tests hold to the same."""


def test_the_old_file_stays_until_the_new_one_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    path.write_text("old")
    with Replacing(path) as partial:
        assert partial.parent == tmp_path
        partial.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("written", [True, False])
def test_after_an_error_the_old_file_is_all_there_is(tmp_path: Path, written: bool) -> None:
    path = tmp_path / "manifest.json"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), Replacing(path) as partial:
        if written:
            partial.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_partial_file_is_no_parquet_file_by_its_name(tmp_path: Path) -> None:
    with Replacing(tmp_path / "oracle.parquet") as partial:
        partial.write_text("")
        assert list(tmp_path.glob("*.parquet")) == []


@pytest.mark.parametrize("kind", ["link", "link to nothing", "other name"])
def test_what_a_file_takes_the_place_of_is_neither_followed_nor_written(tmp_path: Path, kind: str) -> None:
    (tmp_path / "victim").write_text("the user's own")
    path = tmp_path / "results" / "manifest.json"
    path.parent.mkdir()
    if kind == "other name":
        os.link(tmp_path / "victim", path)
    else:
        path.symlink_to(tmp_path / ("victim" if kind == "link" else "nowhere"))
    with Replacing(path) as partial:
        partial.write_text("new")
    assert path.read_text() == "new" and not path.is_symlink()
    assert (tmp_path / "victim").read_text() == "the user's own" and len(list(tmp_path.iterdir())) == 2


def test_a_partial_file_is_nobody_else_s(tmp_path: Path) -> None:
    replacing = Replacing(tmp_path / "manifest.json")
    replacing.partial.symlink_to(tmp_path / "victim")
    with pytest.raises(FileExistsError), replacing:
        raise AssertionError
    assert not (tmp_path / "victim").exists()


def test_a_link_is_not_copied(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("the user's own")
    (tmp_path / "link").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="it is a link, not a file"):
        copy(tmp_path / "link", tmp_path / "copy")
    assert {path.name for path in tmp_path.iterdir()} == {"victim", "link"}


FILES = {
    "manifest.json": b"{}",
    "oracle.parquet": bytes(range(256)),
    "empty.log": b"",
    ".driver.json": b"{}",
    "trials/cycle00-run00-a.parquet": b"a",
    "trials/cycle01-run00-b.parquet": b"b",
    "trials.old/cycle00-run00-a.parquet": b"old",
    "controls/random/manifest.json": b"random",
    "controls/none/manifest.json": b"none",
    "controls/begun/trials/c.parquet": b"c",
    "controls/note.txt": "S-Cyc's \N{GREEK SMALL LETTER EPSILON}".encode(),
}


def at(root: Place, path: str) -> Place:
    for part in path.split("/"):
        root = root / part
    return root


def fill(root: Place) -> Place:
    for path, content in FILES.items():
        place = at(root, path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    return root


@pytest.fixture(params=["folder", "bucket"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """An empty place of either kind."""
    if request.param == "folder":
        return tmp_path / "results"
    return locate(f"{request.getfixturevalue('bucket')}/results")


def within(root: Place, places: Any) -> list[str]:
    return sorted(str(place).removeprefix(f"{root}/") for place in places)


class TestLikeAPath:
    """What pathlib does on a tree of files is what a bucket does; the folder is the measure of the bucket."""

    @pytest.fixture
    def there(self, root: Place) -> Place:
        return fill(root)

    def test_every_file_reads_as_it_was_written(self, there: Place) -> None:
        assert {path: at(there, path).read_bytes() for path in FILES} == FILES
        note = at(there, "controls/note.txt")
        assert note.read_text(encoding="utf-8") == "S-Cyc's \N{GREEK SMALL LETTER EPSILON}"
        note.write_text("\N{GREEK SMALL LETTER DELTA}\n", encoding="utf-8")
        assert note.read_bytes() == "\N{GREEK SMALL LETTER DELTA}\n".encode()

    def test_a_file_and_a_folder_with_something_in_it_exist_and_nothing_else_does(self, there: Place) -> None:
        for path in ("manifest.json", "empty.log", "trials", "controls/random", "controls/begun/trials"):
            assert at(there, path).exists(), path
        for path in ("manifest", "manifest.json/x", "trial", "controls/rand", "trials/cycle00", "states"):
            assert not at(there, path).exists(), path
        assert there.exists()

    def test_iterdir_lists_one_level(self, there: Place) -> None:
        top = {path.partition("/")[0] for path in FILES}
        assert within(there, there.iterdir()) == sorted(top)
        assert within(there, (there / "controls").iterdir()) == [
            "controls/begun",
            "controls/none",
            "controls/note.txt",
            "controls/random",
        ]
        assert within(there, (there / "trials").iterdir()) == [path for path in sorted(FILES) if "trials/" in path[:7]]

    @pytest.mark.parametrize(
        ("pattern", "found"),
        [
            ("*.parquet", ["oracle.parquet"]),
            ("manifest.json", ["manifest.json"]),
            ("*/manifest.json", []),
            ("controls/*/manifest.json", ["controls/none/manifest.json", "controls/random/manifest.json"]),
            ("controls/*", ["controls/begun", "controls/none", "controls/note.txt", "controls/random"]),
            ("trials/cycle01-*.parquet", ["trials/cycle01-run00-b.parquet"]),
            ("*/*/*.parquet", []),
            ("*/*/*/*.parquet", ["controls/begun/trials/c.parquet"]),
            ("*.p*", ["oracle.parquet"]),
            ("states/*", []),
            ("*.PARQUET", []),
        ],
    )
    def test_glob_matches_level_by_level(self, there: Place, pattern: str, found: list[str]) -> None:
        assert within(there, there.glob(pattern)) == found

    def test_a_glob_of_what_is_not_there_is_empty(self, root: Place) -> None:
        assert list(root.glob("*")) == list(root.glob("*/manifest.json")) == []

    def test_what_is_not_there_cannot_be_read_or_removed(self, there: Place) -> None:
        gone = there / "gone.json"
        for ask in (gone.read_bytes, gone.read_text, gone.unlink):
            with pytest.raises(FileNotFoundError):
                ask()
        gone.unlink(missing_ok=True)

    def test_a_folder_is_no_file_to_read(self, there: Place) -> None:
        with pytest.raises(OSError):
            (there / "trials").read_bytes()

    def test_unlink_removes_one_file_and_leaves_its_neighbours(self, there: Place) -> None:
        at(there, "trials/cycle00-run00-a.parquet").unlink()
        assert within(there, (there / "trials").iterdir()) == ["trials/cycle01-run00-b.parquet"]
        at(there, "trials/cycle01-run00-b.parquet").unlink(missing_ok=True)
        assert list((there / "trials").iterdir()) == []
        assert {path: at(there, path).exists() for path in FILES} == {path: path[:7] != "trials/" for path in FILES}

    def test_a_file_is_overwritten_with_a_shorter_one(self, there: Place) -> None:
        (there / "oracle.parquet").write_bytes(b"short")
        assert (there / "oracle.parquet").read_bytes() == b"short"

    def test_names_are_those_of_a_path(self, there: Place) -> None:
        for path in FILES:
            place, plain = at(there, path), Path(path)
            assert (place.name, place.stem, place.suffix) == (plain.name, plain.stem, plain.suffix)
            assert place.parent / place.name == place
            assert place.with_name("x.json") == place.parent / "x.json"
        assert (there / "a").absolute() == there / "a"
        assert sorted([there / "b", there / "a"]) == [there / "a", there / "b"]
        assert len({there / "a", there / "a"}) == 1

    def test_a_file_that_takes_the_place_of_another_is_there_when_it_is_whole(self, there: Place) -> None:
        path = there / "manifest.json"
        with Replacing(path) as partial:
            assert partial.suffix == ".partial"
            partial.write_text("new")
            assert path.read_bytes() == b"{}"
        assert path.read_text() == "new" and not partial.exists()
        assert within(there, there.iterdir()) == sorted({path.partition("/")[0] for path in FILES})

    @pytest.mark.parametrize("written", [True, False])
    def test_after_an_error_the_old_file_stays_and_no_part_of_the_new_one(self, there: Place, written: bool) -> None:
        with pytest.raises(KeyboardInterrupt), Replacing(there / "manifest.json") as partial:
            if written:
                partial.write_text("half")
            raise KeyboardInterrupt
        assert (there / "manifest.json").read_bytes() == b"{}" and not partial.exists()
        assert within(there, there.iterdir()) == sorted({path.partition("/")[0] for path in FILES})

    @pytest.mark.parametrize("here", [True, False])
    def test_a_copy_is_equal_whichever_kinds_it_is_between(self, there: Place, tmp_path: Path, here: bool) -> None:
        other = tmp_path / "other"
        other.mkdir()
        local = other / "x.parquet"
        local.write_bytes(b"x")
        if here:
            copy(there / "oracle.parquet", other / "oracle.parquet")
            copy(there / "oracle.parquet", local)  # one that is there already
            assert (other / "oracle.parquet").read_bytes() == local.read_bytes() == FILES["oracle.parquet"]
            assert {path.name for path in other.iterdir()} == {"oracle.parquet", "x.parquet"}
        else:
            copy(local, there / "x.parquet")
            copy(local, there / "oracle.parquet")
            copy(there / "x.parquet", there / "y.parquet")
            for name in ("x", "oracle", "y"):
                assert (there / f"{name}.parquet").read_bytes() == b"x"


def test_a_bucket_is_its_own_parent_and_a_place_with_a_slash_in_its_name_is_deeper() -> None:
    assert Remote("s3://b").parent == Remote("s3://b")
    assert Remote("s3://b/a").parent == Remote("s3://b")
    assert str(Remote("s3://b") / "a/c") == "s3://b/a/c"


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("s3://bucket/sweeps", "s3://bucket/sweeps"),
        ("s3://bucket/sweeps/", "s3://bucket/sweeps"),
        ("gs://my.bucket-1/a b/c", "gs://my.bucket-1/a b/c"),
        ("s3://bucket", "s3://bucket"),
    ],
)
def test_a_uri_is_a_remote_place_however_it_comes(text: str, uri: str) -> None:
    assert locate(text) == locate(Remote(uri)) == Remote(uri)


@pytest.mark.parametrize("text", ["results", "/abs/results", "a:b", "results/.."])
def test_all_else_is_a_path(text: str) -> None:
    assert locate(text) == locate(Path(text)) == Path(text)


@pytest.mark.parametrize("text", ["s3:/bucket/x", "gs:/bucket"])
def test_a_uri_of_one_slash_is_no_folder_of_that_name(text: str) -> None:
    with pytest.raises(StorageError, match="has two slashes"):
        locate(text)


def test_a_home_folder_is_filled_in() -> None:
    assert locate("~/results") == Path.home() / "results"


@pytest.mark.parametrize(
    "text",
    [
        "s3://key:SECRET@bucket/sweeps",
        "s3://bucket/sweeps?secret_key=SECRET",
        "gs://SECRET@bucket/x",
        "https://user:SECRET@host/x",
        "s3://key:SECRET/sweeps@x",
    ],
)
def test_a_uri_with_credentials_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(StorageError) as raised:
        locate(text)
    assert "SECRET" not in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize("text", ["file:///tmp/x", "S3://bucket/x", "http://host/x", "://x", "memory://x"])
def test_another_scheme_is_refused_naming_those_there_are(text: str) -> None:
    with pytest.raises(StorageError, match="is not known: give a path, s3://BUCKET/PATH or gs://BUCKET/PATH"):
        locate(text)


@pytest.mark.parametrize(
    "text",
    ["s3://", "s3:///x", "s3://b//x", "s3://b/../x", "s3://b/x/..", "s3://b/./x", "s3://..", "s3://b c/x", "s3://b#/x"],
)
def test_a_uri_that_is_no_place_in_a_bucket_is_refused(text: str) -> None:
    with pytest.raises(StorageError, match="is not s3://BUCKET/PATH"):
        locate(text)


class Failing:
    """A file system that fails in the given ways, one after another, and then answers."""

    def __init__(self, *errors: Exception) -> None:
        self.errors, self.asked = list(errors), 0

    def get_file_info(self, path: str) -> Any:
        self.asked += 1
        if self.errors:
            raise self.errors.pop(0)
        return type("Info", (), {"type": type("Type", (), {"value": 2}), "size": 7})


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Failing, list[float]]]:
    """Have every bucket fail in these ways; returns the file system and the pauses that were made."""

    def have(*errors: Exception) -> tuple[Failing, list[float]]:
        files, pauses = Failing(*errors), list[float]()
        monkeypatch.setattr(storage, "_files", lambda bucket: files)
        monkeypatch.setattr(storage.time, "sleep", pauses.append)
        return files, pauses

    return have


def said(code: str, bucket: str = "bucket", key: str = "sweeps") -> OSError:
    """An error as the client library words it."""
    return OSError(
        f"When getting information for key '{key}' in bucket '{bucket}': AWS Error {code} during HeadObject operation: "
        "No response body. (Request ID: 5W1H)"
    )


PASSING = [
    said("NETWORK_CONNECTION"),
    said("SLOW_DOWN"),
    said("THROTTLING"),
    said("SERVICE_UNAVAILABLE"),
    said("INTERNAL_FAILURE"),
    said("REQUEST_TIMEOUT"),
    OSError("google::cloud::Status(UNAVAILABLE: try again)"),
    TimeoutError("timed out"),
]


class TestOutage:
    @pytest.mark.parametrize("error", PASSING, ids=str)
    def test_what_may_pass_is_waited_for_longer_and_longer(self, failing: Any, error: OSError) -> None:
        files, pauses = failing(error, error, error)
        assert Remote("s3://bucket/sweeps").exists()
        assert pauses == [1, 4, 16] and files.asked == 4

    def test_what_does_not_pass_is_raised_in_the_end(self, failing: Any) -> None:
        error = said("NETWORK_CONNECTION")
        files, pauses = failing(*[error] * 9)
        with pytest.raises(OSError, match="NETWORK_CONNECTION"):
            Remote("s3://bucket/sweeps").exists()
        assert pauses == [1, 4, 16] and files.asked == 4

    @pytest.mark.parametrize(
        "error",
        [
            said("ACCESS_DENIED"),
            said("NO_SUCH_BUCKET"),
            said("INVALID_ACCESS_KEY_ID"),
            said("ACCESS_DENIED", bucket="internal-sweeps"),
            said("ACCESS_DENIED", key="network/disconnected"),
            FileNotFoundError("[Errno 2] Path does not exist 'internal/network'"),
            ValueError("NETWORK"),
        ],
        ids=str,
    )
    def test_all_else_is_raised_at_once(self, failing: Any, error: Exception) -> None:
        files, pauses = failing(error)
        with pytest.raises(type(error)):
            Remote("s3://bucket/sweeps").exists()
        assert pauses == [] and files.asked == 1

    def test_a_bucket_that_is_not_there_says_so_when_it_is_written(self, bucket: str) -> None:
        with pytest.raises(OSError, match="NO_SUCH_BUCKET"):
            locate("s3://no-such-bucket/x").write_text("x")


def test_importing_it_loads_no_client_library() -> None:
    code = "import sys, trainables.storage; print({'pyarrow', 'torch', 'boto3'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    assert done.stdout.strip() == "set()"


class TestRead:
    """A folder may come from a stranger: what is no regular file of sane size is neither followed nor waited for."""

    @pytest.fixture
    def plain(self, tmp_path: Path) -> Path:
        path = tmp_path / "outside" / "manifest.json"
        path.parent.mkdir()
        path.write_bytes(b"content")
        return path

    def refused(self, path: Place, limit: int = SMALL) -> str:
        with pytest.raises(OSError) as raised:
            read(path, limit)
        assert str(path) in str(raised.value) and "\n" not in str(raised.value)
        return reason(raised.value)

    def test_a_file_of_at_most_the_limit_is_read_and_a_larger_one_is_refused_wherever_it_is(self, root: Place) -> None:
        there = fill(root) / "oracle.parquet"
        assert read(there, 256) == FILES["oracle.parquet"]
        assert self.refused(there, 255) == "it has 256 bytes: at most 255 are read"
        assert read(root / "empty.log", 0) == b""
        with pytest.raises(FileNotFoundError):
            read(root / "gone", SMALL)

    def test_several_names_of_one_file_are_read_alike(self, tmp_path: Path, plain: Path) -> None:
        os.link(plain, tmp_path / "other")
        assert read(tmp_path / "other", SMALL) == b"content"

    @pytest.mark.parametrize("target", ["outside/manifest.json", "outside", "nowhere", "/dev/zero"])
    def test_a_link_is_not_followed(self, tmp_path: Path, plain: Path, target: str) -> None:
        (tmp_path / "link").symlink_to(tmp_path / target)
        assert self.refused(tmp_path / "link") == "it is a link, not a file"

    def test_a_link_on_the_way_is_the_user_s_own(self, tmp_path: Path, plain: Path) -> None:
        (tmp_path / "disk").symlink_to(plain.parent)
        assert read(tmp_path / "disk" / plain.name, SMALL) == b"content"

    def test_what_is_no_file_is_neither_opened_for_good_nor_waited_for(self, tmp_path: Path, plain: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        assert self.refused(tmp_path / "pipe") == "it is a named pipe, not a file"
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(str(tmp_path / "socket"))
        assert self.refused(tmp_path / "socket") == "it is a socket, not a file"
        assert self.refused(Path("/dev/zero")) == "it is a device, not a file"
        assert self.refused(plain.parent) == "it is a folder, not a file"

    @pytest.mark.parametrize("limit", [SMALL, TABLE, STATE])
    def test_a_file_that_claims_to_be_huge_takes_no_memory(self, tmp_path: Path, limit: int) -> None:
        with (tmp_path / "huge").open("wb") as file:
            file.truncate(10**12)  # without a byte on the disk
        assert self.refused(tmp_path / "huge", limit) == f"it has 1,000,000,000,000 bytes: at most {limit:,} are read"
