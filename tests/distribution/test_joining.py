"""Workers wait for each other, and say for whom in vain; strategies by name."""

import concurrent.futures
import io
import socket
import sys
import time

import pytest
from click.testing import CliRunner

from keras_distill import distribution
from keras_distill.cli import main
from keras_distill.distribution import Cluster, launch
from keras_distill.distribution.rendezvous import reserved, wait_for_all


def wait(cluster, seconds):
    try:
        wait_for_all(cluster, seconds)
    except TimeoutError as error:
        return str(error)


def all_wait(addresses, numbers, seconds):
    with concurrent.futures.ThreadPoolExecutor(len(numbers)) as pool:
        return list(pool.map(lambda number: wait(Cluster(tuple(addresses), number), seconds), numbers))


def test_all_join():
    with reserved(3) as addresses:
        assert all_wait(addresses, (0, 1, 2), 20.0) == [None] * 3


def test_those_who_came_are_told_who_did_not():
    with reserved(3) as addresses:
        start = time.monotonic()
        said = all_wait(addresses, (0, 1), 1.5)
        assert time.monotonic() - start < 10.0
        assert all(f"Expected 3 workers. Received: {addresses[2]} not there after 1.5 s." in each for each in said)


def test_a_worker_names_the_chief_that_is_not_there():
    with reserved(2) as addresses:
        assert f"Received: {addresses[0]} not there after 0.5 s." in wait(Cluster(tuple(addresses), 1), 0.5)


def test_strangers_are_not_counted():
    with reserved(2) as addresses, concurrent.futures.ThreadPoolExecutor(1) as pool:
        chief = pool.submit(wait, Cluster(tuple(addresses), 0), 2.0)
        time.sleep(0.3)
        for line in (b"GET / HTTP/1.1\n", b"keras_distill worker 7\n", b"\xff\xfe\n"):
            with socket.create_connection(("127.0.0.1", int(addresses[0].split(":")[1]))) as stranger:
                stranger.sendall(line)
        assert addresses[1] in chief.result()


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


def test_the_launcher_ends_all_when_one_is_killed(monkeypatch):
    monkeypatch.setattr("keras_distill.distribution.launcher._GRACE", 0.5)
    script = """
import json, os, signal, time
if json.loads(os.environ["TF_CONFIG"])["task"]["index"]: os.kill(os.getpid(), signal.SIGKILL)
print("here", flush=True)
time.sleep(600)
"""
    out, start = io.StringIO(), time.monotonic()
    assert launch([sys.executable, "-c", script], workers=2, out=out) == 128 + 9
    assert out.getvalue() == "worker 0 | here\n"
    assert time.monotonic() - start < 30.0


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("multi",), "Did you mean 'multiworker'?"),
        (("multiworker", 2), "Expected `devices` for the strategy 'mirrored' alone"),
        (("mirrored", 0), "Expected `devices` to be a positive whole number"),
    ],
)
def test_strategies_that_are_none(arguments, message):
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
