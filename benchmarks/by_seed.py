"""Train seed by seed, keep the nets, read the test split at the end, and print one table."""

import argparse
import concurrent.futures
import dataclasses
import json
import multiprocessing
import pathlib
import tempfile
from collections.abc import Callable

from benchmarks import tables
from benchmarks.environment import write
from benchmarks.kept import Kept
from benchmarks.teachers.cost import one_thread

RESULTS = pathlib.Path(__file__).parent / "results"


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """Say what a benchmark trains, and what of it stands in the table.

    Attributes:
        name: Of its module, and of its JSON file.
        settings: A dataclass of what it trains with, whose `quickened()` is a small form.
        train: `train(data_dir, settings, kept, seed)` trains the nets of one seed, in a process of its own.
        measure: `measure(data_dir, settings, kept, seeds)` reads the test split with the nets that are kept, and
            returns a dict for the JSON file.
        columns: Heads of the table's columns.
        rows: `rows(results)` makes the table's rows, lists of strings, of what the JSON file holds.
        prepare: `prepare(data_dir, settings, kept)` trains what the seeds share, in a process of its own. Defaults to
            `None`, nothing.
    """

    name: str
    settings: object
    train: Callable
    measure: Callable
    columns: list
    rows: Callable
    prepare: Callable | None = None

    def main(self, description, arguments=None):
        """Train, measure and print, as the command line asks."""
        options = _options(description, arguments)
        if options.table:
            results = json.loads((RESULTS / f"{self.name}.json").read_text())
            print(tables.markdown(self.columns, self.rows(results)))
            return
        settings = self.settings.quickened() if options.quick else self.settings
        with tempfile.TemporaryDirectory() as folder:
            kept = Kept(options.work or folder, dataclasses.asdict(settings))
            if not options.measure:
                self._train(options, settings, kept)
            found = self.measure(options.data_dir, settings, kept, range(options.seeds))
        results = {"settings": dataclasses.asdict(settings), **found}
        if options.out:
            write(options.out, results)
        tables.show(self.name, self.columns, self.rows(results))

    def _train(self, options, settings, kept):
        context = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(options.processes, context, initializer=one_thread) as pool:
            if self.prepare:
                pool.submit(self.prepare, options.data_dir, settings, kept).result()
            runs = [pool.submit(self.train, options.data_dir, settings, kept, seed) for seed in range(options.seeds)]
            for run in runs:
                run.result()


def _options(description, arguments):
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir")
    parser.add_argument("--work", help="folder for trained nets, from which an interrupted run resumes")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=1, help="seeds to train at a time, one thread each")
    parser.add_argument(
        "--quick", action="store_true", help="a short run with little data, to check that everything works"
    )
    parser.add_argument("--measure", action="store_true", help="train nothing, and measure the nets in the folder")
    parser.add_argument("--table", action="store_true", help="print the JSON file in benchmarks/results as Markdown")
    parser.add_argument("--out", help="JSON file for the figures")
    return parser.parse_args(arguments)
