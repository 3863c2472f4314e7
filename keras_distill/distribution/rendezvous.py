"""Waiting until all workers of a cluster are there: TensorFlow itself would wait without saying for whom.

The chief listens at its own address. Every other worker listens at its own as well, connects to the chief and says who
it is; the chief connects back, so that each address of `TF_CONFIG` is known to be right, and tells all to go on.
TensorFlow's servers take the ports afterwards.
"""

import contextlib
import select
import socket
import time

from keras_distill._core.messages import expected

_HELLO, _GO, _LATE = "keras_distill worker", "keras_distill go", "keras_distill late"
_LONGEST = 4096  # Characters of a line; what comes over the network is data of unknown origin.
_PAUSE = 0.2


def wait_for_all(cluster, seconds):
    """Wait until every worker of a cluster has started and can be reached.

    Args:
        cluster: A `Cluster`.
        seconds: How long to wait, in seconds.

    Raises:
        TimeoutError: If some are not there in time; it names their addresses.
        ValueError: If the own address cannot be listened at.
    """
    deadline = time.monotonic() + seconds
    with _listening(cluster) as listener:
        missing = _as_chief(cluster, listener, deadline) if cluster.is_chief else _as_other(cluster, deadline)
    if missing:
        fix = "Is it running, with the same cluster in its TF_CONFIG, and may its port be reached from here?"
        waited = f"{', '.join(missing)} not there after {seconds:g} s"
        raise TimeoutError(expected(f"{len(cluster.addresses)} workers", waited, fix))


@contextlib.contextmanager
def reserved(count):
    """Reserve free ports of the loopback address for the workers that are started meanwhile.

    Args:
        count: How many.

    Yields:
        A list of `count` distinct addresses `"127.0.0.1:port"`. Where the system lets several sockets share a port
        they are held until the end, bound but not listening, so that no other program is given one of them.
    """
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(_shared_socket(socket.AF_INET)) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
        if not hasattr(socket, "SO_REUSEPORT"):
            stack.close()
        yield addresses


def _listening(cluster):
    family = socket.AF_INET6 if cluster.own.startswith("[") else socket.AF_INET
    listener = _shared_socket(family)
    try:
        # At every interface, as TensorFlow's server: the name in TF_CONFIG may be that of a proxy or a container.
        listener.bind(("", _parts(cluster.own)[1]))
        listener.listen(len(cluster.addresses))
    except (OSError, OverflowError) as error:
        listener.close()
        fix = "Choose a free port, the same in the TF_CONFIG of every worker."
        raise ValueError(expected(f"a free port for this worker, {cluster.own}", str(error), fix)) from error
    return listener


def _as_chief(cluster, listener, deadline):
    """Return the addresses that are missing at the deadline; tell all who came."""
    missing = dict(enumerate(cluster.addresses[1:], start=1))
    with contextlib.ExitStack() as stack:
        came = []
        while missing and time.monotonic() < deadline:
            if not select.select([listener], [], [], _PAUSE)[0]:
                continue
            connection = stack.enter_context(listener.accept()[0])
            number = _number(_line(connection), len(cluster.addresses))
            if number and _reaches(cluster.addresses[number]):
                came.append(connection)
                missing.pop(number, None)
        answer = f"{_LATE} {' '.join(missing.values())}" if missing else _GO
        for connection in came:
            with contextlib.suppress(OSError):
                connection.sendall(f"{answer}\n".encode())
    return list(missing.values())


def _as_other(cluster, deadline):
    """Return the addresses that are missing: the chief's, or those that the chief names."""
    chief = cluster.addresses[0]
    while (left := deadline - time.monotonic()) > 0:
        with contextlib.suppress(OSError), socket.create_connection(_parts(chief), timeout=left) as connection:
            connection.sendall(f"{_HELLO} {cluster.index}\n".encode())
            # The chief's own limit is over before it gives up on others; its answer says on whom.
            answer = _line(connection, timeout=left + 5.0)
            if answer == _GO:
                return []
            if answer.startswith(_LATE):
                return answer.removeprefix(_LATE).split()
        time.sleep(_PAUSE)
    return [chief]


def _reaches(address):
    with contextlib.suppress(OSError), socket.create_connection(_parts(address), timeout=5.0):
        return True
    return False


def _line(connection, timeout=5.0):
    connection.settimeout(timeout)
    with contextlib.suppress(OSError), connection.makefile("r", encoding="utf-8", errors="replace") as file:
        return file.readline(_LONGEST).strip()
    return ""


def _number(line, count):
    """Return the number of the worker that says hello, `None` for anybody else."""
    number = line.removeprefix(_HELLO).strip()
    known = line.startswith(_HELLO) and number.isdecimal() and 0 < int(number) < count
    return int(number) if known else None


def _parts(address):
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _shared_socket(family):
    shared = socket.socket(family, socket.SOCK_STREAM)
    shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if hasattr(socket, "SO_REUSEPORT"):
        shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return shared
