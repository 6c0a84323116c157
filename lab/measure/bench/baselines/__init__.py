"""The servers that echod is measured against, each a program of its own (PROTOCOL §1.1 to §1.4).

Each is what a competent author would write in an hour with that library, right in the
basic cases and without the limits, metrics and errors of a daemon. `python FILE [redis://…]`
takes a free port, and prints a ready line with it. Nothing imports them; `rows.py` names them.
"""
