"""Names for S-Cyc's parameters: the paper's, SILO's, a tuned winner's file, or four numbers.

In: the text of `--scyc`. Out: a `SCyc` and a name for it. A winner's file, `scyc.toml`, is written and read here alone.
"""

import tomllib
from collections.abc import Mapping, Sequence

from search_spaces.paper import ORACLE_TABLES, SILO, table_of
from search_spaces.scyc import SCyc
from sweep.config.messages import printable
from sweep.errors import SettingsError
from trainables.storage import SMALL, Location, Replacing, locate, reason
from trainables.storage import read as read_file

FORMS = "paper, silo, a scyc.toml of `tune`, or EPS,DELTA,Q,BETA"


OWN = "S-Cyc"
"""The name of the parameters that an oracle was run with; others go by their numbers, their file, or their source."""


def parse(texts: Sequence[str], model: str, dataset: str, own: str | None = None) -> dict[str, SCyc]:
    """Return S-Cyc's parameters by name, for each of `texts` but `none`; `own` are those that the oracle was run with.

    Raises SettingsError for what is none of `FORMS`, or not known for this network and data set.
    """
    found: dict[str, SCyc] = {}
    for text in texts:
        if text.strip() == "none":
            continue
        name, scyc = _parse(text.strip(), model, dataset)
        name = printable(text.strip()) if name in found else name
        found[OWN if "," in name and str(scyc) == own else name] = scyc
    return found


def _parse(text: str, model: str, dataset: str) -> tuple[str, SCyc]:
    if text == "paper":
        table = table_of(model, dataset)
        if table is None:
            known = ", ".join(f"{entry.model} on {entry.dataset}" for entry in ORACLE_TABLES.values())
            raise SettingsError(f"--scyc paper: the paper prints S-Cyc for {known}, not for {model} on {dataset}")
        return text, table.scyc
    if text == "silo":
        if (model, dataset) not in SILO:
            known = ", ".join(f"{model} on {dataset}" for model, dataset in SILO)
            raise SettingsError(f"--scyc silo: SILO has parameters for {known}, not for {model} on {dataset}")
        return text, SILO[model, dataset]
    if text.endswith(".toml"):
        path = locate(text)
        return printable(f"{path.parent.name}/{path.name}"), read(path)
    try:
        return text, SCyc.parse(text)
    except ValueError as error:
        raise SettingsError(f"--scyc takes {FORMS}: {error}") from error


def read(path: Location) -> SCyc:
    """Return the parameters of a `scyc.toml`. Raises SettingsError if it is unreadable or of another schedule."""
    try:
        content = tomllib.loads(read_file(path, SMALL).decode())
        if content.get("schedule") != "scyc":
            raise ValueError(f'schedule must be "scyc", but got {content.get("schedule")!r}')
        return SCyc(*(content[name] for name in ("epsilon", "delta", "q", "beta")))
    except KeyError as error:
        raise SettingsError(f"{path} has no {error.args[0]}") from error
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {reason(error)}") from error
    except ValueError as error:
        raise SettingsError(f"{path} cannot be read: {error}") from error
    except RecursionError as error:
        raise SettingsError(f"{path} cannot be read: it is nested too deeply") from error


def write(schedule: str, parameters: Mapping[str, float], origin: str, folder: Location) -> Location:
    """Write a winner as `scyc.toml`, or as the file of another schedule's name; return where."""
    path = folder / f"{schedule}.toml"
    lines = [f"# {origin}", f'schedule = "{schedule}"', *(f"{name} = {value!r}" for name, value in parameters.items())]
    with Replacing(path) as partial:
        partial.write_text("\n".join(lines) + "\n")
    return path
