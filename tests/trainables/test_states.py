"""A state comes back as it was written, under the hash of its file, or not at all."""

import hashlib
import os
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from trainables.states import State, StateError, load_state, path_of, save_state


def a_state() -> State:
    return State(
        tensors={
            "conv.weight": torch.randn(3, 2, 3, 3, generator=torch.Generator().manual_seed(0)),
            "bn.num_batches_tracked": torch.tensor(7),
            "bn.running_mean": torch.tensor([0.1, -0.0, float("inf")], dtype=torch.float64),
            "fc.weight": torch.arange(6.0).view(2, 3),
        },
        masks={"conv.weight": torch.rand(3, 2, 3, 3) < 0.5, "fc.weight": torch.tensor([[True, False, True]] * 2)},
    )


def small_state() -> State:
    return State({"w": torch.arange(4.0)}, {"w": torch.tensor([True, False, True, True])})


def assert_same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> None:
    assert set(left) == set(right)
    for name, tensor in left.items():
        assert tensor.dtype == right[name].dtype
        assert tensor.shape == right[name].shape
        assert tensor.numpy().tobytes() == right[name].numpy().tobytes()  # bit for bit: -0.0 is not 0.0


def test_a_state_comes_back_bit_for_bit(tmp_path: Path) -> None:
    state = a_state()
    loaded = load_state(tmp_path, save_state(tmp_path, state))
    assert_same(loaded.tensors, state.tensors)
    assert_same(loaded.masks, state.masks)
    assert {mask.dtype for mask in loaded.masks.values()} == {torch.bool}


def test_views_and_parameters_come_back_as_plain_tensors(tmp_path: Path) -> None:
    stack = torch.nn.Parameter(torch.arange(24.0).view(2, 3, 4))
    state = State({"w": stack[1], "t": stack[0].t()}, {"w": torch.ones(2, 3, 4).bool()[0]})
    loaded = load_state(tmp_path, save_state(tmp_path, state))
    assert torch.equal(loaded.tensors["w"], stack.detach()[1])
    assert torch.equal(loaded.tensors["t"], stack.detach()[0].t())
    assert not loaded.tensors["w"].requires_grad


def test_the_digest_is_the_sha256_of_the_file_and_its_name(tmp_path: Path) -> None:
    digest = save_state(tmp_path / "new" / "folder", a_state())
    [path] = (tmp_path / "new" / "folder").iterdir()
    assert path == path_of(tmp_path / "new" / "folder", digest)
    assert path.name == f"{digest}.safetensors"
    assert hashlib.sha256(path.read_bytes()).hexdigest() == digest


def test_the_digest_depends_on_the_content_and_not_on_the_order_of_names(tmp_path: Path) -> None:
    state = a_state()
    turned = State(dict(reversed(state.tensors.items())), dict(reversed(state.masks.items())))
    digest = save_state(tmp_path, state)
    assert save_state(tmp_path, turned) == digest
    state.masks["fc.weight"][0, 0] = False
    assert save_state(tmp_path, state) != digest
    state.masks["fc.weight"][0, 0] = True
    state.tensors["fc.weight"][0, 0] += 1e-6
    assert save_state(tmp_path, state) != digest


def test_the_same_content_is_written_once(tmp_path: Path) -> None:
    digest = save_state(tmp_path, small_state())
    before = path_of(tmp_path, digest).stat()
    assert save_state(tmp_path, small_state()) == digest
    after = path_of(tmp_path, digest).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert len(list(tmp_path.iterdir())) == 1


def test_no_half_state_appears_under_its_name_when_writing_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            save_state(tmp_path, small_state())
    assert not list(tmp_path.glob("*.safetensors"))
    digest = save_state(tmp_path, small_state())
    assert torch.equal(load_state(tmp_path, digest).tensors["w"], torch.arange(4.0))


def test_a_missing_state_is_a_state_error_that_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(StateError, match=f"{'0' * 64}.safetensors cannot be read"):
        load_state(tmp_path, "0" * 64)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 255))
def test_any_changed_byte_is_a_state_error(
    tmp_path_factory: pytest.TempPathFactory, position: int, change: int
) -> None:
    folder = tmp_path_factory.mktemp("states")
    path = path_of(folder, digest := save_state(folder, small_state()))
    content = bytearray(path.read_bytes())
    content[position % len(content)] ^= change
    path.write_bytes(content)
    with pytest.raises(StateError, match="is damaged"):
        load_state(folder, digest)


@pytest.mark.parametrize("length", [0, 7, 40, -1])
def test_a_truncated_state_is_a_state_error(length: int, tmp_path: Path) -> None:
    path = path_of(tmp_path, digest := save_state(tmp_path, small_state()))
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(StateError, match="is damaged"):
        load_state(tmp_path, digest)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 a pickle in a zip", b"\xff" * 64])
def test_a_foreign_file_under_its_right_hash_is_a_state_error(content: bytes, tmp_path: Path) -> None:
    digest = hashlib.sha256(content).hexdigest()
    path_of(tmp_path, digest).write_bytes(content)
    with pytest.raises(StateError, match="cannot be read"):
        load_state(tmp_path, digest)


def test_another_state_under_this_name_is_a_state_error(tmp_path: Path) -> None:
    digest = save_state(tmp_path, small_state())
    path_of(tmp_path, digest).write_bytes(save({"w": torch.zeros(4)}))
    with pytest.raises(StateError, match="does not match its name"):
        load_state(tmp_path, digest)


def test_a_state_of_another_network_is_a_state_error(tmp_path: Path) -> None:
    digest = save_state(tmp_path, a_state())
    network = a_state().tensors
    assert load_state(tmp_path, digest, network).tensors.keys() == network.keys()
    with pytest.raises(StateError, match=r"another network: fc.weight has the shape \(2, 3\), not \(3, 2\)"):
        load_state(tmp_path, digest, network | {"fc.weight": torch.zeros(3, 2)})
    for other in (network | {"fc.bias": torch.zeros(2)}, {"fc.weight": network["fc.weight"]}):
        with pytest.raises(StateError, match="of another network: its tensors have other names"):
            load_state(tmp_path, digest, other)
    state = a_state()
    state.masks["fc.weight"] = torch.ones(3, dtype=torch.bool)
    with pytest.raises(StateError, match=r"fc.weight has the shape \(3,\), not \(2, 3\)"):
        load_state(tmp_path, save_state(tmp_path, state), network)
