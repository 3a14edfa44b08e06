"""The job's side: it carries out the request that travelled with it. In: request.json. Out: results folders."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sweep.cluster.document import Document, Request
from sweep.config.messages import one_line
from sweep.config.settings import Settings
from sweep.errors import SettingsError
from sweep.experiments.base import Experiment
from sweep.experiments.registry import EXPERIMENTS, Entry
from trainables.storage import reason


def read_request(path: Path) -> Request:
    """Return the request in a file. Raises SettingsError, one line, where it is none or is damaged."""
    try:
        return Request.model_validate(json.loads(path.read_bytes()), strict=False)  # a list is a tuple
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {reason(error)}") from error
    except ValidationError as error:
        raise SettingsError(f"{path} is no request of this version: {_said(error)}") from error
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"{path} is no request of this version: {error}") from error


def sweeps_of(request: Request) -> list[tuple[Experiment, Settings]]:
    """Return what a request asks for, in order: experiments and their settings.

    Raises SettingsError where one is unknown, or its settings or the code of its network are not what was submitted.
    """
    return [_sweep_of(document) for document in request.documents]


def _sweep_of(document: Document) -> tuple[Experiment, Settings]:
    experiment = _experiment(document)
    missing = experiment.settings.model_fields.keys() - document.settings.keys()
    if missing:
        raise SettingsError(f"the document of {document.experiment} lacks settings: {', '.join(sorted(missing))}")
    try:
        settings = experiment.settings.model_validate(document.settings)
    except ValidationError as error:
        raise SettingsError(f"the document of {document.experiment}: {one_line(error)}") from error
    if settings.model_files != document.model_files:
        raise SettingsError(f"--model {settings.model}: its code is here not what it was where the job was submitted")
    return experiment, settings


def _experiment(document: Document) -> Experiment:
    """Return the experiment of a document, and have the registry know it if it is a third party's."""
    module, _, name = document.reference.partition(":")
    try:
        found: Any = getattr(import_module(module), name)
    except Exception as error:  # whatever a third party's module raises
        said = " ".join(str(error).split())
        raise SettingsError(f"{document.reference} cannot be imported: {type(error).__name__}: {said}") from error
    if not isinstance(found, Experiment) or found.name != document.experiment:
        raise SettingsError(f"{document.reference} is not the experiment {document.experiment!r}")
    kind = found.settings
    EXPERIMENTS.setdefault(found.name, Entry(f"{kind.__module__}:{kind.__qualname__}", document.reference))
    return found


def _said(error: ValidationError) -> str:
    """Return the first thing that is wrong, in one line."""
    first = error.errors(include_url=False, include_input=False)[0]
    return " ".join(f"{'.'.join(map(str, first['loc']))}: {first['msg']}".removeprefix(": ").split())[:200]
