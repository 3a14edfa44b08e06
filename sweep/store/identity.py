"""What determines a lane: its key in the ledger, and the identity that all lanes of a results folder share.

In: settings, data, a lane. Out: a key, or an identity. A folder holds lanes of one identity only; whatever trains
beside them checks it first.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from sweep.config.settings import Settings
from sweep.errors import FolderError
from sweep.store.folder import Folder
from trainables.spec import TRAINING_VERSION, Lane, Pack, TrainSpec

FOLLOW = {"schedule": ("warmup_steps", "milestones", "cycle_steps"), "model": ("hidden", "batch_norm")}
"""Settings that differ because another one does."""
CODE = ("model_source", "model_files")


def lane_id(training: TrainSpec, fingerprint: str, pack: Pack, lane: Lane) -> str:
    """Return the key of a lane: the sha256 of everything that determines it, and of nothing else.

    What determines it: the training settings, the data's fingerprint, the run's seed and the cycle (all random numbers
    follow from these two), the digests of the state that it starts from and of the state that it is rewound to, its
    schedule, its max_lr, and the version of the training code. The run's number, the pack and the device do not.
    """
    content = {
        # Not a TrainSpec with this schedule: the schedule of a later cycle need not fit the steps of cycle 0.
        "training": vars(training) | {"schedule": vars(training.schedule_of(pack.cycle, lane.schedule))},
        "data": fingerprint,
        "seed": pack.seed,
        "cycle": pack.cycle,
        "start": lane.parent or "initial weights",
        "rewound_to": lane.rewind_to,
        "max_lr": lane.max_lr,
        "version": TRAINING_VERSION,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def identity(settings: Settings, fingerprint: str) -> dict[str, Any]:
    """Return all that determines the lanes of a folder; a folder holds lanes of one identity only."""
    training = json.loads(json.dumps(asdict(settings.training())))  # as it reads back: tuples become lists
    return {
        **training,
        "model_files": settings.model_files,
        "seed": settings.seed,
        "data": fingerprint,
        "training_version": TRAINING_VERSION,
    }


def check_identity(
    folder: Folder, found: dict[str, Any], wanted: dict[str, Any], advice: str = "give another --out"
) -> None:
    """Raise FolderError, naming what differs, if a folder's lanes were determined otherwise."""
    different = {name for name in (*found, *wanted) if found.get(name) != wanted.get(name)}
    changes = []
    if different & set(CODE) and "model" not in different:
        changes.append(_changed_files(found.get("model_files") or {}, wanted.get("model_files") or {}))
    if "data" in different and "dataset" not in different:
        changes.append(f"the data of {wanted['dataset']} have changed")
    settings = list(_differences(_flat(found), _flat(wanted)))
    if settings:
        what = "; ".join(settings + changes)
        raise FolderError(f"{folder.path} holds lanes of another experiment ({what}); {advice}")
    if changes:
        raise FolderError(f"{' and '.join(changes)} since {folder.path} was begun; {advice}")


def _changed_files(found: Mapping[str, str], wanted: Mapping[str, str]) -> str:
    """Return which files of a user's network have changed; if all are as they were, which are new or gone."""
    both = [name for name in found if name in wanted and found[name] != wanted[name]]
    names = sorted(both or found.keys() ^ wanted.keys())
    return f"{', '.join(names) or 'the network'} {'have' if len(names) > 1 else 'has'} changed"


def _differences(found: dict[str, Any], wanted: dict[str, Any]) -> Iterator[str]:
    """Yield what two identities differ in: flags with their values as they are typed, and what has no flag."""
    different = [name for name in sorted({*found, *wanted}) if found.get(name) != wanted.get(name)]
    follow = {each for name in different for each in FOLLOW.get(name, ())}
    for name in different:
        if name in (*follow, *CODE, "data"):
            continue
        if name == "training_version":
            yield "the training code of scyc-sweep has changed since"
        else:
            yield f"--{name.replace('_', '-')} was {_typed(found.get(name))}, now {_typed(wanted.get(name))}"


def _flat(identity: dict[str, Any]) -> dict[str, Any]:
    """Return an identity with the parts of its schedule beside all else, as there are flags for them."""
    schedule = identity.get("schedule")
    parts = dict(schedule) if isinstance(schedule, dict) else {"name": schedule}
    return {**identity, "schedule": parts.pop("name", None), **parts}


def check_kind(folder: Folder, manifest: dict[str, Any] | None, kind: str) -> None:
    """Raise FolderError if a folder holds results of another kind than `kind`."""
    if manifest is not None and manifest["kind"] != kind:
        raise FolderError(
            f"{folder.path} holds the results of `{manifest['kind']}`, not of `{kind}`: give another folder"
        )


def _typed(value: object) -> str:
    """Return a value as it is typed behind its flag."""
    if isinstance(value, list):
        return " ".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, str):
        return value[:12] if len(value) == 64 else value  # a digest, or a name
    return "not given" if value is None else json.dumps(value)
