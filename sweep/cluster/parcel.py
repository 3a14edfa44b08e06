"""What travels with a job: this project, the user's own modules and the request. In: a request. Out: a folder.

No data, no results, no `.git`. Next: `sweep.cluster.jobs_api` has Ray bring it to the cluster as the working folder.
"""

import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import search_spaces
import sweep
import trainables
from sweep.cluster.document import Request
from sweep.errors import SettingsError, SweepError
from trainables import users_own

REQUEST = "request.json"
ENTRYPOINT = f"python -m sweep job {REQUEST}"
"""The command of every job, in the folder that travelled."""
CACHES = ("__pycache__", "*.pyc")
LEFT_OUT = (*CACHES, ".git", ".venv", "results", "data", "*.parquet", "*.safetensors")
"""What stays here of a user's package, unless its code lies there."""
PARCEL_BYTES = 50_000_000


@contextmanager
def parcel(request: Request) -> Iterator[Path]:
    """Yield a folder with all that the job needs besides data. Raises SweepError if that is too much to send."""
    with tempfile.TemporaryDirectory(prefix="scyc-sweep-parcel-") as folder:
        for package in (search_spaces, sweep, trainables):
            _copy(Path(str(package.__file__)).parent, Path(folder) / package.__name__, CACHES)
        for name, file in _own_files(request.modules).items():
            within = name.split("/")
            top = Path(folder) / within[0]
            if not top.exists():
                _copy(file.parents[len(within) - 2] if len(within) > 1 else file, top, LEFT_OUT)
            if not (Path(folder) / name).exists():  # in a folder that is left out elsewhere
                (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, Path(folder) / name)
        content = json.dumps(request.model_dump(mode="json"), indent=2)  # in ASCII: a name may be no UTF-8
        (Path(folder) / REQUEST).write_text(f"{content}\n")
        size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
        if size > PARCEL_BYTES:
            raise SweepError(
                f"{', '.join(request.modules)}: the package holds {size / 1e6:.0f} MB, at most "
                f"{PARCEL_BYTES / 1e6:.0f} are sent; keep data out of it"
            )
        yield Path(folder)


def _own_files(modules: Sequence[str]) -> dict[str, Path]:
    """Return the files that the user's own code is made of, by name. Raises SettingsError where one is not there."""
    try:
        return {name: file for module in modules for name, file in users_own.sources(module).items()}
    except ValueError as error:
        raise SettingsError(str(error)) from error


def _copy(source: Path, target: Path, left_out: Sequence[str]) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns(*left_out), dirs_exist_ok=True)
    else:
        shutil.copyfile(source, target)
