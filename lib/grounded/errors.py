"""What went wrong, in one line: the file, the field, the value found and the value wanted."""


class GroundedError(Exception):
    """Bad input, or a result that must not be used. Its text is made to be shown as it is."""


class StageError(GroundedError):
    """A stage that stopped. Its text names the stage, the run (or model) and the cause."""
