"""Who may have what.

files      how many files there are, and those kept for when there is no other
capacity   places, a budget for each kind of socket
sources    bytes a second of an address: pure
unsent     bytes that wait for clients: pure
"""
