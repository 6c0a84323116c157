"""The way of a line to the store and back, in this order.

batch      which writes share the next round trip: pure
committer  the greenlet that drives it
base       what a store is
redis      the real one; link.py is its one connection
memory     the same behaviour without a server, for a daemon alone and for tests
"""
