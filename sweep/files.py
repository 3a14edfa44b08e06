"""Files that are whole or not there. In: a path. Out: a partial file beside it, which takes its name when complete."""

import os
import uuid
from pathlib import Path


class Replacing:
    """Context: a partial file's path, moved to `path` and flushed to disk when the block ends without an error."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.partial = path.with_name(f".{path.name}-{uuid.uuid4().hex}.partial")

    def __enter__(self) -> Path:
        return self.partial

    def __exit__(self, kind: object, *rest: object) -> None:
        try:
            if kind is None:
                with self.partial.open("rb+") as file:
                    os.fsync(file.fileno())
                self.partial.replace(self.path)
        finally:
            self.partial.unlink(missing_ok=True)
