"""What importing a module loads; which module may import which is checked by import-linter (pyproject.toml)."""

import pkgutil
import subprocess
import sys
from pathlib import Path

import search_spaces
import trainables

ROOT = Path(trainables.__file__).parent.parent
SWEEPS = {"ray", "optuna", "pandas", "pyarrow", "pydantic", "cyclopts", "matplotlib", "rich", "sweep", "search_spaces"}


def loaded_by(module: str) -> set[str]:
    """The top-level packages in memory after importing one module in a fresh interpreter."""
    code = f"import sys; import {module}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_training_needs_nothing_of_the_sweep() -> None:
    loaded = loaded_by("trainables.pack")
    assert {"trainables", "torch", "safetensors"} <= loaded
    assert not loaded & SWEEPS


def test_the_settings_of_a_lane_load_without_torch() -> None:
    loaded = loaded_by("trainables.spec")
    assert "trainables" in loaded
    assert not loaded & (SWEEPS | {"torch", "torchvision", "numpy", "sklearn", "safetensors"})


def test_search_spaces_load_without_torch_or_training() -> None:
    modules = [name for _, name, _ in pkgutil.iter_modules(search_spaces.__path__)]
    assert modules
    loaded = loaded_by(", ".join(f"search_spaces.{name}" for name in modules))
    assert not loaded & {"torch", "torchvision", "ray", "trainables", "sweep"}
