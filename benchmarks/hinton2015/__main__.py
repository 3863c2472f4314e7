"""Section 3 of Hinton, Vinyals, Dean 2015 on MNIST (arXiv:1503.02531): its errors beside those of this package.

    python -m benchmarks.hinton2015 --data-dir FOLDER --work FOLDER [--seeds 3] [--processes 3] [--out FILE.json]
    python -m benchmarks.hinton2015 --data-dir FOLDER --work FOLDER --quick      does it run? (1.5 minutes)
    python -m benchmarks.hinton2015 --data-dir FOLDER --work FOLDER --choose     what the validation split chose
    python -m benchmarks.hinton2015 --table                                      the JSON file as Markdown

Reached, in the mean of three seeds: the published errors of the transfer sets without 3s and of 7s and 8s, of the
corrected 7 and 8 and, but for a third of an error, of hard labels. Not reached: the teacher's, by more than one error
(68.3 for 67), the soft targets' (90 for 74) and those of the corrected 3 (118 for 109). With 30 units, T of 1 to 4 are
alike and the best, as 2.5 to 4 are in the paper; with 300 units 2.5 is the worst and 8 to 40 are alike, as published.

All choices were made on the validation split, with one seed, and stand under "choices" in the JSON file, those tried by
hand among them; then every net was trained on all 60,000 digits, but the students whose bias is corrected, which never
see the validation split (their teacher has). An earlier form, of one seed and shorter schedules, had read the test
split before (soft targets: 102 errors). Made after that: T = 8 and 60 epochs for the soft targets, by the validation
split alone, and 40 epochs instead of 50 without 3s, for time. The other, longer schedules had been set before.

Differs from the paper: Adam at a falling rate, dropout of 0.1 and 0.3, T = 8 where every digit is seen, and biases
corrected on the validation split, not on the test split. A seed takes 64 to 76 minutes of one thread on a machine busy
with other work, nearly two thirds of it for the teacher; three seeds at a time as long as one.
"""

import argparse
import concurrent.futures
import json
import multiprocessing
import pathlib

import keras_distill as kd
from benchmarks.environment import write
from benchmarks.hinton2015 import choices, results, stages
from benchmarks.hinton2015.settings import Settings
from benchmarks.hinton2015.table import markdown

OUT = pathlib.Path(__file__).parent.parent / "results" / "hinton2015.json"
PLOT = "hinton2015_limit.svg"


def train(options, settings):
    """Train all nets of all seeds, some seeds at a time, a thread each."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(options.processes, mp_context=context) as pool:
        arguments = (options.data_dir, settings, options.work)
        for run in [pool.submit(stages.run_seed, *arguments, seed) for seed in range(options.seeds)]:
            run.result()


def measure(options, settings):
    """Read the test split with all that is trained, print the table, and write file and plot where asked to."""
    data = kd.data.load("mnist", options.data_dir).first(settings.samples)
    found = results.measure(data, settings, options.work, range(options.seeds))
    if options.out:
        write(options.out, found)
        results.of_limit(data, options.work, 0, plot=pathlib.Path(options.out).with_name(PLOT))
    print(markdown(found))


def main():
    """Choose, train, measure or print, as asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir")
    parser.add_argument("--work", help="folder that keeps what is trained: a stopped run goes on from there")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=3, help="seeds at a time")
    parser.add_argument("--train-only", action="store_true", help="learn nothing from the validation split, to the end")
    parser.add_argument("--quick", action="store_true", help="few digits and epochs: does it run?")
    parser.add_argument("--choose", nargs="*", metavar="PART", help="candidates whose names have a part; none: all")
    parser.add_argument("--measure", action="store_true", help="train nothing: measure what is kept")
    parser.add_argument("--table", action="store_true", help="train nothing: print what the JSON file holds")
    parser.add_argument("--out", help="JSON file for the figures; the plot goes beside it")
    options = parser.parse_args()
    if options.table:
        print(markdown(json.loads(pathlib.Path(options.out or OUT).read_text())))
        return
    if not options.work:
        parser.error("--work FOLDER is needed to train and to measure")
    settings = Settings(everything=not options.train_only)
    settings = settings.quickened() if options.quick else settings
    if options.choose is not None:
        choices.choose(options.data_dir, settings, options.work, options.choose)
        return
    stages.claim(options.work, settings)
    if not options.measure:
        train(options, settings)
    measure(options, settings)


if __name__ == "__main__":
    main()
