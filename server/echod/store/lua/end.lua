-- A session ends for good, at its owner's word (PROTOCOL §2.4). The record stays a while as
-- a tombstone: it tells an earlier owner that comes back what has happened.
--   KEYS[1]  the record     KEYS[2]  the state
--   ARGV[1]  the owner      ARGV[2]  life of the tombstone, s
-- Returns 1; 0 if it is not, or no longer, this owner's. The same call again finds its own
-- tombstone, and returns 1.
if redis.call('DEL', KEYS[2]) == 0 and redis.call('HGET', KEYS[1], 'ended') ~= ARGV[1] then
  return 0
end
redis.call('HSET', KEYS[1], 'ended', ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[2])
return 1
