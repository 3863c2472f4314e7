"""Keep the nets that a benchmark trains: an interrupted run resumes, and the test split is read only at the end."""

import json
import pathlib
import time

import keras

from keras_distill._core.messages import expected


class Kept:
    """Keep trained nets, and other results, in a folder.

    Args:
        folder: Folder of one run; created if it does not exist.
        settings: What is trained with, a dict for JSON; nets of other settings are never taken for these.

    Raises:
        ValueError: If the folder holds nets of other settings.

    Example:

    >>> import tempfile
    >>> kept = Kept(tempfile.mkdtemp(), {"epochs": 1})
    >>> net = lambda: keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    >>> kept.model("seed-0/small", net).count_params(), kept.model("seed-0/small").count_params(), "other" in kept
    seed-0/small                                 0.0 s of processor
    (3, 3, False)
    """

    def __init__(self, folder, settings):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        path, text = self.folder / "settings.json", json.dumps(settings, indent=1)
        if path.exists() and path.read_text() != text:
            fix = "Name another folder by --work."
            raise ValueError(expected("a folder of nets with the settings of this run", path.read_text(), fix))
        path.write_text(text)

    def __contains__(self, name):
        return self._record(name).exists()

    def model(self, name, train=None):
        """Return the net of a name, trained by `train()` where none is kept."""
        path = self.folder / f"{name}.keras"
        if name not in self:
            start = time.process_time()
            model = train()
            seconds = time.process_time() - start
            path.parent.mkdir(exist_ok=True)
            model.save(path)
            self._write(name, {"seconds": seconds})
            print(f"{name:40}{seconds:8.1f} s of processor", flush=True)
        return keras.saving.load_model(path)

    def facts(self, name, find=None):
        """Return what is kept beside a net, its `seconds` of processor, or what `find()`, kept then, returned."""
        if name not in self:
            self._record(name).parent.mkdir(exist_ok=True)
            self._write(name, find())
            print(f"{name:40}{self.facts(name)}", flush=True)
        return json.loads(self._record(name).read_text())

    def _record(self, name):
        return self.folder / f"{name}.json"

    def _write(self, name, facts):
        # Renamed into its place, and after the net: there is a record exactly when all of it is there.
        beside = self.folder / f"{name}.tmp"
        beside.write_text(json.dumps(facts))
        beside.replace(self._record(name))
