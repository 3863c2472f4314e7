"""Kill a training at many places, also while `keras.callbacks.BackupAndRestore` writes, and compare how it ends.

    python -m benchmarks.kills [--kills 30] [--out benchmarks/results/kills.json]

A training of four epochs is counted first: each batch, each array and file that its backups write, rename or remove.
Then it is killed (SIGKILL) at counts spread over all kinds of these, and each time a new process trains to the end. All
weights, those of the optimizer included, must be those of the training that was never killed, to the bit. Takes about
five seconds a kill.
"""

import argparse
import builtins
import collections
import os
import pathlib
import signal
import sys
import tempfile

import h5py
import keras
import numpy as np
import tensorflow as tf

import keras_distill as kd

EPOCHS, STEPS, BATCH = 4, 3, 8


class Counter:
    """Count what a training does, and kill this process at a count.

    Args:
        kill_at: Count at which to kill. Defaults to `None`, never.
    """

    def __init__(self, kill_at=None):
        self.kill_at, self.places = kill_at, []

    def count(self, place):
        self.places.append(place)
        if len(self.places) == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(self, owner, name, place, before=False):
        """Count the calls of a function, after or before each."""
        function = getattr(owner, name)

        def counted(*args, **kwargs):
            if before:
                self.count(f"before {place}")
            result = function(*args, **kwargs)
            self.count(f"after {place}")
            return result

        setattr(owner, name, counted)

    def watch_writes(self):
        """Count the parts of a backup: its arrays, its files, and how the training removes them."""
        self.watch(h5py.Group, "create_dataset", "an array")
        self.watch(h5py.File, "close", "the end of the weights", before=True)
        self.watch(os, "replace", "a rename", before=True)
        for name in ("unlink", "rmdir"):
            self.watch(os, name, "a removal")
        plain = builtins.open

        def opened(file, mode="r", *args, **kwargs):
            found = plain(file, mode, *args, **kwargs)
            if "w" in mode and str(file).endswith(".json"):
                self.count("after the epoch's file is emptied")
                found.write = self._counted_write(found.write)
            return found

        builtins.open = opened

    def _counted_write(self, write):
        def counted(text):
            done = write(text)
            self.count("after the epoch is buffered")
            return done

        return counted


def distiller():
    def model(width, seed):
        keras.utils.set_random_seed(seed)
        hidden = [keras.layers.Dense(width, "relu"), keras.layers.Dropout(0.2)]
        return keras.Sequential([keras.Input((4,)), *hidden, keras.layers.Dense(3)])

    made = kd.Distiller(model(8, 1), model(4, 2), [kd.losses.LogitsDistillation(4.0), kd.losses.LogitMatching()])
    made.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", run_eagerly=True)
    return made


def train(folder, counter):
    """Train to the end, or to the kill; return all weights."""
    tf.config.experimental.enable_op_determinism()
    x = np.random.default_rng(0).normal(size=(STEPS * BATCH, 4)).astype("float32")
    y = np.argmax(x[:, :3], axis=-1)
    trained = distiller()
    counter.watch_writes()
    batches = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: counter.count("after a batch"))
    schedule = kd.callbacks.TemperatureScheduler(kd.schedules.linear(6.0, 1.0, EPOCHS))
    callbacks = [schedule, keras.callbacks.BackupAndRestore(folder / "backup"), batches]
    trained.fit(x, y, BATCH, epochs=EPOCHS, shuffle=False, callbacks=callbacks, verbose=0)
    return [*trained.get_weights(), *(each.numpy() for each in trained.optimizer.variables)]


def in_process(folder, counter):
    """Train in a process of its own; return how it ended. This process has never run TensorFlow, so it may fork."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 1
    try:
        weights = train(folder, counter)
        np.savez(folder / "weights.npz", *weights)
        (folder / "places.txt").write_text("\n".join(counter.places))
        status = 0
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
    finally:
        os._exit(status)


def weights_in(folder):
    with np.load(folder / "weights.npz") as arrays:
        return [arrays[name] for name in arrays.files]


def same_bits(one, other):
    return len(one) == len(other) and all(a.tobytes() == b.tobytes() for a, b in zip(one, other, strict=True))


def kill_and_resume(folder, kill_at, whole):
    """Return whether a training that is killed at a count ends, in a new process, with the weights of the whole one."""
    folder.mkdir()
    if in_process(folder, Counter(kill_at)) != -signal.SIGKILL:
        return False
    return in_process(folder, Counter()) == 0 and same_bits(whole, weights_in(folder))


def spread(places, kills):
    """Return the counts of so many kills: each kind of place in turn, those where a file is half written first."""
    kinds = collections.defaultdict(list)
    for count, place in enumerate(places, 1):
        kinds[place].append(count)
    first = ["after an array", "after the epoch's file is emptied", "after a rename", "after a removal"]
    order = sorted(kinds, key=lambda kind: (first.index(kind) if kind in first else len(first), kind))
    rounds = -(-kills // len(order))
    nearest = []
    for number in range(rounds):
        for counts in (kinds[kind] for kind in order):
            wanted = np.linspace(counts[-1], counts[0], rounds + 1)[number]
            nearest.append(min(counts, key=lambda count: abs(count - wanted)))
    return nearest[:kills]


def run(folder, kills):
    """Return the place of each kill, and whether the training resumed to equal bits."""
    folder = pathlib.Path(folder)
    (folder / "whole").mkdir()
    assert in_process(folder / "whole", Counter()) == 0
    whole, places = weights_in(folder / "whole"), (folder / "whole" / "places.txt").read_text().splitlines()
    rows = []
    for number, count in enumerate(spread(places, kills)):
        equal = kill_and_resume(folder / str(number), count, whole)
        rows.append({"count": count, "place": places[count - 1], "equal": equal})
    return rows


def main():
    """Kill, print the table, write the file; fail unless all resume."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30, help="number of kills (30)")
    parser.add_argument("--out", help="JSON file for the figures")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = run(folder, options.kills)
    for row in rows:
        print(f"{row['count']:6} {row['place']:40} {'equal bits' if row['equal'] else 'NOT EQUAL'}")
    equal = sum(row["equal"] for row in rows)
    print(f"{equal} of {len(rows)} resume to equal bits; {dict(collections.Counter(row['place'] for row in rows))}")
    if options.out:
        from benchmarks.environment import write

        write(options.out, {"kills": len(rows), "equal": equal, "rows": rows})
    sys.exit(equal != len(rows))


if __name__ == "__main__":
    main()
