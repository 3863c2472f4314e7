"""Compare the time of a training step on two replicas of one CPU with that on one device, for the same batches.

    python -m benchmarks.distribution [--out benchmarks/results/distribution.json]

A student and a teacher of three dense layers, batches of 256, 32 steps per execution, no XLA on either side; medians of
interleaved epochs. Two logical devices share one CPU's cores, so this is what a strategy costs, not what it gains.
Takes about a minute on 4 cores. Expected: a step takes two to three times as long.
"""

import argparse
import statistics
import time

STEPS, BATCH, ROUNDS = 128, 256, 7


def _distiller(strategy):
    import keras

    import keras_distill as kd

    def model(width):
        layers = [keras.layers.Dense(width, activation="relu") for _ in range(2)]
        return keras.Sequential([keras.Input((64,)), *layers, keras.layers.Dense(10)])

    with strategy.scope():
        distiller = kd.Distiller(model(512), model(128), kd.losses.LogitsDistillation(temperature=4.0))
        loss = "sparse_categorical_crossentropy"
        distiller.compile("adam", loss, metrics=["accuracy"], steps_per_execution=32, jit_compile=False)
    return distiller


def measure():
    """Return the medians in milliseconds a step, and their ratio."""
    import numpy as np

    from keras_distill import distribution

    strategies = {"two replicas": distribution.strategy("mirrored", devices=2), "one": distribution.strategy("none")}
    generator = np.random.default_rng(0)
    x = generator.normal(size=(STEPS * BATCH, 64)).astype("float32")
    y = generator.integers(0, 10, len(x))
    distillers = {name: _distiller(strategy) for name, strategy in strategies.items()}
    times = {name: [] for name in distillers}
    for epoch in range(ROUNDS + 1):
        for name, distiller in distillers.items():
            start = time.perf_counter()
            distiller.fit(x, y, batch_size=BATCH, shuffle=False, verbose=0)
            if epoch:  # The first one traces.
                times[name].append((time.perf_counter() - start) / STEPS * 1e3)
    medians = {name: statistics.median(each) for name, each in times.items()}
    return {"milliseconds": medians, "ratio": medians["two replicas"] / medians["one"]}


def main():
    """Measure, print and write."""
    from benchmarks.environment import write

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default="benchmarks/results/distribution.json")
    out = parser.parse_args().out
    results = measure()
    print(results)
    write(out, results)


if __name__ == "__main__":
    main()
