"""Workers wait for each other and name the missing ones; strategies by name."""

import concurrent.futures
import io
import socket
import sys
import threading
import time

import pytest
from click.testing import CliRunner

from keras_distill import distribution
from keras_distill.cli import main
from keras_distill.distribution import Cluster, launch, rendezvous
from keras_distill.distribution.rendezvous import reserve_ports, wait_for_all


def wait(cluster, seconds):
    try:
        wait_for_all(cluster, seconds)
    except TimeoutError as error:
        return str(error)


def all_wait(addresses, numbers, seconds):
    with concurrent.futures.ThreadPoolExecutor(len(numbers)) as pool:
        return list(pool.map(lambda number: wait(Cluster(tuple(addresses), number), seconds), numbers))


def test_all_join():
    with reserve_ports(3) as addresses:
        assert all_wait(addresses, (0, 1, 2), 20.0) == [None] * 3


class Clock:
    """Time that passes only when the test sets it."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        time.sleep(seconds)


def test_workers_that_joined_learn_who_is_missing(monkeypatch):
    clock, reaches = Clock(), rendezvous._is_reachable

    def over(address):
        """End the wait as soon as the second worker has joined."""
        came = reaches(address)
        clock.now = 2.0
        return came

    monkeypatch.setattr(rendezvous, "time", clock)
    monkeypatch.setattr(rendezvous, "_is_reachable", over)
    with reserve_ports(3) as addresses:
        said = all_wait(addresses, (0, 1), 1.5)
        assert all(f"Received: no connection to {addresses[2]} after 1.5 s." in each for each in said)


def test_a_worker_names_a_missing_chief():
    with reserve_ports(2) as addresses:
        assert f"Received: no connection to {addresses[0]} after 0.5 s." in wait(Cluster(tuple(addresses), 1), 0.5)


def test_strangers_are_not_counted(monkeypatch):
    clock, listening, heard = Clock(), threading.Event(), []
    lines = (b"GET / HTTP/1.1\n", b"keras_distill worker 7\n", b"\xff\xfe\n")
    listen, line_of = rendezvous._listen, rendezvous._read_line

    def listened(cluster):
        listener = listen(cluster)
        listening.set()
        return listener

    def hear(connection):
        """End the wait when all lines have been read."""
        heard.append(line_of(connection))
        clock.now = 3.0 if len(heard) == len(lines) else 0.0
        return heard[-1]

    for name, each in (("time", clock), ("_listen", listened), ("_read_line", hear)):
        monkeypatch.setattr(rendezvous, name, each)
    with reserve_ports(2) as addresses, concurrent.futures.ThreadPoolExecutor(1) as pool:
        chief = pool.submit(wait, Cluster(tuple(addresses), 0), 2.0)
        listening.wait()
        for line in lines:
            with socket.create_connection(("127.0.0.1", int(addresses[0].split(":")[1]))) as stranger:
                stranger.sendall(line)
        assert addresses[1] in chief.result()
    assert heard[0] == "GET / HTTP/1.1" and len(heard) == 3


def test_a_port_that_is_taken():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ValueError, match="Expected a free port for this worker"):
            wait_for_all(Cluster((address, "127.0.0.1:1"), 0), 1.0)


@pytest.mark.parametrize("codes, worst", [((0, 0), 0), ((0, 3), 3), ((4, 3), 4)])
def test_the_launcher_returns_the_worst_exit_code(codes, worst):
    script = "import json, os, sys; sys.exit(int(sys.argv[1 + json.loads(os.environ['TF_CONFIG'])['task']['index']]))"
    command = [sys.executable, "-c", script, *map(str, codes)]
    assert launch(command, workers=2, out=io.StringIO()) == worst


class Heard(io.StringIO):
    """What the workers write; a file says that there is something."""

    def __init__(self, path):
        super().__init__()
        self._path = path

    def write(self, text):
        self._path.touch()
        return super().write(text)


def test_the_launcher_ends_all_when_one_is_killed(monkeypatch, tmp_path):
    monkeypatch.setattr("keras_distill.distribution.launcher._GRACE", 0.5)
    script = """
import json, os, signal, sys, time
if json.loads(os.environ["TF_CONFIG"])["task"]["index"]:
    while not os.path.exists(sys.argv[1]):
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)
print("here", flush=True)
time.sleep(60)
print("not ended", flush=True)
"""
    heard = Heard(tmp_path / "heard")
    assert launch([sys.executable, "-c", script, str(tmp_path / "heard")], workers=2, out=heard) == 128 + 9
    assert heard.getvalue() == "worker 0 | here\n"


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("multi",), "Did you mean 'multiworker'?"),
        (("multiworker", 2), "Expected `devices` only for the strategy 'mirrored'"),
        (("mirrored", 0), "Expected devices to be a whole number >= 1"),
    ],
)
def test_bad_strategies(arguments, message):
    with pytest.raises(ValueError) as error:
        distribution.strategy(*arguments)
    assert message in str(error.value)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--strategy", "mirored"], "Did you mean 'mirrored'?"),
        (["--strategy", "multiworker"], "Expected TF_CONFIG that is JSON"),
        (["--strategy", "mirrored", "--workers", "2"], "Expected --workers with --strategy multiworker"),
    ],
)
def test_a_run_says_it_in_one_line(arguments, message, monkeypatch):
    monkeypatch.setattr("keras_distill.cli.session.start_tensorflow", lambda threads=None: None)
    monkeypatch.setenv("TF_CONFIG", "worker 0")
    result = CliRunner().invoke(main, ["run", "digits", *arguments])
    assert result.exit_code == 2
    assert message in result.output.replace("\n", " ")
