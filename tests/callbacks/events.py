"""TensorBoard's own reader, to read back what a test has written."""

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata as hparams_metadata
from tensorboard.util.tensor_util import make_ndarray


class Events:
    """Read the event files of one run, a folder."""

    def __init__(self, folder):
        self._events = EventAccumulator(str(folder), size_guidance={"tensors": 0})
        self._events.Reload()

    @property
    def tags(self):
        return set(self._events.Tags()["tensors"])

    def tensors(self, tag):
        """Return the tensors of a tag by step."""
        return {event.step: make_ndarray(event.tensor_proto) for event in self._events.Tensors(tag)}

    def scalars(self, tag):
        return {step: float(value) for step, value in self.tensors(tag).items()}

    def histogram(self, tag, step):
        """Return the edges of the buckets and the counts."""
        left, right, counts = self.tensors(tag)[step].T
        return np.append(left, right[-1]), counts

    @property
    def hparams(self):
        """Hyper-parameters of the session, by name."""
        started = hparams_metadata.parse_session_start_info_plugin_data(
            self._plugin_data(hparams_metadata.SESSION_START_INFO_TAG)
        )
        return {name: getattr(value, value.WhichOneof("kind")) for name, value in started.hparams.items()}

    @property
    def status(self):
        """Final status of the session, a constant of the HParams plug-in."""
        content = self._plugin_data(hparams_metadata.SESSION_END_INFO_TAG)
        return hparams_metadata.parse_session_end_info_plugin_data(content).status

    def _plugin_data(self, tag):
        return self._events.SummaryMetadata(tag).plugin_data.content
