"""The benchmark after Hinton et al. 2015: who learns from what, the correction of biases, the limit, the table."""

import json
import statistics
import xml.etree.ElementTree

import keras
import numpy as np
import pytest

import keras_distill as kd
from benchmarks.hinton2015 import limit, results, stages, training
from benchmarks.hinton2015.__main__ import OUT
from benchmarks.hinton2015.offsets import best_offset, errors
from benchmarks.hinton2015.settings import DIGITS, Schedule, Settings, narrow
from benchmarks.hinton2015.table import markdown
from keras_distill.recipes import hinton2015

SHORT = Schedule(1, batch_size=20)
SETTINGS = Settings(
    **dict.fromkeys(("teacher", "alone", "distilled", "without", "few"), SHORT),
    narrow={30: SHORT},
    temperatures={30: (4.0,)},
)
NAMES = ("teacher", *SETTINGS.students())
FITTED = (2, 6)  # The nets with hard labels, and of 30 units.


def split(count, seed):
    """Make images whose first pixels encode their split, with labels 0 to 9 in turn."""
    x = np.random.default_rng(seed).random((count, 28, 28, 1)).astype("float32")
    x[:, 0, 0] = seed
    return x, (np.arange(count) % 10).astype("int32")


@pytest.fixture(scope="module")
def data():
    return kd.data.Data(split(80, 0), split(40, 1), split(60, 2), tuple(map(str, DIGITS)))


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    """Run one seed with a small teacher. Of each net, note what it learns from; fit only two."""
    work, seen, fit = tmp_path_factory.mktemp("work"), [], training._fit

    def noting(model, element, schedule, seed, loss):
        x, y = (np.asarray(part) for part in element[:2])
        seen.append((set(y), set(x[:, 0, 0, 0]), len(element) == 4))
        return fit(model, element, schedule, seed, loss) if len(seen) in FITTED else model

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hinton2015, "teacher", lambda: hinton2015.student(16))
        patch.setattr(training, "_fit", noting)
        stages.Stages(data, SETTINGS, stages.folder_of(work, 0), 0).run()
    return work, dict(zip(NAMES, seen, strict=True))


@pytest.fixture(scope="module")
def folder(run):
    return run[0]


def test_the_teacher_alone_sees_moved_digits_and_moves_them_by_whole_pixels():
    keras.utils.set_random_seed(0)
    move = hinton2015.teacher().layers[0]
    x = np.zeros((2000, 28, 28, 1), "float32")
    x[:, 14, 14] = 1.0
    moved = np.array(move(x, training=True))
    places, counts = np.unique(np.argwhere(moved)[:, 1:3] - 14, axis=0, return_counts=True)
    assert places.min() == -2 and places.max() == 2 and len(places) == 25
    assert set(np.unique(moved)) == {0.0, 1.0} and counts.sum() == 2000
    assert counts.min() > 40 and counts.max() < 130  # 80 of each are expected, with a deviation of 9.
    np.testing.assert_array_equal(move(x, training=False), x)
    layers = {type(layer) for layer in hinton2015.student().layers}
    assert layers == {keras.layers.Flatten, keras.layers.Dense}


def test_shuffled_batches_keep_what_belongs_together():
    x, y = np.arange(10.0), np.arange(10)
    batches = training.shuffled((x, y, None, {"index": y}), 5, seed=0)
    epochs = [[(a.numpy(), b.numpy(), c, d["index"].numpy()) for a, b, c, d in batches] for _ in range(2)]
    for epoch in epochs:
        first = np.concatenate([batch[0] for batch in epoch])
        assert sorted(first) == list(range(10)) and all(batch[2] is None for batch in epoch)
        np.testing.assert_array_equal(first, np.concatenate([batch[1] for batch in epoch]))
        np.testing.assert_array_equal(first, np.concatenate([batch[3] for batch in epoch]))
    assert not np.array_equal(epochs[0][0][0], epochs[1][0][0])


def test_each_net_learns_from_its_transfer_set_alone(run):
    every, both = set(DIGITS), {0.0, 1.0}  # Splits: 0 for training, 1 for validation, 2 for test, which none may see.
    assert run[1] == {
        "teacher": (every, both, False),
        "hard labels": (every, both, False),
        "soft targets": (every, both, True),
        "no 3": (every - {3}, {0.0}, True),
        "7 and 8": ({7, 8}, {0.0}, True),
        narrow(30, 4.0): (every, both, True),
    }


@pytest.mark.parametrize("name", ["hard labels", narrow(30, 4.0)])
def test_it_does_learn(folder, name):
    keras.utils.set_random_seed(0)
    untrained = hinton2015.student(SETTINGS.students()[name].width).get_weights()
    trained = stages.kept_model(stages.folder_of(folder, 0), name).get_weights()
    moved = [np.abs(a - b).max() for a, b in zip(trained, untrained, strict=True)]
    assert 1e-3 < min(moved) and max(moved) < 0.02  # Six steps of Adam, at a rate that falls from 0.001.


def test_a_stopped_run_goes_on_from_what_is_kept(data, folder, monkeypatch):
    trained = []
    place = stages.folder_of(folder, 0)
    model, record = stages.kept_model(place, "hard labels"), place / "hard_labels.json"
    record.unlink()
    monkeypatch.setattr(training, "student_of", lambda student, *rest: trained.append(student) or model)
    monkeypatch.setattr(training, "targets_of", None)
    stages.Stages(data, SETTINGS, place, 0).run()
    assert trained == [SETTINGS.students()["hard labels"]]
    assert record.exists()


def test_a_work_folder_keeps_nets_of_one_set_of_settings(tmp_path):
    for _ in range(2):
        stages.claim(tmp_path / "work", SETTINGS)
    with pytest.raises(ValueError, match="Expected the settings of .* Received: others"):
        stages.claim(tmp_path / "work", Settings())


def test_the_rows_are_errors_of_the_nets_that_are_kept(data, folder):
    found = results.measure(data, SETTINGS, folder, [0])
    rows, (x, y) = found["rows"], data.test
    place = stages.folder_of(folder, 0)
    offset = json.loads((place / "no_3.json").read_text())["offset"]
    for name, bias in (("hard labels", 0.0), ("no 3", 0.0), ("no 3, bias corrected", offset)):
        logits = training.logits_of(stages.kept_model(place, name.split(",")[0]), x)
        wrong = (logits + bias * (np.arange(10) == 3)).argmax(-1) != y
        assert rows[name]["errors"] == [wrong.sum()] and rows[name]["mean"] == wrong.sum()
        assert name == "hard labels" or rows[name]["errors_on_missing"] == [wrong[y == 3].sum()]
    assert list(rows)[:7] == list(results.PUBLISHED) and narrow(30, 4.0) in rows
    assert rows["no 3, bias corrected"]["offset"] == [offset]
    assert found["limit"][-1]["temperature"] == 1000.0


def test_the_offset_is_the_best_of_all():
    generator = np.random.default_rng(0)
    for classes in ([3], [7, 8]):
        y = generator.integers(0, 10, 300)
        logits = generator.normal(size=(300, 10)) + 2.0 * np.eye(10)[y]
        logits[:, classes] -= 1.5
        found = best_offset(logits, y, classes)
        tried = [errors(logits, y, classes, offset) for offset in np.linspace(-8.0, 8.0, 2001)]
        assert errors(logits, y, classes, found) <= min(tried) < errors(logits, y)
        assert 0.5 < found < 2.5


def test_gradient_and_difference_are_one_at_a_high_temperature():
    generator = np.random.default_rng(0)
    teacher, student = 6.0 * generator.normal(size=(2, 50, 10))
    for temperature in (1.0, 20.0):
        p, q = (np.exp(each / temperature) for each in (teacher, student))
        p, q = p / p.sum(-1, keepdims=True), q / q.sum(-1, keepdims=True)
        found = limit.scaled_gradient(teacher, student, temperature)
        np.testing.assert_allclose(found, 10 * temperature * (q - p), rtol=1e-9, atol=1e-9)
    rows = limit.compare(teacher, student + 5.0)  # What a row has in common says nothing.
    apart = [row["relative_difference"] for row in rows]
    assert apart[0] > 0.5 and apart[-1] < 0.01 and apart[-3:] == sorted(apart[-3:], reverse=True)
    assert rows[-1]["correlation"] == pytest.approx(1.0, abs=1e-5)
    # The first thing that is left out is of the order of 1 / T.
    assert apart[-4] / apart[-1] == pytest.approx(10.0, rel=0.1)


def test_the_plot_is_an_svg(tmp_path):
    teacher, student = 6.0 * np.random.default_rng(0).normal(size=(2, 50, 10))
    limit.draw(teacher, student, limit.compare(teacher, student), tmp_path / "limit.svg")
    root = xml.etree.ElementTree.parse(tmp_path / "limit.svg").getroot()
    points = [each for each in root.iter("{http://www.w3.org/2000/svg}use")]
    assert root.tag.endswith("svg") and len(points) > 4 * limit.POINTS
    assert (tmp_path / "limit.svg").stat().st_size < 400_000


def test_the_table_of_the_stored_figures_is_theirs():
    found = json.loads(OUT.read_text())
    lines = markdown(found).splitlines()
    assert len(lines) > 9
    for name, row in found["rows"].items():
        assert row["mean"] == pytest.approx(statistics.mean(row["errors"]))
        assert len(row["errors"]) == len(row["seconds"] if "seconds" in row else row["offset"]), name
    teacher = found["rows"]["teacher"]
    spread = f" ± {statistics.stdev(teacher['errors']):.0f}" if len(teacher["errors"]) > 1 else ""
    assert f"| 67 | {statistics.mean(teacher['errors']):.0f}{spread} | {len(teacher['errors'])} |" in lines[2]
