"""The benchmarks that train seed by seed: what each net learns from, what is kept, and the tables of the figures."""

import dataclasses
import json

import keras
import numpy as np
import pytest

import keras_distill as kd
from benchmarks import by_seed, ensemble_of_ten, regularisers
from benchmarks.answers import accuracy, classes_of
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
    with pytest.raises(ValueError, match="(?s)settings of this run. Received: .*steps.*--work"):
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


@pytest.mark.slow
def test_the_ensemble_teaches_one_net_on_all_digits_without_labels(tmp_path, monkeypatch, eager):
    taught, seen, data = ways.taught, [], data_of((28, 28, 1))

    def spy(store, transfer, setup, seed):
        batches = [batch for batch in transfer[0]]
        seen.append((sum(len(batch[0]) for batch in batches), {batch[1] for batch in batches}))
        return taught(store, transfer, setup, seed)

    monkeypatch.setattr(ways, "net", linear)
    monkeypatch.setattr(ways, "taught", spy)
    setup = ways.Setup(images=40, labelled=20, members=2, alone=SHORT, distilled=SHORT)
    kept, found = run(ensemble_of_ten, setup, data, tmp_path, monkeypatch, [2])
    assert seen == [(40, {None})] * 2 and {len(each) for each in found["accuracy"].values()} == {1}
    members = [kept.model(f"seed-2/member-{number}") for number in range(2)]
    probabilities = sum(keras.ops.softmax(member(data.test[0])).numpy() for member in members)
    right = np.mean(np.argmax(probabilities, -1) == data.test[1])
    assert found["accuracy"][ensemble_of_ten.TOGETHER] == [pytest.approx(right)]
    student = kept.model("seed-2/one_net_taught_by_ten")
    assert found["accuracy"][ensemble_of_ten.BY_TEN] == [accuracy(student, data.test)]


@pytest.mark.slow
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
        "train": [accuracy(soft, (x, y))],
        "test": [accuracy(soft, data.test)],
    }


def test_the_chosen_methods_are_those_that_did_best_for_both_students():
    values = dict(zip(training.FEATURES, ((0.5, 0.1), (0.2, 0.3), (0.4, 0.4), (0.1, 0.2), (0.3, 0.3), (0.0, 0.5))))
    tried = {method: dict(zip(nets.STUDENTS, pair, strict=True)) for method, pair in values.items()}
    assert stages.methods(tried) == ["alone", "kd", "sp", "fitnet", "rkd"]


def test_the_students_are_what_their_names_say():
    resnet, mobilenet = (build() for build in nets.STUDENTS.values())
    kinds = [{type(layer).__name__ for layer in model.layers} for model in (resnet, mobilenet)]
    assert "Add" in kinds[0] - kinds[1] and "DepthwiseConv2D" in kinds[1] - kinds[0]
    pairs = kd.features.pair_layers(nets.teacher(), mobilenet)
    assert len(pairs) == 3 and resnet.count_params() < nets.teacher().count_params() / 8
    # Stem, then each stage: depthwise 3 x 3 on the channels before, 1 x 1 to the new ones; the head.
    stages_of = [(16, 16, 16), (8, 16, 32), (4, 32, 64)]
    expected = 256 * 27 * 16 + sum(side**2 * (9 * old + old * new) for side, old, new in stages_of) + 640
    assert results._cost(mobilenet)["multiply_adds"] == expected


@pytest.fixture(scope="module")
def pair_results(tmp_path_factory):
    """Run the pairs from one end to the other, small nets on 40 pictures, one seed whole and one begun."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kd.data, "load", lambda name, data_dir: data_of((8, 8, 3)))
        patch.setattr(nets, "SHAPE", (8, 8, 3))
        patch.setattr(nets, "teacher", lambda: nets.resnet((4, 8), 1, "teacher"))
        patch.setattr(nets, "STUDENTS", {"mobilenet": lambda: nets.mobilenet((4, 8), 1, "mobilenet")})
        patch.setattr(stages, "FEATURES", ("at", "pkt"))
        patch.setattr(stages, "CHOSEN", 1)
        patch.setattr(training, "COMPILED", {"run_eagerly": True})
        budget = training.Budget(20, 1)
        settings = training.Settings(*[budget] * 3, batch_size=10)
        kept = Kept(tmp_path_factory.mktemp("pairs"), dataclasses.asdict(settings))
        stages.prepare(None, settings, kept)
        stages.train(None, settings, kept, 0)
        kept.model(stages.student_name(1, "mobilenet", "alone"), nets.STUDENTS["mobilenet"])
        yield kept, results.measure(None, settings, kept, range(3))


@pytest.mark.slow
def test_the_pairs_run_from_one_end_to_the_other(pair_results):
    kept, found = pair_results
    x, y = data_of((8, 8, 3)).test
    said = classes_of(kept.model("teacher"), x)
    assert found["teacher"]["accuracy"] == np.mean(said == y)
    methods = found["students"]["mobilenet"]["methods"]
    assert list(methods) == stages.methods(found["choice"]) and set(found["choice"]) == {"at", "pkt"}
    assert {name: [row["seed"] for row in rows] for name, rows in methods.items()} == {
        name: [0, 1] if name == "alone" else [0] for name in methods
    }
    answer = classes_of(kept.model("seed-0/mobilenet_kd"), x)
    assert methods["kd"][0]["accuracy"] == np.mean(answer == y)
    assert methods["kd"][0]["agreement"] == np.mean(answer == said)
    assert json.loads(json.dumps(found)) == found


def test_differences_are_those_of_the_same_seeds():
    rows = [{"seed": seed, "accuracy": value, "agreement": 0.5} for seed, value in ((0, 0.5), (1, 0.7))]
    cost = {"parameters": 1000, "multiply_adds": 2000}
    methods = {"alone": rows, "kd": [{**rows[1], "accuracy": 0.8}], "at": []}
    found = {"teacher": {**cost, "accuracy": 0.9}, "students": {"net": {**cost, "methods": methods}}}
    assert results.rows(found) == [
        ["teacher", "1,000", "2,000", "90.0", "", "", "1"],
        ["net, alone", "1,000", "2,000", "60.0 ± 14.1", "", "50.0 ± 0.0", "2"],
        ["net, kd", "1,000", "2,000", "80.0", "+10.0", "50.0", "1"],
    ]


def test_share_and_table_of_the_ensemble():
    names = (ensemble_of_ten.ALONE, ensemble_of_ten.TOGETHER, ensemble_of_ten.BY_ONE, ensemble_of_ten.BY_TEN)
    found = dict(zip(names, ([0.90, 0.92], [0.94, 0.96], [0.91, 0.93], [0.93, 0.95])))
    assert [row[2:] for row in ensemble_of_ten.rows({"accuracy": found})] == [
        ["91.00 ± 1.41", ""],
        ["95.00 ± 1.41", ""],
        ["92.00 ± 1.41", "0.25"],
        ["94.00 ± 1.41", "0.75"],
    ]


@pytest.mark.parametrize(
    "benchmark", [ensemble_of_ten.BENCHMARK, regularisers.BENCHMARK, PAIRS], ids=lambda each: each.name
)
def test_the_stored_figures_are_printed_as_markdown(benchmark, capsys):
    benchmark.main("", ["--table"])
    head, line, *rows = capsys.readouterr().out.splitlines()
    assert head == "| " + " | ".join(benchmark.columns) + " |"
    found = json.loads((by_seed.RESULTS / f"{benchmark.name}.json").read_text())
    assert [row[2:].split(" | ")[0] for row in rows] == [row[0] for row in benchmark.rows(found)]
    assert len(rows) >= 4 and {row.count("|") for row in (line, *rows)} == {head.count("|")}
    assert found["settings"] == json.loads(json.dumps(dataclasses.asdict(benchmark.settings)))
