"""The C array of a file: it compiles to the bytes of the file, and damage is detected."""

import hashlib
import shutil
import subprocess

import numpy as np
import pytest

from keras_distill.export.tflite.c_array import ALIGNMENT, read_back, write_c_array

DATA = bytes(4) + b"TFL3" + np.random.default_rng(0).integers(0, 256, 5000, dtype=np.uint8).tobytes()
PROGRAM = """\
#include <cstdint>
#include <cstdio>
#include "digits.h"
#include "digits.h"
static_assert(digits_size == 5008, "the header knows the size at compile time");
int main() {
  if (reinterpret_cast<std::uintptr_t>(digits) % ALIGNMENT != 0) return 3;
  return std::fwrite(digits, 1, digits_size, stdout) == digits_size ? 0 : 4;
}
"""


@pytest.fixture
def source(tmp_path):
    (tmp_path / "model.tflite").write_bytes(DATA)
    return write_c_array(tmp_path / "model.tflite", tmp_path / "digits.cc", name="digits")[0]


def compiled(source):
    if shutil.which("g++") is None:
        pytest.skip("needs g++")
    folder = source.parent
    (folder / "main.cc").write_text(PROGRAM.replace("ALIGNMENT", str(ALIGNMENT)))
    command = ["g++", "-std=c++11", "-Wall", "-Wextra", "-Werror", "main.cc", source.name, "-o", "program"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_the_compiled_array_is_the_file(source):
    done = compiled(source)
    assert done.returncode == 0, done.stderr
    run = subprocess.run([source.parent / "program"], capture_output=True, check=False)
    assert (run.returncode, run.stdout) == (0, DATA)


def test_the_source_reads_back_as_the_file(source):
    assert read_back(source) == DATA
    assert max(map(len, source.read_text().splitlines())) <= 120


def test_both_files_name_the_hash(source):
    assert all(hashlib.sha256(DATA).hexdigest() in path.read_text() for path in (source, source.with_suffix(".h")))


@pytest.mark.parametrize(
    ("old", "new", "received"),
    [
        ("0x54, 0x46", "0x55, 0x46", "5008 bytes where 5008"),
        ("0x54, 0x46", "0x54", "5007 bytes where 5008"),
        ("0x54, 0x46", "0x54, 46", "'46' in the array"),
        ("0x54, 0x46", "0x54, , 0x46", "'' in the array"),
        ("};", "", "not one array"),
        ("SHA-256", "SHA-1", "no line with one SHA-256"),
    ],
)
def test_damage_is_detected(source, old, new, received):
    text = source.read_text()
    source.write_text(text.replace(old, new, 1))
    assert source.read_text() != text
    with pytest.raises(ValueError, match=received):
        read_back(source)


def test_the_compiler_detects_a_lost_byte(source):
    source.write_text(source.read_text().replace("0x54, 0x46", "0x54", 1))
    assert "damaged" in compiled(source).stderr


@pytest.mark.parametrize("name", ["", "2nd", "my-student", "class", "_hidden", "naïve", "a b", None])
def test_invalid_c_names_are_refused(source, name):
    with pytest.raises(ValueError, match="C identifier"):
        write_c_array(source.with_name("model.tflite"), source, name=name)
    assert read_back(source) == DATA


def test_bad_input_destroys_nothing(source):
    model = source.with_name("model.tflite")
    model.write_bytes(b"not a model")
    with pytest.raises(ValueError, match="TFL3"):
        write_c_array(model, source, name="digits")
    model.write_bytes(DATA)
    with pytest.raises(ValueError, match="ends in .cc"):
        write_c_array(model, model)
    assert read_back(source) == DATA
    assert not list(source.parent.glob("*.tmp"))
