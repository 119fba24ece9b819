"""What went wrong, in one line: the file, the field, the value found and the value wanted."""


class GroundedError(Exception):
    """Bad input, or a result that must not be used. Its text is made to be shown as it is.

    One fault takes one line. What no terminal shows, found in the input, is shown as its escape.
    """

    def __str__(self) -> str:
        text = super().__str__()
        return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


class StageError(GroundedError):
    """A stage that stopped. Its text names the stage, the run (or model) and the cause."""
