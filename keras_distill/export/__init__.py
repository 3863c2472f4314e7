"""Export a student to files for other runtimes; keep only files that another runtime has run and that match it."""

from keras_distill._core.deprecation import renamed as _renamed
from keras_distill.export.benchmarking import benchmark
from keras_distill.export.devices import DEVICES
from keras_distill.export.exporter import export
from keras_distill.export.formats import FORMATS
from keras_distill.export.preprocessing import Preprocessing
from keras_distill.export.reporting.benchmark_report import BenchmarkReport
from keras_distill.export.reporting.report import Artifact, ExportReport
from keras_distill.export.splitting import split_head

__all__ = [
    "DEVICES",
    "FORMATS",
    "Artifact",
    "BenchmarkReport",
    "ExportReport",
    "Preprocessing",
    "benchmark",
    "export",
    "split_head",
]

__getattr__ = _renamed(__name__, {"TARGETS": "keras_distill.export.devices.DEVICES"})
