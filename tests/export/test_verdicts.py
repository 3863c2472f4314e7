"""A sample of `benchmarks.verdicts`: no wrong file passes, no right file is refused, damaged files are caught.

The judge, `checker`, shares no code with the package; the first tests hold it against outputs made by hand.
"""

import ast
import pathlib

import numpy as np
import pytest

from benchmarks.verdicts import checker, matrix, mutations
from benchmarks.verdicts.exporting import Workplace

RNG = np.random.default_rng(0)
CLASSES = np.repeat([0, 1, 2], [120, 100, 20])
SCORES = 10.0 * np.eye(3)[CLASSES]
YES = np.repeat([0.9, 0.1], [30, 210])[:, None]
NUMBERS = np.stack([RNG.uniform(300, 1100, 240), RNG.uniform(0, 1, 240)], -1)


def test_the_checker_shares_no_code_with_the_package():
    tree = ast.parse(pathlib.Path(checker.__file__).read_text(encoding="utf-8"))
    imported = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    imported += [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert {name.split(".")[0] for name in imported} == {
        "ai_edge_litert", "dataclasses", "numpy", "onnxruntime", "pathlib", "re", "tensorflow", "tflite_micro",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "student", "file", "word"),
    [
        ("classes", SCORES, SCORES + 0.1, "right"),
        ("classes", SCORES, np.where(CLASSES[:, None] == 2, SCORES[:1], SCORES), "wrong"),
        ("classes", SCORES, np.roll(SCORES, 4, axis=0), "between"),
        ("labels", YES, YES - 0.01, "right"),
        ("labels", YES, np.minimum(YES, 0.45), "wrong"),
        ("labels", YES, np.where(np.arange(240)[:, None] < 4, 0.4, YES), "between"),
        ("logits", 10 * YES - 5, 10 * YES - 4.9, "right"),
        ("logits", 10 * YES - 5, 10 * YES - 9.5, "wrong"),
        ("numbers", NUMBERS, NUMBERS + [10, 0.01], "right"),
        ("numbers", NUMBERS, NUMBERS * [1, 0], "wrong"),
        ("numbers", NUMBERS, NUMBERS * [1, 0.1] + [0, 0.45], "wrong"),
        ("numbers", NUMBERS, NUMBERS + [0, 0.05], "between"),
        ("numbers", NUMBERS, np.where(NUMBERS > 1090, np.nan, NUMBERS), "wrong"),
        ("indices", CLASSES.reshape(-1, 4), CLASSES.reshape(-1, 4), "right"),
        ("indices", CLASSES.reshape(-1, 4), np.minimum(CLASSES, 1).reshape(-1, 4), "wrong"),
    ],
)
def test_the_checker_judges_outputs_made_by_hand(kind, student, file, word):
    assert checker.judge({"y": student}, {"y": file}, {"y": kind}, "tflite_int8").word == word


def test_the_checker_expects_more_of_floating_point_and_looks_beyond_the_data():
    student, file = {"y": NUMBERS}, {"y": NUMBERS * 1.01}
    kinds = {"y": "numbers"}
    assert checker.judge(student, file, kinds, "tflite_int8").word == "right"
    assert checker.judge(student, file, kinds, "tflite").word == "between"
    beyond = ({"y": np.ones((4, 2))}, {"y": np.array([[1, 1], [1, np.inf], [1, 1], [1, 1]])})
    assert checker.judge(student, file, kinds, "tflite_int8", beyond).word == "wrong"


@pytest.fixture
def place(tmp_path, converter, server):
    return Workplace(tmp_path, converter, server)


class InProcess:
    """Stands in for `matrix.Judge`: these files crash nothing."""

    run = staticmethod(checker.run)


SAMPLE = {
    "rare_positive_with_glitch": {"tflite": "+", "tflite_int8": "w", "tflite_weights_int8": "+"},
    "units_of_many_scales": {"tflite_int8_float_io": "w", "onnx": "+"},
    "outputs_of_many_scales": {"tflite_int8_float_io": "+", "c_array_int8": "+"},
    "class_map": {"tflite": "+"},
    # Its layers of 1,024 weights are in int8, and it has more weights in smaller ones.
    "causal_attention": {"tflite_dynamic_range": "+"},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLE)
def test_right_files_pass_and_wrong_ones_are_refused(name, place):
    cells = matrix.examine(name, place, InProcess, tuple(SAMPLE[name]))
    assert {format: matrix.mark(cell) for format, cell in cells.items()} == SAMPLE[name], cells


@pytest.mark.slow
def test_damaged_files_with_a_large_effect_are_caught(place):
    files = mutations.list_right(place, ("several_labels", "units_of_one_scale"), ("tflite_int8", "tflite"))
    assert len(files) == 4
    with place.patched():
        rows = [mutations.examine(files, kind, seed, place.folder) for seed in (0, 1) for kind in mutations.KINDS]
        intact = [kept.complain(kept.path, place.folder) for _, kept in files]
    assert intact == [[]] * 4
    missed = [row for row in rows if row["effect"] > mutations.LARGE and not row["complaints"]]
    assert not missed
    assert len({row["kind"] for row in rows if row["effect"] > mutations.LARGE}) >= 6
