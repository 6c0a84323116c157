"""Daemons with one bug each: `python -m tests.mutants.NAME …` in place of `-m echod`.

They prove the drills' checker (tests/fleet/test_drills.py): each is caught, by the rule that the
test names.
"""
