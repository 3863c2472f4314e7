"""Distil a residual CIFAR-10 teacher into a residual and a depthwise separable student, by four methods and alone.

    python -m benchmarks.cifar10_pairs --data-dir FOLDER [--work FOLDER] [--seeds 3] [--processes 3] [--quick]
    python -m benchmarks.cifar10_pairs --table                                the JSON file as Markdown

The teacher trains on 20,000 images for 6 epochs, each student on the first 10,000 of them for 8 epochs. All images are
shifted by up to 3 pixels and mirrored (`kd.data.Batches`). All methods of one seed see the same batches and start from
the same weights. They share one teacher, so the spread is that of the students.

The three feature losses are those of `training.FEATURES` with the best mean validation accuracy of both students, with
one seed, 5,000 images and 3 epochs; the validation split is cut from the training data. No other choice was made on it:
the temperature and weight of `kd` (4, and 0.1 for hard labels) and the weights and layers of the feature losses are
those of public code, or defaults (`benchmarks.cifar10_losses`). Adam, its learning rate and the cosine are the same for
all, and untuned. `crd` was not a candidate, because it needs the index of each sample, which these batches do not have.
The test split is read at the end, by the nets that are kept.

The table does not show which method is best. There are few seeds, nothing is tuned, and the budget is far too short for
any of these nets to reach its accuracy; a loss that came last in the choice may come first in a longer training.
Differences within the spread over seeds are noise.

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
