"""The experiments' error, beside those of `lab/errors.py`."""

from lab.errors import LabError


class ExperimentError(LabError):
    """An experiment can't be run here, or a part of it failed; the text says which."""
