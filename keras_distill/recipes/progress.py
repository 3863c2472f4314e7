"""What a run tells whoever watches it. The default watches nothing."""


class Progress:
    """Hear of every stage and every training of a run; override what is of interest."""

    def stage(self, title, explanation=""):
        """Hear that a stage begins.

        Args:
            title: What begins, in a few words.
            explanation: What happens in it and why, in plain sentences. Defaults to `""`.
        """

    def training(self, title, epochs):
        """Hear that a training begins.

        Args:
            title: Which model is trained.
            epochs: How many epochs it takes.

        Returns:
            Keras callbacks for it, a list.
        """
        return []

    def note(self, text):
        """Hear a remark on something that was left out, and why."""
