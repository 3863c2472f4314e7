"""Compare ways to teach one small MNIST student: what each teacher and transfer set brings, and what it costs.

    python -m benchmarks.teachers --data-dir FOLDER [--seeds 3] [--processes 1] [--only accuracy|cost] [--quick]

As in section 4 of Hinton, Vinyals, Dean 2015, the teachers are nets of the student's own architecture: a plain student
is one of them, trained alone. Of 55,000 training images, 1,000 have labels; the seed draws them, for all rows alike.

one teacher, a plain student     1,000 labelled images; the mean of the five members
ensemble of five                 five of these from different initial weights, the mean of their probabilities
student of one, of five          soft targets alone, on all 55,000 images
unlabelled images only           soft targets alone, on the 54,000 that the teachers never saw
10 % with labels                 batches of which 10 % are labelled images, the rest unlabelled ones (`kd.data.mix`);
                                 soft targets on all, and hard labels on the labelled ones
labelled images only             the teachers' 1,000 images, both kinds of targets, as many steps as a plain student
by an assistant                  five teach an assistant of twice the width, and it the student (`kd.stages.chain`)
two mutual learners              the batches of "10 % with labels", without another teacher; the mean of the two

The share kept is (student - plain) / (ensemble - plain), from the mean accuracies over the seeds, ± the standard
deviation of the shares of single seeds. Agreement is with the teacher, or with the ensemble for an assistant's student.
CPU s is the training of the row on one thread, with its teachers' forward passes but without their training.
Multiply-adds are those of the trained model for one image.

Labels, widths, rates, steps and temperature were chosen on the validation split, which is cut from the training data,
in short trials of one or two seeds. Narrower nets kept less of the improvement, and with more labels it was smaller.
The test split is read once, at the end.

Cost        11 minutes of processor time per seed; --quick: 1 minute, with figures that mean nothing
Expected    test accuracy, three seeds: plain student 93.4 %, ensemble 94.3 %, student of five 94.2 ± 0.1 %, which is
            0.94 of the improvement; of the labelled images only 0.24. One teacher on the same 55,000 images gives
            0.47 ± 0.40, two mutual learners 0.92 ± 0.55. Three seeds cannot tell these from the others. An
            ensemble's
            forward pass takes 0.98 to 1.02 times its members'; single runs on a busy machine vary by a tenth.
"""

import argparse
import concurrent.futures
import dataclasses
import multiprocessing
import statistics

import numpy as np

from benchmarks.environment import write
from benchmarks.teachers.cost import forward_cost, one_thread
from benchmarks.teachers.ways import ALONE, TOGETHER, Setup, measure_seed


def share_kept(seeds, name):
    """Return the share of the ensemble's improvement over a plain student: of the mean accuracies, and seed by seed."""
    plain, ensemble, student = (np.array([rows[row]["accuracy"] for rows in seeds]) for row in (ALONE, TOGETHER, name))
    whole, kept = ensemble - plain, student - plain
    return float(kept.mean() / whole.mean()), (kept / whole).tolist()


def table(seeds):
    """Write the rows as lines: means over the seeds, with their standard deviations."""
    lines = [f"{'':42}{'accuracy %':>14}{'agreement %':>14}{'share kept':>14}{'CPU s':>8}{'multiply-adds':>15}"]
    for name in seeds[0]:
        each = {key: [rows[name][key] for rows in seeds] for key in seeds[0][name]}
        accuracy = _spread([100 * value for value in each["accuracy"]])
        agreement = "" if each["agreement"][0] is None else f"{100 * statistics.mean(each['agreement']):.2f}"
        share, shares = share_kept(seeds, name)
        kept = _spread(shares, share) if name not in (ALONE, TOGETHER) else ""
        last = f"{statistics.mean(each['seconds']):8.0f}{each['multiply_adds'][0]:15,}"
        lines.append(f"{name:42}{accuracy:>14}{agreement:>14}{kept:>14}{last}")
    return lines


def _spread(values, mean=None):
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values) if mean is None else mean:.2f} ± {deviation:.2f}"


def main():
    """Time an ensemble beside its members, train all ways seed by seed, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=1, help="seeds to train at a time")
    parser.add_argument("--split", choices=("validation", "test"), default="test")
    parser.add_argument("--only", choices=("accuracy", "cost"))
    parser.add_argument("--quick", action="store_true", help="few steps, to check that it runs")
    parser.add_argument("--out", help="JSON file for the figures")
    options = parser.parse_args()
    setup = Setup().quickened() if options.quick else Setup()
    results = {"settings": {**dataclasses.asdict(setup), "split": options.split, "seeds": options.seeds}}
    if options.only != "accuracy":
        one_thread()
        results["cost"] = forward_cost(rounds=11 if options.quick else 151)
        print(results["cost"])
    if options.only != "cost":
        context = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(options.processes, mp_context=context) as pool:
            runs = [
                pool.submit(measure_seed, options.data_dir, setup, seed, options.split) for seed in range(options.seeds)
            ]
            results["accuracy"] = [run.result() for run in runs]
        results["share_kept"] = {name: share_kept(results["accuracy"], name)[0] for name in results["accuracy"][0]}
        print("\n".join(table(results["accuracy"])))
    if options.out:
        write(options.out, results)


if __name__ == "__main__":
    main()
