"""Which Ray is meant, and that a wrong address is said at once."""

import socket
import subprocess
import sys

import pytest

from sweep.errors import SweepError
from sweep.execution.on_ray.address import LOCAL, address_of, check_address


def test_the_flag_comes_before_ray_address_and_that_before_a_ray_of_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert (address_of(None), address_of("head:6379")) == (LOCAL, "head:6379")
    monkeypatch.setenv("RAY_ADDRESS", "other:6379")
    assert (address_of(None), address_of("head:6379")) == ("other:6379", "head:6379")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("ray://head:10001", "ray:// is not supported; give HOST:PORT of the cluster"),
        ("head", "a Ray address is HOST:PORT or auto, but got 'head'"),
        ("head:ray", "a Ray address is HOST:PORT or auto, but got 'head:ray'"),
    ],
)
def test_what_is_no_address_is_refused_with_what_one_looks_like(address: str, message: str) -> None:
    with pytest.raises(SweepError) as raised:
        check_address(address)
    assert message in str(raised.value)


def test_an_address_is_checked_before_ray_tries_it() -> None:
    check_address(LOCAL)
    check_address("auto")
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
        with pytest.raises(SweepError, match=f"no Ray reachable at 127.0.0.1:{port}: .*; --address takes HOST:PORT"):
            check_address(f"127.0.0.1:{port}")
        server.listen()
        check_address(f"127.0.0.1:{port}")


def test_this_is_known_without_ray() -> None:
    code = "import sys; import sweep.execution.on_ray.address; assert not {'ray', 'torch'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True)
