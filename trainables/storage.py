"""Where results lie: a folder, of this machine or shared by several, or a location in a bucket (s3://, gs://).

In: a path or URI from the user. Out: a `Location`, which is read and written in the same way wherever it is, and
`Replacing`, which writes files that are complete or absent. Credentials come from where the clouds' tools have them.
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
"""Seconds until a bucket is asked again, besides what its client library tries."""

SMALL, TABLE, STATE = 16 * 2**20, 2**30, 16 * 2**30
"""Most bytes that are read: of a manifest or other text file, of a table, of a state. See `read`."""


class StorageError(ValueError):
    """A path or URI that is not a location."""


@dataclass(frozen=True, order=True)
class Remote:
    """A location in a bucket, with the methods of pathlib.Path that results need. A folder exists if it has content.

    Methods raise OSError and FileNotFoundError as those of Path.
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
        """The location that this one is in; of a bucket the bucket itself, as for `/`."""
        parent = self.uri.rpartition("/")[0]
        return self if parent.endswith("/") else Remote(parent)

    def with_name(self, name: str) -> "Remote":
        """Return the location of this name beside this one."""
        return self.parent / name

    def absolute(self) -> "Remote":
        """Return itself: a URI does not depend on the working folder."""
        return self

    def mkdir(self, parents: bool = True, exist_ok: bool = True) -> None:
        """Do nothing: a bucket needs no folders."""

    def exists(self) -> bool:
        """Return whether it is a file, or a folder with content."""
        return bool(self.ask(lambda files, path: files.get_file_info(path)).type.value)

    def iterdir(self) -> Iterator["Remote"]:
        """Iterate over its content, one level deep."""
        from pyarrow.fs import FileSelector

        found = self.ask(lambda files, path: files.get_file_info(FileSelector(path, allow_not_found=True)))
        return (self / info.base_name for info in found)

    def glob(self, pattern: str) -> Iterator["Remote"]:
        """Iterate over what matches a pattern such as `*.parquet` or `*/manifest.json`, level by level."""
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
        """Write the file. It appears when it is complete."""

        def write(files: Any, path: str) -> None:
            with files.open_output_stream(path) as stream:
                stream.write(content)

        self.ask(write)

    def write_text(self, content: str, encoding: str = "utf-8") -> None:
        """Write a text file, as `write_bytes`."""
        self.write_bytes(content.encode(encoding))

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove the file."""
        try:
            self.ask(lambda files, path: files.delete_file(path))
        except FileNotFoundError:
            if not missing_ok:
                raise

    def ask(self, what: Callable[[Any, str], T]) -> T:
        """Ask the bucket; ask again after a pause if it did not answer, so that a sweep survives a short outage."""
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


def locate(name: "str | Path | Remote") -> Location:
    """Return the location of a path or URI. Raises StorageError for what is neither.

    A URI with credentials or options is refused, since manifests and logs would show it.
    """
    text = str(name)
    scheme, found, rest = text.partition("://")
    if text.startswith(tuple(f"{known}:/" for known in SCHEMES)) and not found:
        raise StorageError(f"{text} is not a path: {text.replace(':/', '://', 1)} has two slashes")
    if not found:
        return name if isinstance(name, Remote) else expanded(Path(name))
    if scheme not in SCHEMES:
        raise StorageError(f"{scheme}:// is not known: give a path, s3://BUCKET/PATH or gs://BUCKET/PATH")
    if "@" in rest or "?" in rest:
        raise StorageError(
            f"{scheme}:// without credentials and options: they come from the environment (AWS_PROFILE, "
            "AWS_ENDPOINT_URL, GOOGLE_APPLICATION_CREDENTIALS, ...), since results state their location"
        )
    parts = rest.rstrip("/").split("/")
    if not re.fullmatch(r"[\w.-]+", parts[0]) or any(part in ("", ".", "..") for part in parts):
        raise StorageError(f"{text} is not {scheme}://BUCKET/PATH")
    return Remote(f"{scheme}://{'/'.join(parts)}")


def expanded(path: Path) -> Path:
    """Return a path with ~ or ~USER replaced by that user's home. Raises StorageError for an unknown user."""
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise StorageError(f"there is no user {path.parts[0]}: write ./{path} for a path that begins with ~") from error


def read(path: Location, limit: int) -> bytes:
    """Return the content of a regular file of at most `limit` bytes: `SMALL`, `TABLE` or `STATE`.

    Everything in a results folder is read through this function, since a folder may come from a stranger. Links are not
    followed, and pipes are not waited for. Raises OSError, with the file and what it is, for a link, folder, pipe,
    socket or device, and for a larger file; FileNotFoundError if there is nothing.
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
    """Return what something is by its mode, as `lstat` gives it: "a file", "a folder", "a link", ..."""
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
    """Return whether a path is a regular file; a link to one is not."""
    return _is(stat.S_ISREG, path)


def is_folder(path: Path) -> bool:
    """Return whether a path is a folder; a link to one is not."""
    return _is(stat.S_ISDIR, path)


def _is(of_kind: Callable[[int], bool], path: Path) -> bool:
    with suppress(FileNotFoundError, NotADirectoryError):
        return of_kind(path.lstat().st_mode)
    return False


def reason(error: OSError) -> str:
    """Return the message of a file system's error without the file's name, which our messages state anyway."""
    return error.strerror or " ".join(str(error).split())


_READING = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))


def _no_file(path: Location, mode: int) -> OSError:
    return OSError(errno.EINVAL, f"it is {what_is(mode)}, not a file", str(path))


def _check_size(path: Location, size: int, limit: int) -> None:
    if size > limit:
        raise OSError(errno.EFBIG, f"it has {size:,} bytes: at most {limit:,} are read", str(path))


class Replacing:
    """Context: the path of a temporary file, which replaces `path` when the block ends without an error.

    So `path` is never half written. A link at `path` is replaced, not followed, and other names of the same file keep
    the old content.
    """

    def __init__(self, path: Location) -> None:
        self.path = path
        name = f".{path.name}-{uuid.uuid4().hex}.partial"
        self.partial = path.with_name(name) if isinstance(path, Path) else Path(tempfile.gettempdir()) / name

    def __enter__(self) -> Path:
        os.close(
            os.open(self.partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        )  # never into a file that is there already
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
    """Copy a file to another location; where possible as a second name of the same file. Raises OSError as `read`."""
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
    """Return whether an error of a bucket may pass: it is of the network or the service, not of the request."""
    words = ("NETWORK", "TIMEOUT", "TIMED OUT", "SLOW_DOWN", "THROTTL", "UNAVAILABLE", "INTERNAL", "CONNECT")
    said = re.sub("'[^']*'", "", str(error)).upper()  # without the names of bucket and file, which may be such a word
    return not isinstance(error, FileNotFoundError) and any(word in said for word in words)
