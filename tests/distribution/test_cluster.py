"""TF_CONFIG is read as TensorFlow reads it, and refused where it makes no sense."""

import json

import pytest

from keras_distill.distribution import Cluster


def config(cluster, kind="worker", index=0):
    return json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})


@pytest.mark.parametrize(
    "text, addresses, index",
    [
        (config({"worker": ["a:1", "b:2"]}, index=1), ("a:1", "b:2"), 1),
        (config({"worker": ["b:2", "c:3"], "chief": ["a:1"]}, index=1), ("a:1", "b:2", "c:3"), 2),
        (config({"worker": ["b:2"], "chief": ["a:1"]}, "chief"), ("a:1", "b:2"), 0),
        (config({"worker": ["[::1]:8000"]}), ("[::1]:8000",), 0),
    ],
)
def test_the_chief_comes_first(text, addresses, index):
    cluster = Cluster.of(text)
    assert (cluster.addresses, cluster.index, cluster.own) == (addresses, index, addresses[index])
    assert cluster.is_chief == (index == 0)


def test_what_a_cluster_writes_it_reads():
    cluster = Cluster(("a:1", "b:2"), 1)
    assert Cluster.of(cluster.to_json(1)) == cluster


@pytest.mark.parametrize(
    "text, message",
    [
        ("{", "Expected TF_CONFIG that is JSON"),
        ("[]", "Expected TF_CONFIG with an object 'cluster'"),
        (json.dumps({"cluster": {"worker": ["a:1"]}}), "Expected TF_CONFIG with an object 'task'"),
        (config({"worker": ["a:1"], "ps": ["b:2"]}), "with no other roles than chief and worker. Received: ps"),
        (config({"worker": ["a"]}), 'distinct addresses "host:port"'),
        (config({"worker": ["http://a:1"]}), 'distinct addresses "host:port"'),
        (config({"worker": ["a:1", "a:1"]}), 'distinct addresses "host:port"'),
        (config({"worker": [1]}), 'distinct addresses "host:port"'),
        (config({"worker": "a:1"}), 'distinct addresses "host:port"'),
        (config({"worker": []}), 'distinct addresses "host:port"'),
        (config({"chief": ["a:1", "b:2"]}, "chief"), "at most one chief"),
        (config({"worker": ["a:1"]}, index=1), "Expected a task in TF_CONFIG of worker 0 to 0"),
        (config({"worker": ["a:1"]}, index=True), "Expected a task in TF_CONFIG of worker 0 to 0"),
        (config({"worker": ["a:1"]}, "chief"), "Expected a task in TF_CONFIG of worker 0 to 0"),
        (config({"worker": ["a:1"]}, ["worker"]), "Expected a task in TF_CONFIG of worker 0 to 0"),
    ],
)
def test_what_makes_no_sense(text, message):
    with pytest.raises(ValueError) as error:
        Cluster.of(text)
    assert message in str(error.value)
    assert "Set TF_CONFIG on every machine" in str(error.value)


def test_none(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(ValueError, match="TF_CONFIG in the environment .* Received: none"):
        Cluster.from_environment()
