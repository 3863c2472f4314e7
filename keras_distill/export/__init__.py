"""Write a student to files that other runtimes run, and let no file leave that was not loaded, run and compared."""

from keras_distill.export.benchmarking import benchmark as benchmark
from keras_distill.export.exporter import export as export
from keras_distill.export.formats import FORMATS as FORMATS
from keras_distill.export.gates import TARGETS as TARGETS
from keras_distill.export.preprocessing import Preprocessing as Preprocessing
from keras_distill.export.reporting.benchmark_report import BenchmarkReport as BenchmarkReport
from keras_distill.export.reporting.report import Artifact as Artifact
from keras_distill.export.reporting.report import ExportReport as ExportReport

__all__ = ["FORMATS", "TARGETS", "Artifact", "BenchmarkReport", "ExportReport", "Preprocessing", "benchmark", "export"]
