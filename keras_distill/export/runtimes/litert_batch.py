"""LiteRT on whole batches: a file whose batch is free must also run with one that is not 1."""

import numpy as np

from keras_distill._core.litert import dequantized
from keras_distill.export.runtimes.litert import LiteRTRuntime


class BatchRuntime(LiteRTRuntime):
    """LiteRT with XNNPACK; the batch is given to it as it comes, and never as one sample alone."""

    def __call__(self, inputs):
        """Run a batch at once."""
        count = len(next(iter(inputs.values())))
        rows = {name: np.concatenate([array, array]) if count == 1 else array for name, array in inputs.items()}
        self.prepared(rows)()
        get = self._interpreter.get_tensor
        return {name: dequantized(get(detail["index"]), detail)[:count] for name, detail in self._outputs.items()}

    def prepared(self, inputs):
        """Return a function of no arguments that runs these inputs and nothing else, for timing."""
        for name, detail in self._inputs.items():
            self._interpreter.resize_tensor_input(detail["index"], inputs[name].shape, strict=True)
        self._interpreter.allocate_tensors()
        return super().prepared(inputs)
