"""The benchmark of teachers: every way trains its nets, on the images and labels that it says."""

import numpy as np
import pytest

from benchmarks.teachers import ways
from benchmarks.teachers.__main__ import share_kept, table
from benchmarks.teachers.cost import multiply_adds

BUDGET = ways.Budget(steps=2, batch_size=20, learning_rate=1e-2)
SETUP = ways.Setup(labelled=8, members=2, alone=BUDGET, distilled=BUDGET)


@pytest.fixture(scope="module")
def task():
    x = np.arange(40, dtype="float32")[:, None, None, None] * np.ones((28, 28, 1), "float32")
    return ways.Task((x / 40, np.arange(40) % 10), SETUP, seed=0)


def test_a_tenth_of_a_mixed_batch_has_labels(task):
    def images(x):
        return {round(40 * float(image[0, 0, 0])) for image in x}

    (x, y), (unlabelled,), (dataset,) = task.labelled, task.unlabelled, task.mixed
    assert [number % 10 for number in map(round, 40 * x[:, 0, 0, 0].astype(float))] == y.tolist()
    assert len(x) == 8 and images(x) | images(unlabelled) == images(task.everything[0]) == set(range(40))
    for batch, labels in dataset:
        known = labels.numpy() >= 0
        assert known.sum() == 2 and images(batch.numpy()[known]) <= images(x)


@pytest.mark.slow
def test_every_way_trains_its_nets(task, monkeypatch):
    monkeypatch.setattr(ways, "COMPILED", {"run_eagerly": True})
    rows = {name: (models, others) for name, models, others, _ in ways.ways(task, SETUP, seed=3)}
    plain, (ensemble,) = rows[ways.ALONE][0], rows[ways.TOGETHER][0]
    assert len(rows) == 9 and list(plain) == list(ensemble.members)
    assert multiply_adds(ensemble) == 2 * multiply_adds(plain[0]) == 2 * (57_600 + 115_200 + 51_200 + 640)
    for name, (models, others) in rows.items():
        if name == ways.TOGETHER:
            continue
        first = 3_000 if name == ways.ALONE else 3_000 + SETUP.members
        for number, model in enumerate(models):
            untrained = ways.net(first + number)
            moved = [np.abs(a - b).max() for a, b in zip(model.get_weights(), untrained.get_weights(), strict=True)]
            assert 0.0 < max(moved) < 0.1, name  # Two steps of Adam at a rate of 0.01, from the right beginning.
        expected = {"student of one": [plain[0]], "two mutual learners": models[::-1]}.get(name, [ensemble])
        assert name == ways.ALONE or list(others) == expected


def test_the_share_is_of_the_means():
    rest = {"agreement": None, "seconds": 2.0, "multiply_adds": 10}
    seeds = [
        {name: {"accuracy": accuracy, **rest} for name, accuracy in zip((ways.ALONE, ways.TOGETHER, "student"), each)}
        for each in ((0.90, 0.92, 0.92), (0.90, 0.94, 0.90))
    ]
    share, shares = share_kept(seeds, "student")
    np.testing.assert_allclose([share, *shares], [1 / 3, 1.0, 0.0], atol=1e-9)
    assert table(seeds)[-1].split() == "student 91.00 ± 1.41 0.33 ± 0.71 2 10".split()
