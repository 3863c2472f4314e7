"""CIFAR-10: a residual teacher, a residual and a depthwise separable student, each alone and by four methods.

    python -m benchmarks.cifar10_pairs --data-dir FOLDER [--work FOLDER] [--seeds 3] [--processes 3] [--quick]
    python -m benchmarks.cifar10_pairs --table                                the JSON file as Markdown

The teacher learns from 20,000 pictures, 6 epochs; each student from the first 10,000 of them, 8 epochs; all of them
moved by up to 3 pixels and mirrored (`kd.data.Batches`). What the methods of one seed see is the same, from the same
first weights. One teacher is shared: the spread is that of the students.

The three feature losses are those of `training.FEATURES` with the best mean validation accuracy of both students, of
one seed, 5,000 pictures and 3 epochs; the validation split is cut from the training data. Nothing else was chosen on
it: temperature and weight of `kd` (4, and 0.1 of hard labels) and weights and layers of the feature losses are those of
public code, or defaults (`benchmarks.cifar10_losses`); Adam, its rate and the cosine are the same for all, and no
better reasoned. `crd` was no candidate: it wants to know the number of each sample, and these batches do not tell. The
test split is read at the end, by what is kept then.

What the table does not show: which method is best. So few seeds, of an untuned budget far too short for any of these
nets to have learnt what it can, show nothing of that; a loss that came last in the choice may come first in a longer
training. Differences within the spread are none.

Cost        10 minutes of processor for teacher and choice, 15 for each seed; --quick --seeds 1: 5 minutes
Expected    test accuracy, the two seeds of benchmarks/results: teacher 64.1 %; residual student alone 51.1 ± 0.6 %, by
            kd 53.3 ± 0.6 %, by the best of the three feature losses 55.3 ± 0.1 %; separable student 46.0 ± 1.5 %,
            47.5 ± 0.5 % and 49.4 ± 0.0 %. The other two feature losses are within the spread of alone
"""

from benchmarks.by_seed import Benchmark
from benchmarks.cifar10_pairs import results, stages
from benchmarks.cifar10_pairs.training import Settings

BENCHMARK = Benchmark(
    "cifar10_pairs",
    Settings(),
    stages.train,
    results.measure,
    results.COLUMNS,
    results.rows,
    stages.prepare,
)

if __name__ == "__main__":
    BENCHMARK.main(__doc__)
