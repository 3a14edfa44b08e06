"""A state comes back as it was written, under the hash of its file, or not at all."""

import hashlib
import os
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from trainables.states import State, StateError, load_state, path_of, remove_state, remove_states, save_state


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


class TestRemoval:
    """Of a folder of states only files that are called by a digest go, and nothing goes through a link."""

    NAMED, NEEDED = "a" * 64, "b" * 64
    STAY = (
        f"{NEEDED}.safetensors",
        f"{'c' * 64}.safetensors",
        f".{'c' * 64}.safetensors-{'0' * 32}.partial",
        f"{NAMED}.safetensors.bak",
        f"{NAMED}x.safetensors",
        f"x{NAMED}.safetensors",
        "README",
    )
    GO = (
        f"{NAMED}.safetensors",
        f".{NAMED}.safetensors-{'0' * 32}.partial",
        f".{NEEDED}.safetensors-{'0' * 32}.partial",
    )

    @pytest.fixture
    def states(self, tmp_path: Path) -> Path:
        folder = tmp_path / "states"
        folder.mkdir()
        for name in (*self.STAY, *self.GO):
            (folder / name).write_text(name)
        return folder

    def clean(self, folder: Path) -> set[str]:
        remove_states(folder, {self.NAMED, self.NEEDED}, {self.NEEDED})
        return {path.name for path in folder.iterdir()}

    def test_named_states_that_are_not_needed_go_and_half_written_files_of_named_ones(self, states: Path) -> None:
        assert self.clean(states) == set(self.STAY)

    def test_one_state_goes_alone_and_one_that_is_not_there_is_no_error(self, states: Path) -> None:
        for _ in range(2):
            remove_state(states, self.NAMED)
        assert {path.name for path in states.iterdir()} == {*self.STAY, *self.GO} - {f"{self.NAMED}.safetensors"}
        remove_states(states / "none", {self.NAMED}, set())

    def test_nothing_goes_from_a_folder_that_a_link_leads_to(self, states: Path, tmp_path: Path) -> None:
        (tmp_path / "linked").symlink_to(states)
        remove_state(tmp_path / "linked", self.NAMED)
        assert self.clean(tmp_path / "linked") == {*self.STAY, *self.GO}

    def test_a_link_or_a_folder_under_a_digest_stays(self, tmp_path: Path) -> None:
        (tmp_path / f"{self.NAMED}.safetensors").symlink_to(tmp_path / "victim")
        (tmp_path / f".{self.NAMED}.safetensors-{'0' * 32}.partial").mkdir()
        remove_state(tmp_path, self.NAMED)
        assert len(self.clean(tmp_path)) == 2

    @pytest.mark.parametrize("digest", ["../victim", "victim", "", "*"])
    def test_what_is_no_digest_names_no_file(self, tmp_path: Path, digest: str) -> None:
        (tmp_path / "states").mkdir()
        for path in (tmp_path / "victim.safetensors", tmp_path / "states" / "victim.safetensors"):
            path.write_text("the user's own")
        remove_state(tmp_path / "states", digest)
        remove_states(tmp_path / "states", {digest}, set())
        assert len(list(tmp_path.rglob("*.safetensors"))) == 2


def test_what_is_no_file_is_a_state_error(tmp_path: Path) -> None:
    digest = "a" * 64
    os.mkfifo(tmp_path / f"{digest}.safetensors")
    with pytest.raises(StateError, match=r"cannot be read: it is a named pipe, not a file$"):
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
