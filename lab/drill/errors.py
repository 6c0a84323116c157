"""The drills' error, beside those of `lab/errors.py`."""

from lab.errors import LabError


class DrillError(LabError):
    """A drill could not be played; the text says why. That it failed is no error."""
