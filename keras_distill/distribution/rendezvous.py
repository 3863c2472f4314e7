"""Wait until all workers of a cluster have joined. TensorFlow itself would wait without naming the missing ones.

Every worker listens at its own address. Each of them connects to the chief and sends its number; the chief connects
back, which verifies every address in `TF_CONFIG`, and then tells all workers to continue. TensorFlow's servers use the
ports afterwards.
"""

import contextlib
import select
import socket
import time
from collections.abc import Iterator

from keras_distill._core.messages import expected
from keras_distill.distribution.cluster import Cluster

_HELLO, _GO, _LATE = "keras_distill worker", "keras_distill go", "keras_distill late"
_MAX_LINE = 4096  # Characters; data from the network is not trusted.
_PAUSE = 0.2


def wait_for_all(cluster: Cluster, seconds: float) -> None:
    """Wait until every worker of a cluster has started and is reachable.

    Args:
        cluster: A `Cluster`.
        seconds: Maximum time to wait, in seconds.

    Raises:
        TimeoutError: If some workers have not joined in time; it names their addresses.
        ValueError: If this worker cannot listen at its own address.
    """
    deadline = time.monotonic() + seconds
    with _listen(cluster) as listener:
        missing = _gather(cluster, listener, deadline) if cluster.is_chief else _join(cluster, deadline)
    if missing:
        fix = (
            "Check that it is running with the same cluster in its TF_CONFIG, and that its port is reachable from here."
        )
        waited = f"no connection to {', '.join(missing)} after {seconds:g} s"
        raise TimeoutError(expected(f"{len(cluster.addresses)} workers to join", waited, fix))


@contextlib.contextmanager
def reserve_ports(count: int) -> Iterator[list[str]]:
    """Reserve free ports of the loopback address for workers that start in the meantime.

    Args:
        count: Number of ports.

    Yields:
        A list of `count` distinct addresses `"127.0.0.1:port"`. If the system lets several sockets share a port, the
        ports stay bound until the end, without listening, so that no other program gets one of them.
    """
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(_open_shared_socket(socket.AF_INET)) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
        if not hasattr(socket, "SO_REUSEPORT"):
            stack.close()
        yield addresses


def _listen(cluster: Cluster) -> socket.socket:
    family = socket.AF_INET6 if cluster.own.startswith("[") else socket.AF_INET
    listener = _open_shared_socket(family)
    try:
        # At every interface, like TensorFlow's server: the name in TF_CONFIG may belong to a proxy or a container.
        listener.bind(("", _split_address(cluster.own)[1]))
        listener.listen(len(cluster.addresses))
    except (OSError, OverflowError) as error:
        listener.close()
        fix = "Choose a free port, the same in the TF_CONFIG of every worker."
        raise ValueError(expected(f"a free port for this worker, {cluster.own}", str(error), fix)) from error
    return listener


def _gather(cluster: Cluster, listener: socket.socket, deadline: float) -> list[str]:
    """As the chief, return the addresses that are missing at the deadline, and send them to all that joined."""
    missing = dict(enumerate(cluster.addresses[1:], start=1))
    with contextlib.ExitStack() as stack:
        joined = []
        while missing and time.monotonic() < deadline:
            if not select.select([listener], [], [], _PAUSE)[0]:
                continue
            connection = stack.enter_context(listener.accept()[0])
            number = _parse_number(_read_line(connection), len(cluster.addresses))
            if number and _is_reachable(cluster.addresses[number]):
                joined.append(connection)
                missing.pop(number, None)
        answer = f"{_LATE} {' '.join(missing.values())}" if missing else _GO
        for connection in joined:
            with contextlib.suppress(OSError):
                connection.sendall(f"{answer}\n".encode())
    return list(missing.values())


def _join(cluster: Cluster, deadline: float) -> list[str]:
    """As another worker, return the missing addresses: the chief's own, or those that it sends."""
    chief = cluster.addresses[0]
    while (left := deadline - time.monotonic()) > 0:
        with contextlib.suppress(OSError), socket.create_connection(_split_address(chief), timeout=left) as connection:
            connection.sendall(f"{_HELLO} {cluster.index}\n".encode())
            # The chief answers at its own deadline, which may be a little later.
            answer = _read_line(connection, timeout=left + 5.0)
            if answer == _GO:
                return []
            if answer.startswith(_LATE):
                return answer.removeprefix(_LATE).split()
        time.sleep(_PAUSE)
    return [chief]


def _is_reachable(address: str) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(_split_address(address), timeout=5.0):
        return True
    return False


def _read_line(connection: socket.socket, timeout: float = 5.0) -> str:
    connection.settimeout(timeout)
    with contextlib.suppress(OSError), connection.makefile("r", encoding="utf-8", errors="replace") as file:
        return file.readline(_MAX_LINE).strip()
    return ""


def _parse_number(line: str, count: int) -> int | None:
    """Return the number that a worker sent, or `None` for any other line."""
    number = line.removeprefix(_HELLO).strip()
    is_valid = line.startswith(_HELLO) and number.isdecimal() and 0 < int(number) < count
    return int(number) if is_valid else None


def _split_address(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _open_shared_socket(family: socket.AddressFamily) -> socket.socket:
    shared = socket.socket(family, socket.SOCK_STREAM)
    shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if hasattr(socket, "SO_REUSEPORT"):
        shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return shared
