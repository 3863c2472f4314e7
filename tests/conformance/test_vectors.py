"""The losses pass the conformance vectors, and the runner detects wrong results."""

import numpy as np
import pytest

from keras_distill.losses import METHODS
from tests.conformance.handlers import HANDLERS, WITHOUT_VECTORS
from tests.conformance.runner import check_file, check_folder


def test_every_method_has_its_handler():
    assert not HANDLERS.keys() & WITHOUT_VECTORS
    assert HANDLERS.keys() | WITHOUT_VECTORS == METHODS.keys()


@pytest.mark.slow
@pytest.mark.parametrize("method", HANDLERS)
def test_vectors(shared, method):
    results = check_file(shared / "conformance" / f"{method}.npz")
    assert results and not {case: misses for case, misses in results.items() if misses}


def kd_vectors(**changes):
    """Return one case of `kd`, computed by its formula, with some arrays changed."""
    generator = np.random.default_rng(0)
    v, z = generator.normal(size=(2, 4, 5))
    p, q = (np.exp(each / 2.0) / np.exp(each / 2.0).sum(-1, keepdims=True) for each in (v, z))
    case = {"teacher_logits": v, "student_logits": z, "temperature": np.array(2.0)}
    case |= {"loss": np.array(4 * np.mean(np.sum(p * np.log(p / q), -1))), "grad_student_logits": 2 * (q - p) / 4}
    return {"cases": np.array(["base"]), **{f"base/{key}": array for key, array in {**case, **changes}.items()}}


@pytest.mark.parametrize(
    "name, changes, said",
    [
        ("kd", {}, "2 of 2 passed, 1 files"),
        ("kd", {"loss": np.array(1.0)}, "loss: "),
        ("kd", {"grad_student_logits": np.zeros((4, 5))}, "grad_student_logits: "),
        ("kd", {"grad_student_logits": np.zeros((4, 6))}, "has shape (4, 5), not (4, 6)"),
        ("kd", {"loss": np.array(np.nan)}, "loss: "),
        ("kd", {"loss_other": np.array(1.0)}, "loss_other was not checked"),
        ("kd", {"temperature": np.array(-1.0)}, "ValueError: Expected a finite temperature"),
        ("unheard_of", {}, "no handler for this method"),
    ],
)
def test_the_runner_tells_right_from_wrong(tmp_path, name, changes, said):
    np.savez(tmp_path / f"{name}.npz", **kd_vectors(**changes))
    report = []
    assert check_folder(tmp_path, report.append) == (not changes and name == "kd")
    assert said in "\n".join(report)


def test_an_empty_folder_fails(tmp_path):
    assert not check_folder(tmp_path, print)


def test_files_of_another_form_fail(tmp_path):
    (tmp_path / "kd.npz").write_bytes(b"nothing")
    np.savez(tmp_path / "rkd.npz", a=np.zeros(3))
    report = []
    assert not check_folder(tmp_path, report.append)
    assert report[-1] == "0 of 4 passed, 2 files" and "the file in float64" in "".join(report)
