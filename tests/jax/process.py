"""One of several processes that train together: `python -m tests.jax.process ADDRESS COUNT NUMBER FILE`."""

import sys

import keras
import numpy as np


def main(address, count, number, file):
    keras.distribution.initialize(address, int(count), int(number))
    keras.distribution.set_distribution(keras.distribution.DataParallel(auto_shard_dataset=False))
    from tests.jax import scenarios  # Its package makes variables of the distribution.

    scenarios.PROCESSES[:] = int(number), int(count)
    found = {name: scenarios.SCENARIOS[name](None) for name in ("soft_targets", "feature_losses")}
    np.savez(file, **{f"{name}: {what}": values for name, each in found.items() for what, values in each.items()})


if __name__ == "__main__":
    main(*sys.argv[1:])
