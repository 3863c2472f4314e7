"""Flip random bits in the files of stores: each flip is noticed, or changes nothing that a reader returns.

    python -m benchmarks.damage [--flips 20000] [--seed 0] [--out benchmarks/results/damage.json]

The stores are dense with a layer, top-k in eight bits, and of sequences; a fourth one is half written, as a killed
writer leaves it. A flip is `noticed` if opening and reading everything raises a `ValueError`, `harmless` if everything
that is read is the same, and `missed` otherwise. Half of the flips are in manifests, plans and records of shards, the
other half in arrays. Takes 3 to 6 minutes.

Expected: no flip is missed. Those in the records of shards of a finished store are harmless, since readers take them
from the manifest.
"""

import argparse
import collections
import json
import pathlib
import random
import shutil
import tempfile

import numpy as np

EXAMPLES = 60


def main():
    """Flip the bits, print and save the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flips", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", help="JSON file for the figures")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = write_stores(pathlib.Path(folder))
        counts, missed = count_flips(paths, options.flips, options.seed)
    results = {"flips": options.flips, "seed": options.seed, "stores": counts, "missed": missed}
    print(json.dumps(results, indent=1))
    if options.out:
        from benchmarks.environment import write

        write(options.out, results)


def write_stores(folder):
    """Write the stores, and return their paths."""
    import keras

    from keras_distill import targets

    generator = np.random.default_rng(0)
    x = generator.normal(size=(EXAMPLES, 6)).astype("float32")
    keras.utils.set_random_seed(0)
    teacher = keras.Sequential([keras.Input((6,)), keras.layers.Dense(4, name="hidden"), keras.layers.Dense(5)])
    common = {"shard_size": 32, "batch_size": 16, "name": "noise", "class_names": list("abcde")}
    targets.write(teacher, x, folder / "dense", features=["hidden"], **common)
    targets.write(teacher, x, folder / "top_k", dtype="int8", top_k=2, temperatures=(1.0, 4.0), **common)
    tokens = generator.integers(1, 9, (EXAMPLES, 7)) * (np.arange(7) < generator.integers(1, 8, (EXAMPLES, 1)))
    targets.write(
        lambda ids: 3.0 * np.eye(9)[ids], tokens, folder / "sequences", padding=0, batch_size=16, shard_size=32
    )
    shutil.copytree(folder / "top_k", folder / "half")
    unfinish(folder / "half")
    return [folder / name for name in ("dense", "top_k", "sequences", "half")]


def unfinish(path):
    """Make a store one that is half written: the plan in place of the manifest, and the first shard."""
    from keras_distill.targets.store import manifest, records

    plan = manifest.read(str(path))
    for name in ("examples", "error", "shards"):
        del plan[name]
    plan["dataset"] = {"name": plan["dataset"]["name"]}
    records.write(str(path / "plan.json"), plan)
    (path / "manifest.json").unlink()
    shutil.rmtree(path / "shard-00001")


def count_flips(paths, flips, seed):
    """Flip bits one at a time, and return the counts by store and kind of file, and the flips that were missed."""
    generator, counts, missed = random.Random(seed), collections.defaultdict(collections.Counter), []
    before = {path: read(path) for path in paths}
    for number in range(flips):
        path = paths[number % len(paths)]
        files = sorted(path.glob("**/*.json" if number // len(paths) % 2 else "**/*.npy"))
        file, content, place = choose(files, generator)
        changed = bytearray(content)
        changed[place // 8] ^= 1 << place % 8
        file.write_bytes(changed)
        try:
            outcome = "harmless" if same(read(path), before[path]) else "missed"
        except ValueError:
            outcome = "noticed"
        file.write_bytes(content)
        counts[path.name][f"{file.suffix[1:]}: {outcome}"] += 1
        if outcome == "missed":
            missed.append(f"{path.name}/{file.name} bit {place}: {describe(content, changed)}")
    return {name: dict(sorted(each.items())) for name, each in counts.items()}, missed


def choose(files, generator):
    """Return a file, its content and the number of one of its bits; every bit of all files is as likely."""
    contents = [file.read_bytes() for file in files]
    file = generator.choices(range(len(files)), weights=map(len, contents))[0]
    return files[file], contents[file], generator.randrange(8 * len(contents[file]))


def read(path):
    """Return all that a reader, or a writer that resumes, takes from a store."""
    from keras_distill import targets
    from keras_distill.targets.store import manifest, shards

    if (path / "plan.json").exists():
        record = shards.read_record(str(path), 0)
        shard = shards.Shard(str(path), record)
        shard.check_files()
        # A resuming writer keeps the values: the reader of the finished store compares them with this record.
        fields = targets.open(path.parent / "top_k").fields
        arrays = {"keys": shard.keys, **shards.Shard(str(path), record, fields).fields}
        copies = {name: np.array(array) for name, array in arrays.items()}  # The files below a map are about to change.
        return {"plan": manifest.read(str(path), manifest.PLAN), "record": record, **copies}
    store = targets.open(path)
    everything = store[:]
    found = store.index.find(store.keys)
    return {
        "manifest": store.manifest,
        "fingerprint": store.fingerprint,
        "keys": store.keys,
        "found": found,
        **everything,
    }


def same(one, other):
    """Return whether two results of `read` are equal."""
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


def describe(content, changed):
    """Return the place of a change in both versions of a text."""
    at = next(index for index, (one, other) in enumerate(zip(content, changed)) if one != other)
    return f"{bytes(content[at - 20 : at + 10])!r} became {bytes(changed[at - 20 : at + 10])!r}"


if __name__ == "__main__":
    main()
