"""The interface by which a run reports its progress. The default ignores it."""

from typing import Any


class Progress:
    """Receive every stage and every training of a run. Override the methods that you need."""

    def stage(self, title: str, explanation: str = "") -> None:
        """Receive the beginning of a stage.

        Args:
            title: Title of the stage, a few words.
            explanation: What happens in the stage and why, in full sentences. Defaults to `""`.
        """

    def training(self, title: str, epochs: int) -> list[Any]:
        """Receive the beginning of a training.

        Args:
            title: Which model is trained.
            epochs: Number of epochs.

        Returns:
            List of Keras callbacks for the training.
        """
        return []

    def note(self, text: str) -> None:
        """Receive a remark on a part that was left out, and why."""
