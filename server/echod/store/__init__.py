"""The way of a line to the store and back, in this order.

keys         what a session is called there; operations: what is asked of it; both pure
batch        which writes share the next round trip: pure
committer    the greenlet that drives it
base         what a store is
redis/       the real one; link is its one connection
memory/      the same behaviour without a server, for a daemon alone and for tests
"""
