"""The way of a line to the store and back. Each imports those above it.

slots         where a key lives; pure
keys          what a session is called there; routes: rooms' channels; both pure
operations    what is asked of it; pure
batch         which writes share the next round trip; pure
store_client  who asks one thing and is no connection
base          what a store is, where its shards are, and how long it keeps what
topology      which shard has which slots, as nodes say; pure
shard         the greenlet that carries batch after batch to one shard
committer     what is asked of the store, and of which shard
redis/        the real one: link is a connection, door and cluster find where it leads to
memory/       the same behaviour without a server, for a daemon alone and for tests
"""
