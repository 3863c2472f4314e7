"""Measure times robustly on a busy machine: short interleaved rounds, processor time, medians of ratios."""

import os
import statistics
import time


def limit_threads(count):
    """Let TensorFlow use so many threads, so that processor time and wall time tell the same. Before its first use."""
    for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"):
        os.environ[name] = str(count)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def interleaved(steps, rounds, calls=1):
    """Time functions in turn.

    Args:
        steps: Dict of name to function of no arguments; each is called once before the first round.
        rounds: Number of rounds.
        calls: Calls of a function in its turn.

    Returns:
        A dict of name to a list of `(processor seconds, wall seconds)` of one call, by round.
    """
    for step in steps.values():
        step()
    found = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            processor, wall = time.process_time(), time.perf_counter()
            for _ in range(calls):
                step()
            found[name].append(((time.process_time() - processor) / calls, (time.perf_counter() - wall) / calls))
    return found


def milliseconds(times, clock=0):
    """Return the median in milliseconds, of processor time or, with `clock=1`, of wall time."""
    return 1e3 * statistics.median(each[clock] for each in times)


def ratio(times, name, *bases, clock=0):
    """Return the median over the rounds of the time of one function relative to the sum of others."""
    rounds = zip(times[name], *(times[base] for base in bases), strict=True)
    return statistics.median(one[clock] / sum(each[clock] for each in others) for one, *others in rounds)


def stepping(model, dataset):
    """Return a function that runs one execution of a compiled model's training, as `fit` does, and waits for it."""
    model.optimizer.build(model.trainable_variables)
    model.make_train_function()
    batches = iter(dataset.repeat().prefetch(2))

    def step():
        return {name: float(value) for name, value in model.train_function(batches).items()}

    return step
