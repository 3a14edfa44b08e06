"""A state on disk: weights, buffers and masks of one network, in a safetensors file named after its content.

In: tensors. Out: the digest by which rows and later cycles refer to the state. Nothing is unpickled. Next:
`trainables.pack` starts the lanes of the next cycle from it.
"""

import hashlib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from trainables.storage import STATE, Location, Replacing, is_file, is_folder, read, reason

MASK_PREFIX = "mask/"
FILE = re.compile(r"\.?([0-9a-f]{64})\.safetensors(-[0-9a-f]{32}\.partial)?")
"""Name of a state's file, and of what a killed process leaves of one."""


class StateError(ValueError):
    """A state's file is missing, damaged, or of another network."""


@dataclass(frozen=True)
class State:
    """A network between two cycles."""

    tensors: dict[str, Tensor]
    """Parameters and buffers, by their names in the network."""
    masks: dict[str, Tensor]
    """Bool tensors by the names of the prunable weights; True where a weight survives."""


def path_of(folder: Location, digest: str) -> Location:
    """Return the location of the state with this digest."""
    return folder / f"{digest}.safetensors"


def save_state(folder: Location, state: State) -> str:
    """Write a state, unless it is there already; return its digest, the sha256 of the file.

    The file appears under its name only when it is complete.
    """
    masks = {MASK_PREFIX + name: mask for name, mask in state.masks.items()}
    tensors = {name: tensor.detach().contiguous().cpu() for name, tensor in (state.tensors | masks).items()}
    content = save(tensors)
    digest = hashlib.sha256(content).hexdigest()
    path = path_of(folder, digest)
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with Replacing(path) as partial:
            partial.write_bytes(content)
    return digest


def load_state(folder: Location, digest: str, network: Mapping[str, Tensor] | None = None) -> State:
    """Read a state, and check that its content matches its name.

    `network` has the parameters and buffers of the network that the state must be of. Raises StateError if the file is
    missing, if its hash is not its name, or if it is of another network.
    """
    path = path_of(folder, digest)
    try:
        content = read(path, STATE)
        if hashlib.sha256(content).hexdigest() != digest:
            raise StateError(f"state {path} is damaged: its content does not match its name")
        tensors = load(content)
    except OSError as error:
        raise StateError(f"state {path} cannot be read: {reason(error)}") from error
    except SafetensorError as error:
        raise StateError(f"state {path} cannot be read: {error}") from error
    state = State(
        tensors={name: tensor for name, tensor in tensors.items() if not name.startswith(MASK_PREFIX)},
        masks={name.removeprefix(MASK_PREFIX): t for name, t in tensors.items() if name.startswith(MASK_PREFIX)},
    )
    if network is not None:
        _check(state, path, network)
    return state


def _check(state: State, path: Location, network: Mapping[str, Tensor]) -> None:
    """Raise StateError unless a state's tensors and masks have the names and shapes of a network's tensors."""
    if state.tensors.keys() != network.keys() or not state.masks.keys() <= network.keys():
        raise StateError(f"state {path} is of another network: its tensors have other names")
    for name, tensor in (*state.tensors.items(), *state.masks.items()):
        if tensor.shape != network[name].shape:
            found, wanted = tuple(tensor.shape), tuple(network[name].shape)
            raise StateError(f"state {path} is of another network: {name} has the shape {found}, not {wanted}")


def remove_state(folder: Location, digest: str) -> None:
    """Remove a state, if it is there."""
    _remove(path_of(folder, digest))


def remove_states(folder: Location, named: Collection[str], needed: Collection[str]) -> None:
    """Remove the `named` states that are not `needed`, and what killed processes left of any `named` state.

    Other files in the folder stay.
    """
    for path in folder.iterdir() if folder.exists() else ():
        found = FILE.fullmatch(path.name)
        if found and found[1] in named and (found[2] or found[1] not in needed):
            _remove(path)


def _remove(path: Location) -> None:
    """Remove the file of a state; never anything behind a link, with another kind of name, or that is not a file."""
    if FILE.fullmatch(path.name) and (not isinstance(path, Path) or (is_folder(path.parent) and is_file(path))):
        path.unlink(missing_ok=True)
