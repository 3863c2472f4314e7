"""`keras-distill benchmark`: compare TFLite files."""

import click

from keras_distill._core.messages import expected
from keras_distill.cli import files as files_
from keras_distill.cli import session


@click.command(
    epilog="Examples: keras-distill benchmark exported/student.tflite exported/student_int8.tflite --data test.npz; "
    "keras-distill benchmark *.tflite --threads 1,2,4 --format markdown"
)
@click.argument("files", nargs=-1, required=True, type=click.Path())
@click.option(
    "--data", type=click.Path(), help="NumPy file (.npz) with x, or an array per input, and, for accuracy, y."
)
@click.option("--threads", default="1,4", show_default=True, help="Numbers of threads to time with.")
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True, help="How often each file is timed.")
@click.option("--format", "style", type=click.Choice(["text", "markdown", "json"]), default="text", show_default=True)
def command(files: tuple[str, ...], data: str | None, threads: str, rounds: int, style: str) -> None:
    """Run TFLite FILES, of any origin, by LiteRT and compare them: size, operators, time, memory.

    With data, compare their outputs with those of the first file and with the labels. Each file runs in a process of
    its own. If one crashes, its row says so and the exit code is 1.
    """
    with session.report_users_errors():
        counts = _counts(threads)
        held = files_.samples(data)
        session.start_tensorflow()
        from keras_distill.export.benchmarking import benchmark

        report = benchmark(files, held, threads=counts, rounds=rounds)
    click.echo({"text": report.__str__, "markdown": report.to_markdown, "json": report.to_json}[style]())
    session.finish(report.passed)


def _counts(text: str) -> list[int]:
    try:
        return [int(word) for word in text.split(",")]
    except ValueError as error:
        raise ValueError(expected("--threads to be numbers, separated by commas", repr(text))) from error
