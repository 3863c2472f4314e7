"""Converting in a process of its own: some graphs crash the converter, others keep it busy for ever."""

import pathlib

from keras_distill.export.processes import Process


class Converter(Process):
    """A process that runs what is in `functions`.

    Starting costs an import of TensorFlow, seconds; so the formats of one export share a process until one crashes.
    """

    def __init__(self, work, time_limit=600.0, module="keras_distill.export.conversion.functions"):
        """Keep the process's log in the folder `work`; stop conversions that take longer than `time_limit` seconds."""
        super().__init__(module, pathlib.Path(work) / "conversion.log", time_limit)
