"""How settings come together: a preset, over it a TOML file, over that flags. Out: `Settings`.

Next: `sweep.experiments.runner` carries them out.
"""

import inspect
import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Any, Union, cast, get_args, get_origin, overload

from pydantic import TypeAdapter, ValidationError

from sweep.config.messages import USERS_OWN, nearest, one_line, unknown
from sweep.config.presets import DEFAULT_PRESET, PRESETS
from sweep.config.settings import AnySettings, Settings
from sweep.errors import SettingsError
from trainables import users_own
from trainables.spec import ModelName, names
from trainables.storage import reason


def changed(settings: Settings, changes: Mapping[str, Any], kind: type[AnySettings] | None = None) -> Any:
    """Return the settings of a sweep with some of them replaced, and a user's network as its files are now.

    `kind`: as settings of another kind of sweep. Raises SettingsError as `resolve`.
    """
    _check_engine(changes)
    try:
        return (kind or type(settings)).model_validate({**settings.model_dump(), **changes})
    except ValidationError as error:
        raise SettingsError(one_line(error)) from error


@overload
def resolve(flags: Mapping[str, Any], config: Path | None = None) -> Settings: ...
@overload
def resolve(flags: Mapping[str, Any], config: Path | None = None, *, kind: type[AnySettings]) -> AnySettings: ...
def resolve(flags: Mapping[str, Any], config: Path | None = None, *, kind: type[Any] = Settings) -> Any:
    """Return the settings: the preset's settings, over them those of a TOML file, over them the flags.

    `flags` leaves out, or has None for, what was not given. `steps` given without `warmup_steps` or `milestones`
    rescales the preset's; `scale` then multiplies all three.
    Raises SettingsError, one line with the rule, the value and the choices.
    """
    given = (read_toml(config, kind) if config else {}) | {name: v for name, v in flags.items() if v is not None}
    for name in ("model", "dataset"):
        if callable(given.get(name)):
            try:
                given[name] = users_own.name_of(given[name])
            except ValueError as error:
                raise SettingsError(f"--{name}: {error}") from error
    for name in given:
        if name not in kind.model_fields:
            raise SettingsError(_no_setting(name, "setting", kind))
    _check_engine(given)
    preset = _preset(given)
    base = PRESETS[preset].settings
    settings = from_preset(preset, kind) | given | {"preset": preset}
    others = any(settings[name] != base[name] for name in ("model", "dataset")) or settings.get("images") is not None
    if "scyc" not in given and others:
        settings["scyc"] = None  # it was found for the preset's network and data
    _scale(settings, given, base["steps"])
    try:
        return kind.model_validate(settings)
    except ValidationError as error:
        raise SettingsError(one_line(error)) from error


def from_preset(preset: str, kind: type[Settings]) -> dict[str, Any]:
    """Return what a preset sets, but for settings that `kind` defines itself, such as the schedule that is tuned."""
    own = set() if kind is Settings else inspect.get_annotations(kind).keys()
    return {name: value for name, value in PRESETS[preset].settings.items() if name not in own}


def defaults(preset: str, kind: type[Settings]) -> dict[str, Any]:
    """Return all settings as they are with a preset and no flags, before they are checked."""
    fields = {name: field.get_default() for name, field in kind.model_fields.items() if not field.is_required()}
    return fields | from_preset(preset, kind) | {"preset": preset}


def read_toml(path: Path, kind: type[Settings] = Settings) -> dict[str, Any]:
    """Return the settings of a TOML file.

    Raises SettingsError for an unreadable file, an unknown key or a wrong type.
    """
    try:
        settings = tomllib.loads(path.read_text())
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {reason(error)}") from error
    except ValueError as error:  # no UTF-8, or no TOML
        raise SettingsError(f"{path} is no TOML file: {error}") from error
    except RecursionError as error:
        raise SettingsError(f"{path} is no TOML file: it is nested too deeply") from error
    for name, value in settings.items():
        if name not in kind.model_fields:
            raise SettingsError(f"{path}: {_no_setting(name, 'key', kind)}")
        if name == "max_lr":  # a text, a number or a list, as in Python: the settings say what is wrong
            continue
        field = kind.model_fields[name]
        loose = Path in parts(field.annotation)
        checked = tuple(value) if isinstance(value, list) else value
        try:
            # Strict: TOML has types of its own, so that `cycles = "3"` and `cycles = true` are mistakes.
            TypeAdapter[Any](cast(Any, field.annotation)).validate_python(checked, strict=not loose)
        except ValidationError as error:
            raise SettingsError(f"{path}: {one_line(error, name)}") from error
    return settings


def _preset(given: Mapping[str, Any]) -> str:
    """Return the preset to start from: the one that is given, or the one of the network that is given."""
    preset = given.get("preset", given.get("model", DEFAULT_PRESET))
    if "preset" not in given and ":" in str(preset):
        raise SettingsError(f"--model {preset} needs a --preset to start from; known are {', '.join(PRESETS)}")
    if preset not in PRESETS:
        if "preset" in given:
            raise SettingsError(unknown("preset", preset, list(PRESETS)))
        raise SettingsError(unknown("network", preset, names(ModelName), USERS_OWN))
    return str(preset)


def _scale(settings: dict[str, Any], given: Mapping[str, Any], base_steps: int) -> None:
    """Multiply all numbers of steps by `scale`, and the preset's warmup and milestones by the change of `steps` too."""
    try:
        factor = float(settings.get("scale", 1.0))
        stretched = max(0.0, factor * float(settings["steps"]) / base_steps)
        for name, multiplier in (
            ("steps", factor),
            ("retrain_steps", factor),
            ("warmup_steps", factor if "warmup_steps" in given else stretched),
            ("milestones", factor if "milestones" in given else stretched),
            ("cycle_steps", factor),
        ):
            if settings.get(name) is not None:
                settings[name] = _scaled(settings[name], multiplier)
    except OverflowError as error:
        found = f"{settings['steps']} and {settings.get('scale', 1.0)}"
        raise SettingsError(f"--steps times --scale must be finite, but got {found}") from error
    except (TypeError, ValueError):
        pass  # of the wrong type: the validation says so


def _check_engine(settings: Mapping[str, Any]) -> None:
    if settings.get("engine") == "inline" and settings.get("address") is not None:
        raise SettingsError("--address is for --engine ray: --engine inline trains in this process; give one of them")


def _no_setting(name: str, what: str, kind: type[Settings]) -> str:
    if name in ("config", "plan", "pilot", "spread", "json"):
        return f"{name} is a flag of the command and not a setting"
    return f"unknown {what} {name!r}{nearest(name, kind.model_fields)}"


def _scaled(value: Any, factor: float) -> Any:
    if factor == 1.0:
        return value
    if isinstance(value, tuple | list):
        return tuple(_scaled(item, factor) for item in value)
    if not math.isfinite(factor):
        raise ValueError("factor must be finite")
    return round(int(value) * factor)


def parts(annotation: Any) -> tuple[Any, ...]:
    """Return the types of a union; a type that is none comes alone."""
    return get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
