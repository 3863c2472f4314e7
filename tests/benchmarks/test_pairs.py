"""The benchmarks that train seed by seed: what each net learns from, what is kept, and the tables of the figures."""

import dataclasses
import json

import keras
import numpy as np
import pytest

import keras_distill as kd
from benchmarks import by_seed, cifar10_losses, ensemble_of_ten, regularisers, tables
from benchmarks.asked_once import asked_once
from benchmarks.cifar10_pairs import nets, results, stages, training
from benchmarks.cifar10_pairs.__main__ import BENCHMARK as PAIRS
from benchmarks.kept import Kept
from benchmarks.teachers import ways

SHORT = ways.Budget(steps=2, batch_size=20, learning_rate=1e-2)


def data_of(shape, count=40):
    """Make three splits of random pictures whose first pixel says of which split they are, labels 0 to 9 in turn."""
    splits = []
    for number in range(3):
        x = np.random.default_rng(number).random((count, *shape)).astype("float32")
        x[:, 0, 0] = number
        splits.append((x, (np.arange(count) % 10).astype("int32")))
    return kd.data.Data(*splits, tuple("0123456789"))


@pytest.fixture
def eager(monkeypatch):
    """Run steps as they are: two of them are not worth a trace."""
    monkeypatch.setattr(ways, "COMPILED", {"run_eagerly": True})


def run(module, settings, data, folder, monkeypatch, seeds):
    """Train and measure a benchmark on MNIST in this process, on these data."""
    monkeypatch.setattr(kd.data, "load", lambda name, data_dir: data)
    kept = Kept(folder, dataclasses.asdict(settings))
    if module.BENCHMARK.prepare:
        module.BENCHMARK.prepare(None, settings, kept)
    for seed in seeds:
        module.BENCHMARK.train(None, settings, kept, seed)
    return kept, module.BENCHMARK.measure(None, settings, kept, range(3))


def linear(seed, width=1):
    """Build a net as small as can be, in the place of a convolutional one."""
    keras.utils.set_random_seed(seed)
    return keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Flatten(), keras.layers.Dense(10)])


def test_a_net_is_trained_once_and_never_taken_for_one_of_other_settings(tmp_path):
    trained = []

    def train():
        trained.append(1)
        return linear(len(trained))

    kept = Kept(tmp_path, {"steps": 1})
    first, again = kept.model("seed-0/net", train), Kept(tmp_path, {"steps": 1}).model("seed-0/net", train)
    np.testing.assert_array_equal(first.get_weights()[0], again.get_weights()[0])
    assert trained == [1] and kept.facts("seed-0/net")["seconds"] > 0
    with pytest.raises(ValueError, match="settings of this run. Received: .*steps.*--work"):
        Kept(tmp_path, {"steps": 2})


def test_a_net_without_its_record_is_trained_again(tmp_path):
    kept = Kept(tmp_path, {})
    kept.model("net", lambda: linear(0))
    (tmp_path / "net.json").unlink()
    assert "net" not in kept
    found = kept.model("net", lambda: linear(1))
    np.testing.assert_array_equal(found.get_weights()[0], linear(1).get_weights()[0])


def test_stored_batches_carry_what_the_teacher_says_of_each_sample():
    x, teacher = data_of((28, 28, 1)).train[0], linear(0)
    said = teacher.predict(x, verbose=0)
    with asked_once(teacher, x, 2.0, 15, seed=0) as (store, batches):
        assert len(store) == 40 and len(batches) == 3
        for images, labels, _, extras in batches:
            assert labels is None
            rows = [int(np.argmax((x == image).all((1, 2, 3)))) for image in images.numpy()]
            (stored,) = [value for value in extras["soft_targets"].values() if value.shape[-1] == 10]
            np.testing.assert_allclose(stored, said[rows], atol=1e-5)
            last = rows
    assert last != list(range(30, 40))


def test_the_ensemble_teaches_one_net_on_all_digits_without_labels(tmp_path, monkeypatch, eager):
    monkeypatch.setattr(ways, "net", linear)
    seen, data = [], data_of((28, 28, 1))
    taught = ways.taught
    monkeypatch.setattr(ways, "taught", lambda store, transfer, *rest: seen.append(transfer) or taught(store, transfer, *rest))
    setup = ways.Setup(images=40, labelled=20, members=2, alone=SHORT, distilled=SHORT)
    kept, found = run(ensemble_of_ten, setup, data, tmp_path, monkeypatch, [0, 2])
    members = [kept.model(f"seed-2/member-{number}") for number in range(2)]
    probabilities = sum(keras.ops.softmax(member.predict(data.test[0], verbose=0)) for member in members)
    right = np.mean(np.argmax(probabilities, -1) == data.test[1])
    assert found["accuracy"][ensemble_of_ten.TOGETHER][1] == pytest.approx(right)
    assert {name: len(each) for name, each in found["accuracy"].items()} == {
        name: 2 for name in (ensemble_of_ten.ALONE, ensemble_of_ten.TOGETHER, ensemble_of_ten.BY_ONE, ensemble_of_ten.BY_TEN)
    }
    assert len(seen) == 4


def test_soft_targets_need_no_labels_and_stopping_keeps_the_best_epoch(tmp_path, monkeypatch, eager):
    monkeypatch.setattr(ways, "net", linear)
    data = data_of((28, 28, 1))
    settings = regularisers.Settings(images=40, share=0.5, everything=SHORT, few=SHORT)
    kept, found = run(regularisers, settings, data, tmp_path, monkeypatch, [1])
    assert found["seeds"] == [1] and set(found["choice"]) == set(regularisers.TEMPERATURES)
    assert found["temperature"] == max(found["choice"], key=found["choice"].get)
    x, y = regularisers.few(data, settings, 1)
    assert len(y) == 20 and not np.array_equal(y, regularisers.few(data, settings, 2)[1])
    soft = kept.model("seed-1/3_percent_soft_targets")
    assert found["accuracy"][regularisers.SOFT] == {
        "train": [regularisers.accuracy(soft, (x, y))],
        "test": [regularisers.accuracy(soft, data.test)],
    }
