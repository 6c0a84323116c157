"""The way of a line to the store and back. Each imports those above it.

slots         where a key lives; pure
keys          what a session is called there; routes: rooms' channels; both pure
operations    what is asked of it; pure
batch         which writes share the next round trip; pure
store_client  who asks one thing and is no connection
base          what a store is, and how long it keeps what
committer     the greenlet that carries batch after batch
redis/        the real one; link is its one connection
memory/       the same behaviour without a server, for a daemon alone and for tests
"""
