"""Measure what `DarkKnowledge` at its default rate adds to the training of a distilled MNIST student.

    python -m benchmarks.dark_knowledge --data-dir FOLDER [--out benchmarks/results/dark_knowledge.json]

An epoch trains the recipe's student on the 55,000 training digits in batches of 64, taught by the recipe's teacher,
with validation on 5,000 digits and `keras.callbacks.TensorBoard`. The callback watches those 5,000 digits and draws
twice in 10 epochs; its share falls in longer trainings. Trainings with and without it alternate, in another order in
each round. Times are medians of processor time, which a busy machine disturbs less than clock time. The teacher keeps
its initial weights, which does not change the times. Expected: less than 2 % per epoch, including what happens once per
training. Takes about 6 minutes on 4 cores.
"""

import argparse
import statistics
import tempfile
import time

import keras

from keras_distill.callbacks import DarkKnowledge

ROUNDS, EPOCHS = 3, 10


class Timed(DarkKnowledge):
    """Tell what its own parts take: processor seconds at the begin of the training and for each epoch."""

    def on_train_begin(self, logs=None):
        self.epochs = []
        self.begin = _seconds(super().on_train_begin, logs)

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append(_seconds(super().on_epoch_end, epoch, logs))


def measure(data, rounds, epochs):
    """Train in rounds with and without the callback; return the trainings by kind."""
    from keras_distill.recipes import mnist

    teacher = mnist.teacher()
    _train(data, teacher, 1, watched=True)  # Takes what is loaded once in a process.
    trainings = {"without": [], "with": []}
    for number in range(rounds):
        for kind in sorted(trainings, reverse=bool(number % 2)):
            trainings[kind].append(_train(data, teacher, epochs, watched=kind == "with"))
            print(f"round {number + 1}, {kind}: {trainings[kind][-1]['epoch']:.2f} s of the processor for an epoch")
    return trainings


def summarised(trainings):
    """Return the medians over the rounds, and the callback's share of an epoch."""
    medians = {kind: _median(each["epoch"] for each in rounds) for kind, rounds in trainings.items()}
    watched = trainings["with"]
    own = _median((each["begin"] + sum(each["own"])) / len(each["own"]) for each in watched)
    return {
        "epoch_seconds": medians,
        "begin_seconds": _median(each["begin"] for each in watched),
        "drawing_seconds": _median(second for each in watched for second in each["own"] if second > 0.01),
        "drawings": sum(second > 0.01 for second in watched[0]["own"]),
        "own_seconds_per_epoch": own,
        "own_share_of_an_epoch": own / medians["without"],
        "difference_share_of_an_epoch": medians["with"] / medians["without"] - 1.0,
    }


def _train(data, teacher, epochs, watched):
    import keras_distill as kd
    from keras_distill.recipes import mnist

    keras.utils.set_random_seed(0)
    distiller = kd.Distiller(teacher, mnist.student(), kd.losses.LogitsDistillation(4.0), student_loss_weight=0.1)
    distiller.compile(keras.optimizers.Adam(4e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    options = {"validation_data": data.validation, "validation_batch_size": 500, "batch_size": 64, "verbose": 0}
    with tempfile.TemporaryDirectory() as logs:
        board = keras.callbacks.TensorBoard(logs, write_graph=False)
        own = [Timed(logs, data.validation, class_names=data.class_names)] if watched else []
        seconds = _seconds(distiller.fit, *data.train, epochs=epochs, callbacks=[board, *own], **options)
    parts = {"begin": own[0].begin, "own": own[0].epochs} if watched else {}
    return {"epoch": seconds / epochs, **parts}


def _seconds(function, *arguments, **options):
    start = time.process_time()
    function(*arguments, **options)
    return time.process_time() - start


def _median(values):
    return statistics.median(list(values))


def main():
    """Measure, print the shares, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", help="folder where TensorFlow Datasets has prepared MNIST")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--out", help="JSON file for the figures")
    options = parser.parse_args()
    from keras_distill.data import load

    trainings = measure(load("mnist", data_dir=options.data_dir), options.rounds, options.epochs)
    found = summarised(trainings)
    print(f"its own part: {100 * found['own_share_of_an_epoch']:.2f} % of an epoch")
    print(f"with against without: {100 * found['difference_share_of_an_epoch']:+.2f} % of an epoch")
    if options.out:
        from benchmarks.environment import write

        rounds, epochs = options.rounds, options.epochs
        write(options.out, {"rounds": rounds, "epochs": epochs, "summary": found, "trainings": trainings})


if __name__ == "__main__":
    main()
