"""The files committed in `saved_models/`: they match their manifest in content and accuracy."""

import hashlib
import json
import pathlib

import pytest

from keras_distill import data
from keras_distill.export.formats import FORMATS
from keras_distill.export.runtimes.remote import RemoteRuntime

FOLDER = pathlib.Path(__file__).parents[2] / "saved_models" / "digits"
MANIFEST = json.loads((FOLDER / "export.json").read_text(encoding="utf-8"))
ROWS = {row["format"]: row for row in MANIFEST["artifacts"]}


def test_the_files_are_those_of_the_manifest():
    held = {file.relative_to(FOLDER).as_posix(): file.read_bytes() for file in FOLDER.rglob("*") if file.is_file()}
    del held["export.json"]
    listed = {name: entry["sha256"] for name, entry in MANIFEST["files"].items()}
    assert {name: hashlib.sha256(content).hexdigest() for name, content in held.items()} == listed


def test_every_format_is_there():
    assert set(ROWS) == set(FORMATS) and all(row["status"] == "passed" for row in ROWS.values())


@pytest.mark.parametrize("name", sorted(set(FORMATS)))
def test_a_committed_file_has_the_accuracy_of_the_manifest(name, tmp_path):
    images, labels = data.digits().test
    with RemoteRuntime(FORMATS[name].runtime, FOLDER / ROWS[name]["path"], tmp_path) as runtime:
        (answers,) = runtime({MANIFEST["inputs"][0]["name"]: images}).values()
    # Single answers may differ on other processors.
    assert (answers.argmax(-1) == labels).mean() == pytest.approx(ROWS[name]["accuracy"], abs=0.011)
