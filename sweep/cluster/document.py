"""What a job is asked to do, as a document. In: resolved settings. Out: JSON.

The document says all that the job needs. Presets, flags, files and relative paths were resolved before it was written,
so the job parses no words and reads no other file. Next: `sweep.cluster.parcel` ships it, `sweep.cluster.job` runs it.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from sweep.config.settings import EXECUTION, Settings
from sweep.experiments.registry import EXPERIMENTS


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class Document(_Part):
    """One sweep: an experiment, and all its settings."""

    experiment: str
    """Name of the experiment."""
    reference: Annotated[str, Field(pattern=r"^[\w.]+:\w+$")]
    """Where the experiment is defined, as module:OBJECT."""
    settings: dict[str, Any]
    """Every setting, as JSON."""
    model_files: dict[str, str]
    """By file, the digest of the code of a user's own network; empty for other networks."""

    @classmethod
    def of(cls, experiment: str, settings: Settings) -> Self:
        """Return the document of an experiment of the registry."""
        return cls(
            experiment=experiment,
            reference=EXPERIMENTS[experiment].experiment,
            settings=settings.model_dump(mode="json"),
            model_files=settings.model_files,
        )

    @property
    def modules(self) -> list[str]:
        """The user's own code that the job needs, each as module:OBJECT: experiment, network, data set."""
        own = [self.reference] if not self.reference.startswith("sweep.") else []
        return own + [name for name in (self.settings["model"], self.settings["dataset"]) if ":" in name]


class Request(_Part):
    """What one job does: the sweeps of its documents, one after another."""

    version: Literal[1] = 1
    command: tuple[str, ...]
    """The command as it was typed, for the manifest; the job does not read it."""
    documents: Annotated[tuple[Document, ...], Field(min_length=1)]

    @classmethod
    def of(cls, command: Sequence[str], sweeps: Sequence[tuple[str, Settings]]) -> Self:
        """Return the request for some sweeps, each an experiment's name and its settings."""
        words = tuple(word.encode(errors="backslashreplace").decode() for word in command)  # one may be no text
        return cls(command=words, documents=tuple(Document.of(*sweep) for sweep in sweeps))

    @property
    def digest(self) -> str:
        """Eight hexadecimal digits of what is asked for; how it is carried out (`EXECUTION`) does not count."""
        wanted = [
            [each.experiment, {name: v for name, v in each.settings.items() if name not in EXECUTION}, each.model_files]
            for each in self.documents
        ]
        return hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()[:8]

    @property
    def modules(self) -> list[str]:
        """The user's own code that the job needs, each as module:OBJECT."""
        return list(dict.fromkeys(module for document in self.documents for module in document.modules))
