"""What all tests share: the command line as a user runs it, a small sweep, small data, buckets."""

import hashlib
import io
import itertools
import logging
import os
import pickle
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

SMALL = {"max-lr": "0.01:1:x4", "runs": "2", "cycles": "2", "steps": "68", "lanes": "2", "engine": "inline"}
"""Three cycles of 4 max_lr and 2 runs in packs of 2: 24 lanes, 12 packs, two epochs each, in one process."""

Start = Callable[..., subprocess.Popen[str]]


Small = Callable[..., list[str]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files that start processes first: they take longest, and of several workers none should end with one."""
    slow = {item.path for item in items if "start" in getattr(item, "fixturenames", ())}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def small() -> Small:
    """Return the arguments of a small oracle; keyword arguments replace its flags."""

    def arguments(**flags: object) -> list[str]:
        settings = SMALL | {name.replace("_", "-"): str(value) for name, value in flags.items()}
        return ["oracle", *(part for name, value in settings.items() for part in (f"--{name}", value))]

    return arguments


@pytest.fixture(scope="session")
def start() -> Iterator[Start]:
    """Start `scyc-sweep` with the given arguments in a process group of its own.

    As in the command's script, Python does not search the working folder (-P).

    What a failed test leaves running is ended after the last test, so that one failure stays one.
    """
    started: list[subprocess.Popen[str]] = []

    def popen(
        *arguments: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None
    ) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", "from sweep.cli.main import main; main()", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=cwd,
            env={**os.environ, "OMP_NUM_THREADS": "1", **(env or {})},
            start_new_session=True,
            # A test run in the background ignores Ctrl-C, and its children would inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        started.append(process)
        return process

    yield popen
    for process in started:
        if process.poll() is None:
            process.kill()
            process.communicate()


@pytest.fixture(scope="session")
def run(start: Start) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `scyc-sweep` with the given arguments to its end."""

    def complete(*arguments: str | Path, timeout: float = 300, **options: object) -> subprocess.CompletedProcess[str]:
        process = start(*arguments, **options)
        out, err = process.communicate(timeout=timeout)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    return complete


@pytest.fixture(scope="session")
def made() -> Callable[..., str]:
    """Run `scyc-sweep` in this process for a fixture of a module or the session, to a good end; returns its output."""
    from sweep.cli.main import main

    def complete(*arguments: str | Path) -> str:
        out = io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), pytest.raises(SystemExit) as ended:
            patch.setattr(sys, "argv", ["scyc-sweep", *map(str, arguments)])
            main()
        assert not ended.value.code, ended.value.code
        return out.getvalue()

    return complete


@pytest.fixture
def here(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `scyc-sweep` with the given arguments in this process: the same, without three seconds of imports."""
    from sweep.cli.main import main  # the tests of `trainables` run where what `sweep` needs is not installed

    def complete(
        *arguments: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        if cwd:
            monkeypatch.chdir(cwd)
        for name, value in (env or {}).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["scyc-sweep", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return subprocess.CompletedProcess(sys.argv, int(ended.value.code or 0), out, err)

    return complete


@pytest.fixture
def small_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Write a data set in its published form, with a few pictures, which then count as the published ones.

    Returns the data folder, which is the same for all.
    """
    import torchvision.datasets  # seconds that other tests need not wait for

    from trainables.data import published, tiny_imagenet
    from trainables.data.published import DATASETS

    folder = tmp_path / "small"

    def write(name: str) -> Path:
        source = DATASETS[name]
        if name == "tiny_imagenet":
            for what, value in {"CLASSES": 3, "TRAIN_PER_CLASS": 4, "VAL": 5}.items():
                monkeypatch.setattr(tiny_imagenet, what, value)
            _write_tiny_imagenet(folder / "tiny-imagenet-200")
            monkeypatch.setitem(DATASETS, name, replace(source, size=17, test_size=5, classes=3))
            return folder
        files = {path: _fashion_mnist(path) if name == "fashion_mnist" else _cifar(path) for path in source.files}
        for path, content in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
        digests = {path: hashlib.md5(content).hexdigest() for path, content in files.items()}
        if name != "fashion_mnist":  # torchvision checks digests too
            reader = getattr(torchvision.datasets, name.upper())
            by_file = {Path(path).name: digest for path, digest in digests.items()}
            for part in ("train_list", "test_list"):
                monkeypatch.setattr(reader, part, [[file, by_file[file]] for file, _ in getattr(reader, part)])
            monkeypatch.setitem(reader.meta, "md5", by_file[reader.meta["filename"]])
        images, labels = source.read(folder, False)
        small = replace(
            source, size=len(labels), test_size=2, files=digests, fingerprint=published.digest(images, labels)
        )
        monkeypatch.setitem(DATASETS, name, small)
        return folder

    return write


SECRET = "the-secret-key-of-the-bucket"
_numbers = itertools.count()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """A real S3 server on loopback, in this process; its address."""
    server_of = pytest.importorskip("moto.server")
    pytest.importorskip("pyarrow.fs")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line a request
    server = server_of.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URI of a new bucket, which the environment has credentials for."""
    from pyarrow.fs import S3FileSystem

    settings = {
        "AWS_ACCESS_KEY_ID": "the-id-of-the-key",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": s3_server,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    name = f"bucket-{next(_numbers)}"
    S3FileSystem(endpoint_override=s3_server, allow_bucket_creation=True).create_dir(name)
    return f"s3://{name}"


@pytest.fixture
def objects(bucket: str) -> Callable[[], dict[str, bytes]]:
    """Return all that lies in the bucket, by key."""
    from pyarrow.fs import FileSelector, FileSystem

    def listed() -> dict[str, bytes]:
        files, root = FileSystem.from_uri(bucket)
        found = files.get_file_info(FileSelector(root, recursive=True))
        return {
            info.path.removeprefix(f"{root}/"): files.open_input_stream(info.path).read()
            for info in found
            if info.is_file
        }

    return listed


def _fashion_mnist(path: str) -> bytes:
    """Six training or two test pictures, or their labels; each holds 0 to 9 again and again."""
    shape = (6 if "train-" in path else 2, 28, 28)[: 3 if "images" in path else 1]
    header = struct.pack(">HBB", 0, 8, len(shape)) + struct.pack(f">{len(shape)}I", *shape)
    return header + (np.arange(np.prod(shape)) % 10).astype(np.uint8).tobytes()


def _cifar(path: str) -> bytes:
    """Two pictures, of the classes 0 and 1, those for the test 7 and 8; or the classes' names."""
    if "meta" in path:
        return pickle.dumps({"label_names": list("abcdefghij"), "fine_label_names": list("abcdefghij")})
    pixels = (np.arange(2 * 3072) % 251).astype(np.uint8).reshape(2, 3072)
    return pickle.dumps(
        {"data": pixels, "fine_labels" if "100" in path else "labels": [7, 8] if "test" in path else [0, 1]}
    )


def _write_tiny_imagenet(root: Path) -> None:
    """Three classes of four training images, and five of `val`; each image is one grey, 10 x its number."""
    from PIL import Image

    def save(path: Path, number: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 64), (10 * number,) * 3).save(path, quality=95)

    for index, wnid in enumerate(["n01", "n02", "n03"]):
        for number in range(4):
            save(root / "train" / wnid / "images" / f"{wnid}_{number}.JPEG", 4 * index + number)
    rows = []
    for number, wnid in enumerate(["n02", "n01", "n03", "n02", "n01"]):
        save(root / "val" / "images" / f"val_{number}.JPEG", 12 + number)
        rows.append(f"val_{number}.JPEG\t{wnid}\t0\t0\t63\t63\n")
    (root / "val" / "val_annotations.txt").write_text("".join(rows))
    (root / "wnids.txt").write_text("n03\nn01\nn02\n")
