"""What all tests share: quiet TensorFlow, fixed seeds, small models, and the optional folder of prepared data."""

import gc
import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Each core has a worker of its own: more threads than that would wait for each other, which takes time too.
for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
    os.environ.setdefault(name, "1")

if os.environ.get("KERAS_BACKEND") == "jax":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    # Two devices of one processor, and code that is compiled fast rather than fast code.
    os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=2 --xla_backend_optimization_level=0")

import keras
import numpy as np
import pytest

# What writes files by TensorFlow's converters, or ends in doing so.
collect_ignore = (
    [] if keras.backend.backend() == "tensorflow" else ["cli", "export", "quantization", "recipes", "tutorials"]
)
SHARED = pathlib.Path(__file__).parents[2] / "shared"


def pytest_addoption(parser):
    parser.addoption("--first", action="store_true", help="run the first case of each test that is not slow")


@pytest.hookimpl(tryfirst=True)  # Before pytest-xdist reads the groups.
def pytest_collection_modifyitems(config, items):
    if config.getoption("--first"):
        seen = set()
        items[:] = [item for item in items if not item.get_closest_marker("slow") and _is_new(item, seen)]
    if keras.backend.backend() != "tensorflow":
        for item in items:
            if item.get_closest_marker("tensorflow_only"):
                item.add_marker(pytest.mark.skip(reason="needs the TensorFlow backend"))
    if getattr(config.option, "loadgroup", False):
        _share_out(items)


def _is_new(item, seen):
    test = item.nodeid.split("[")[0]
    return not (test in seen or seen.add(test))


def _share_out(items):
    """Have what shares a fixture run in one worker, which makes it once, and begin with what takes long."""
    slow = set()
    for item in items:
        group = _group(item)
        item.add_marker(pytest.mark.xdist_group(group))
        if item.get_closest_marker("slow"):
            slow.add(group)
    items.sort(key=lambda item: item.get_closest_marker("xdist_group").args[0] not in slow)


def _group(item):
    """The folder or file of the widest fixture of ours; or the file; or the test, where it is slow and shares none."""
    definitions = [each for found in item._fixtureinfo.name2fixturedefs.values() for each in found]
    wide = [each.baseid for each in definitions if each.scope != "function" and each.baseid.startswith("tests")]
    file = item.nodeid.split("::")[0]
    return min(wide, key=len, default=item.nodeid if item.get_closest_marker("slow") else file)


def pytest_collection_finish():
    # What was imported stays to the end: the collector would look through all of it each time, for nothing.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


@pytest.fixture(autouse=True)
def fixed_seed():
    keras.utils.set_random_seed(7)


@pytest.fixture
def shared():
    """The folder of prepared data and conformance vectors that lies beside the checkout, where there is one."""
    if not SHARED.is_dir():
        pytest.skip("needs the folder of prepared data beside the checkout (../shared)")
    return SHARED


@pytest.fixture
def mlp():
    """Make a small dense classifier of 4 features and 3 classes."""

    def make(width=8, head=None, features=4, classes=3, dropout=0.0, name=None):
        layers = [keras.Input((features,)), keras.layers.Dense(width, activation="relu", name="hidden")]
        layers += [keras.layers.Dropout(dropout)] if dropout else []
        return keras.Sequential([*layers, keras.layers.Dense(classes, activation=head, name="head")], name=name)

    return make


@pytest.fixture
def data():
    """A learnable problem: 96 samples of 4 features, 3 classes."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(96, 4)).astype("float32")
    return x, np.argmax(x[:, :3], axis=-1).astype("int32")
