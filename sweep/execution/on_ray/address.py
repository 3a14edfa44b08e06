"""Which Ray packs train on. In: `--address` and RAY_ADDRESS. Out: an address that something listens at, or an error.

This module imports no Ray.
"""

import os
import socket

from sweep.errors import SweepError

LOCAL = "local"
"""The address of a Ray that is started here and ends with this process."""
CONNECT_SECONDS = 5.0
TOKEN_HINT = (
    "if the cluster asks for a token, set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH to its own"
)


def address_of(given: str | None) -> str:
    """Return the address of the Ray to use: what `--address` gives, else RAY_ADDRESS, else `LOCAL`."""
    return given or os.environ.get("RAY_ADDRESS") or LOCAL


def check_address(address: str) -> None:
    """Raise SweepError where an address is not HOST:PORT, `auto` or `LOCAL`, or where nothing listens at it."""
    if address.startswith("ray://"):
        raise SweepError(f"RAY_ADDRESS {address}: ray:// is not supported; give HOST:PORT of the cluster")
    if address in (LOCAL, "auto"):
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise SweepError(f"a Ray address is HOST:PORT or auto, but got {address!r}")
    check_reachable(host, int(port), "HOST:PORT of a Ray, usually port 6379")


def check_reachable(host: str, port: int, wanted: str) -> None:
    """Raise SweepError within seconds if nothing listens at a port; Ray itself would try for a minute or more.

    `wanted` is what the message says that `--address` takes.
    """
    try:
        socket.create_connection((host, port), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        raise SweepError(f"no Ray reachable at {host}:{port}: {error}; --address takes {wanted}") from error
