-- A session ends for good, at its owner's word (PROTOCOL §2.4). Of its record a tombstone
-- stays for a moment: the same call again, because its answer was lost, is known by it.
--   KEYS[1]  the record     KEYS[2]  the state
--   ARGV[1]  the owner      ARGV[2]  life of the tombstone, ms
-- Returns 1; 0 if it is not, or no longer, this owner's. The same call again finds its own
-- tombstone, and returns 1.
if redis.call('DEL', KEYS[2]) == 0 and redis.call('HGET', KEYS[1], 'ended') ~= ARGV[1] then
  return 0
end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'ended', ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
