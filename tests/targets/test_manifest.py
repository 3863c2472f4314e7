"""What a manifest says is checked: against its checksum, against itself, and against the arrays."""

import json
import pathlib
import random
import re
import shutil

import numpy as np
import pytest

from keras_distill import targets
from keras_distill.targets.store import fingerprints, keys, manifest, records, shards
from tests.targets.test_damage import snapshot


def edit(path, change, checksum="old"):
    """Change a manifest: leave its checksum, write a new one, or none as version 0.1.0."""
    file = pathlib.Path(path) / "manifest.json"
    record = json.loads(file.read_text())
    change(record)
    if checksum != "old":
        record.pop("checksum", None)
    if checksum == "new":
        record["checksum"] = fingerprints.hash_json(record)
    file.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")


def put(*names, value):
    """Return a change of one entry."""

    def change(record):
        for name in names[:-1]:
            record = record[name]
        record[names[-1]] = value

    return change


def drop(name):
    return lambda record: record.pop(name)


@pytest.fixture(scope="module")
def written(teacher, dataset, tmp_path_factory):
    path = tmp_path_factory.mktemp("stores") / "described"
    options = {"preprocessing": "x / 255", "class_names": list("abcde"), "shard_size": 32}
    return targets.write(teacher, dataset, path, **options).path


@pytest.fixture
def copy(written, tmp_path):
    """Return the path of a copy of the store, for one test alone."""
    return shutil.copytree(written, tmp_path / "copy")


@pytest.mark.parametrize(
    "change",
    [
        put("encoding", "temperatures", value=[3.0]),
        put("encoding", "classes", value=7),
        put("class_names", 0, value="A"),
        put("preprocessing", value="x / 127"),
        put("teacher", "weights", value="0" * 64),
        put("shards", 1, "error", value=0.5),
        put("other", value=None),
        drop("shard_size"),
    ],
)
def test_every_change_of_an_entry_is_noticed(change, copy):
    edit(copy, change)
    with pytest.raises(ValueError, match="to match its checksum. Received: checksum .* The store is damaged"):
        targets.open(copy)


def test_a_checksum_cannot_be_lost(copy):
    text = (copy / "manifest.json").read_text()
    (copy / "manifest.json").write_text(text.replace('"checksum"', '"chdcksum"'))
    with pytest.raises(ValueError, match="with a checksum. Received: none, and the entry 'chdcksum'"):
        targets.open(copy)


WRONG = {
    "a shard outside the folder": (put("shards", 0, "name", value="../other/shard-00000"), "the name of a shard"),
    "a shard twice": (put("shards", 1, "name", value="shard-00000"), "the name of a shard"),
    "a file outside the folder": (
        lambda record: record["shards"][0]["files"].update({"../values": record["shards"][0]["files"].pop("values")}),
        "the files of a shard",
    ),
    "more examples": (put("examples", value=101), "examples 101 in place of 100"),
    "more examples in a shard": (put("shards", 0, "examples", value=33), "examples 100 in place of 101"),
    "no examples in a shard": (put("shards", 3, "examples", value=0), "examples to be a whole number >= 1"),
    "more classes": (put("encoding", "classes", value=7), "fields .* in place of"),
    "other fields": (put("fields", "values", value=["float32", [5]]), "fields .* in place of"),
    "more views": (put("replay", value={"views": 3}), "examples without a view"),
    "too few class names": (put("class_names", value=["a"]), "the number of class names 1 in place of 5"),
    "an unknown kind of key": (put("key", "kind", value="contend"), "the kind of the key"),
    "no digest": (put("shards", 0, "files", "keys", "sha256", value="x" * 64), "in place of a digest"),
    "no entry": (drop("dataset"), "no entry 'dataset'"),
    "no encoding": (put("encoding", value=3), "'int' object"),
    "another error": (put("error", value=2.0), "error 2.0 in place of"),
}


@pytest.mark.parametrize("checksum", ["new", "none"])
@pytest.mark.parametrize("name", WRONG)
def test_entries_must_fit_each_other_whatever_the_checksum(name, checksum, copy):
    change, words = WRONG[name]
    edit(copy, change, checksum)
    with pytest.raises(ValueError, match=f"manifest.json to describe a store. Received: .*{words}"):
        targets.open(copy)


@pytest.mark.parametrize("checksum", ["new", "none"])
def test_entries_must_fit_the_arrays(checksum, copy):
    edit(copy, put("dataset", "keys", value=keys.digest(np.zeros((1, 2)))), checksum)
    store = targets.open(copy)
    assert store[:]["values"].shape == (100, 5)
    for _ in range(2):
        with pytest.raises(ValueError, match="the keys that .* was written with. Received: other keys"):
            _ = store.keys
    with pytest.raises(ValueError, match="other keys"):
        targets.open(copy, check="all")

    def add_a_class(record):
        record["fields"]["values"], record["encoding"]["classes"] = ["float16", [6]], 6
        record["class_names"] = None

    edit(copy, add_a_class, checksum)
    with pytest.raises(ValueError, match=r"values.npy to hold float16 \(32, 6\). Received: float16 \(32, 5\)"):
        targets.open(copy)[:]


def test_a_manifest_without_a_checksum_is_that_of_an_older_version(fresh):
    store = fresh()
    edit(store.path, lambda record: None, "none")
    older = targets.open(store.path, check="all")
    assert older.fingerprint == store.fingerprint
    np.testing.assert_array_equal(older[:]["values"], store[:]["values"])
    before = snapshot(store.path)
    assert len(fresh()) == 100  # The same call finds it finished, and leaves it as it is.
    assert snapshot(store.path) == before


def flip_bits(path, count, read):
    """Flip bits of a file one at a time, and return those after which `read` returns something else."""
    content, before, generator, missed = path.read_bytes(), read(), random.Random(1), []
    for place in generator.sample(range(8 * len(content)), count):
        changed = bytearray(content)
        changed[place // 8] ^= 1 << place % 8
        path.write_bytes(changed)
        try:
            if read() != before:
                missed.append(place)
        except ValueError as error:
            assert str(path.parent.name) in str(error)
        except FileNotFoundError:
            pytest.fail(f"bit {place} leads elsewhere")
    path.write_bytes(content)
    return missed


def test_plans_and_records_of_an_unfinished_store_are_checked_too(fresh):
    path = pathlib.Path(fresh().path)
    plan = {name: value for name, value in manifest.read(str(path)).items() if name not in ("shards", "examples")}
    records.write(str(path / "plan.json"), plan)
    assert not flip_bits(path / "plan.json", 150, lambda: manifest.read(str(path), "plan.json"))
    assert not flip_bits(path / "shard-00000" / "shard.json", 150, lambda: shards.read_record(str(path), 0))
    changed = re.sub('"examples": 32', '"examples": 36', (path / "shard-00001" / "shard.json").read_text())
    (path / "shard-00001" / "shard.json").write_text(changed)
    (path / "manifest.json").unlink()
    records.write(str(path / "plan.json"), {**plan, "dataset": {"name": None}})
    with pytest.raises(ValueError, match="shard.json to match its checksum"):
        fresh()
