-- A session's owner leaves a room: nothing that was sent in its name posts there any more (ADR 22).
-- Of its fence stays what an earlier owner's late Enter is held against: or that would open the
-- room to an owner who has gone.
--   KEYS[1]  i:{<room>}:<sender>: at 0, its fence   ARGV[1]  the fence
--   ARGV[2]  life of what stays, ms, where the sender has posted nothing
-- Returns 1; 0 if it is not, or no longer, this owner who has joined.
if redis.call('ZREM', KEYS[1], ARGV[1]) == 0 then
  return 0
end
redis.call('ZADD', KEYS[1], 0, string.match(ARGV[1], '^%d+:%d+:'))
if #redis.call('ZRANGE', KEYS[1], 0, 1) == 1 then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 1
