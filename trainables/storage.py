"""Where results lie: a folder of this machine or one that hosts share, or a place in a bucket (s3://, gs://).

In: a path or URI as a user gives it. Out: a `Location`, which is read and written alike wherever it is, and
`Replacing`: files are whole or not there. Credentials come from where the clouds' own tools have them, never from here.
"""

import errno
import fnmatch
import functools
import os
import re
import stat
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

SCHEMES = ("s3", "gs")
PAUSES = (1.0, 4.0, 16.0)
"""Seconds before a bucket is asked again, on top of what its client library tries."""

SMALL, TABLE, STATE = 16 * 2**20, 2**30, 16 * 2**30
"""Bytes that are read at most: of a manifest or another file of text, of a table, of a network. See `read`."""


class StorageError(ValueError):
    """A place that cannot be one."""


@dataclass(frozen=True, order=True)
class Remote:
    """A place in a bucket, with as much of pathlib.Path as results need; folders are there when something is in them.

    Raises OSError, or FileNotFoundError, where Path would.
    """

    uri: str
    """SCHEME://BUCKET/PATH without a slash at its end."""

    def __str__(self) -> str:
        return self.uri

    def __truediv__(self, name: str) -> "Remote":
        return Remote(f"{self.uri}/{name}")

    @property
    def name(self) -> str:
        """The last part."""
        return self.uri.rpartition("/")[2]

    @property
    def stem(self) -> str:
        """The last part without its ending."""
        return Path(self.name).stem

    @property
    def suffix(self) -> str:
        """The ending, with its dot."""
        return Path(self.name).suffix

    @property
    def parent(self) -> "Remote":
        """The place that this one is in; a bucket is its own, as `/` is."""
        parent = self.uri.rpartition("/")[0]
        return self if parent.endswith("/") else Remote(parent)

    def with_name(self, name: str) -> "Remote":
        """Return the place beside this one that has this name."""
        return self.parent / name

    def absolute(self) -> "Remote":
        """Return itself: a URI depends on no working folder."""
        return self

    def mkdir(self, parents: bool = True, exist_ok: bool = True) -> None:
        """Nothing: buckets have no folders to make."""

    def exists(self) -> bool:
        """Whether a file is there, or anything within it."""
        return bool(self.ask(lambda files, path: files.get_file_info(path)).type.value)

    def iterdir(self) -> Iterator["Remote"]:
        """Iterate over what is in it, one level deep."""
        from pyarrow.fs import FileSelector

        found = self.ask(lambda files, path: files.get_file_info(FileSelector(path, allow_not_found=True)))
        return (self / info.base_name for info in found)

    def glob(self, pattern: str) -> Iterator["Remote"]:
        """Iterate over what matches, level by level: `*.parquet`, `*/manifest.json`."""
        first, _, rest = pattern.partition("/")
        found = [path for path in self.iterdir() if fnmatch.fnmatchcase(path.name, first)]
        return (match for path in found for match in path.glob(rest)) if rest else iter(found)

    def read_bytes(self) -> bytes:
        """Return the file's content."""
        return read(self, STATE)

    def read_text(self, encoding: str = "utf-8") -> str:
        """Return the file's content as text."""
        return self.read_bytes().decode(encoding)

    def write_bytes(self, content: bytes) -> None:
        """Write the file: it is there when all of it is."""

        def write(files: Any, path: str) -> None:
            with files.open_output_stream(path) as stream:
                stream.write(content)

        self.ask(write)

    def write_text(self, content: str, encoding: str = "utf-8") -> None:
        """Write a text file, likewise."""
        self.write_bytes(content.encode(encoding))

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove the file."""
        try:
            self.ask(lambda files, path: files.delete_file(path))
        except FileNotFoundError:
            if not missing_ok:
                raise

    def ask(self, what: Callable[[Any, str], T]) -> T:
        """Ask the bucket, again after a while where it did not answer: a night's sweep outlives a minute's outage."""
        for pause in (*PAUSES, None):
            try:
                files = _files(self.uri.partition("://")[0] + "://" + self.uri.partition("://")[2].partition("/")[0])
                return what(files, self.uri.partition("://")[2])
            except OSError as error:
                if pause is None or not _passing(error):
                    raise
                time.sleep(pause)
        raise AssertionError("unreachable")


Location = Path | Remote


def locate(place: "str | Path | Remote") -> Location:
    """Return the place that a user names by a path or a URI. Raises StorageError for what is none.

    A URI with credentials or options in it is refused: it would stand in manifests and logs.
    """
    text = str(place)
    scheme, found, rest = text.partition("://")
    if text.startswith(tuple(f"{known}:/" for known in SCHEMES)) and not found:
        raise StorageError(f"{text} is no path: {text.replace(':/', '://', 1)} has two slashes")
    if not found:
        return place if isinstance(place, Remote) else expanded(Path(place))
    if scheme not in SCHEMES:
        raise StorageError(f"{scheme}:// is not known: give a path, s3://BUCKET/PATH or gs://BUCKET/PATH")
    if "@" in rest or "?" in rest:
        raise StorageError(
            f"{scheme}:// without credentials and options: they come from the environment (AWS_PROFILE, "
            "AWS_ENDPOINT_URL, GOOGLE_APPLICATION_CREDENTIALS, ...), since results say where they lie"
        )
    parts = rest.rstrip("/").split("/")
    if not re.fullmatch(r"[\w.-]+", parts[0]) or any(part in ("", ".", "..") for part in parts):
        raise StorageError(f"{text} is not {scheme}://BUCKET/PATH")
    return Remote(f"{scheme}://{'/'.join(parts)}")


def expanded(path: Path) -> Path:
    """Return a path with ~ or ~USER replaced by that user's home. Raises StorageError for a user who is unknown."""
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise StorageError(f"there is no user {path.parts[0]}: write ./{path} for a path that begins so") from error


def read(path: Location, limit: int) -> bytes:
    """Return the content of a regular file of at most `limit` bytes: `SMALL`, `TABLE` or `STATE`.

    All that is read of a results folder is read here: a folder may come from a stranger. Raises OSError, naming the
    file and what it is, for a link, which is not followed, for a folder, a pipe, a socket or a device, which are not
    waited for, and for a larger file; FileNotFoundError where nothing is.
    """
    if isinstance(path, Remote):

        def fetch(files: Any, there: str) -> bytes:
            with files.open_input_file(there) as file:
                _check_size(path, file.size(), limit)
                return bytes(file.read())

        return path.ask(fetch)
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, _READING)) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise _no_file(path, found.st_mode)
            _check_size(path, found.st_size, limit)
            return file.read(found.st_size)
    except OSError as error:
        if error.errno not in (errno.EISDIR, errno.ELOOP, errno.EMLINK, errno.ENXIO):  # folders, links, sockets
            raise
        raise _no_file(path, os.lstat(path).st_mode) from error
    except MemoryError as error:
        raise OSError(errno.ENOMEM, "it is larger than the memory that is free", str(path)) from error


def what_is(mode: int) -> str:
    """Return what a file's mode, as `lstat` has it, says that it is: a file, a folder, a link, ..."""
    for of_kind, name in (
        (stat.S_ISREG, "a file"),
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISLNK, "a link"),
        (stat.S_ISFIFO, "a named pipe"),
        (stat.S_ISSOCK, "a socket"),
    ):
        if of_kind(mode):
            return name
    return "a device"


def is_file(path: Path) -> bool:
    """Return whether a regular file is there; a link to one is none."""
    return _is(stat.S_ISREG, path)


def is_folder(path: Path) -> bool:
    """Return whether a folder is there; a link to one is none."""
    return _is(stat.S_ISDIR, path)


def _is(of_kind: Callable[[int], bool], path: Path) -> bool:
    with suppress(FileNotFoundError, NotADirectoryError):
        return of_kind(path.lstat().st_mode)
    return False


def reason(error: OSError) -> str:
    """Return what an error of a file system says, without the file's name, which the message about it has."""
    return error.strerror or " ".join(str(error).split())


_READING = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))


def _no_file(path: Location, mode: int) -> OSError:
    return OSError(errno.EINVAL, f"it is {what_is(mode)}, not a file", str(path))


def _check_size(path: Location, size: int, limit: int) -> None:
    if size > limit:
        raise OSError(errno.EFBIG, f"it has {size:,} bytes: at most {limit:,} are read", str(path))


class Replacing:
    """Context: a local file's path, whose content takes the place of `path` when the block ends without an error.

    Nothing is written in place: a link that lies at `path` is replaced and not followed, and other names that its file
    has keep the old content.
    """

    def __init__(self, path: Location) -> None:
        self.path = path
        name = f".{path.name}-{uuid.uuid4().hex}.partial"
        self.partial = path.with_name(name) if isinstance(path, Path) else Path(tempfile.gettempdir()) / name

    def __enter__(self) -> Path:
        os.close(os.open(self.partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))  # whatever lies there is not ours
        return self.partial

    def __exit__(self, kind: object, *rest: object) -> None:
        try:
            if kind is not None:
                return
            if isinstance(self.path, Remote):
                self.path.write_bytes(read(self.partial, STATE))
            else:
                with self.partial.open("rb+") as file:
                    os.fsync(file.fileno())
                self.partial.replace(self.path)
        finally:
            self.partial.unlink(missing_ok=True)


def copy(source: Location, target: Location) -> None:
    """Have a file of one place be in another too: under a second name where that can be. Raises OSError as `read`."""
    if isinstance(source, Path) and isinstance(target, Path) and is_file(source):
        with suppress(OSError):  # another disk, or there already
            os.link(source, target, follow_symlinks=False)
            return
    with Replacing(target) as partial:
        partial.write_bytes(read(source, STATE))


@functools.cache
def _files(bucket: str) -> Any:
    from pyarrow.fs import FileSystem  # local results need none

    try:
        return FileSystem.from_uri(bucket)[0]
    except ValueError as error:  # pyarrow was built without it
        raise StorageError(f"{bucket}: {error}") from error


def _passing(error: OSError) -> bool:
    """Whether an error of a bucket may pass: the network or the service, not what was asked of it."""
    words = ("NETWORK", "TIMEOUT", "TIMED OUT", "SLOW_DOWN", "THROTTL", "UNAVAILABLE", "INTERNAL", "CONNECT")
    said = re.sub("'[^']*'", "", str(error)).upper()  # without the names of bucket and file, which may be such a word
    return not isinstance(error, FileNotFoundError) and any(word in said for word in words)
