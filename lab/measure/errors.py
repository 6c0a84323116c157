"""The measurements' error, beside those of `lab/errors.py`."""

from lab.errors import LabError


class MeasureError(LabError):
    """A measurement can't be made, or a reply was not right; the text says which."""
