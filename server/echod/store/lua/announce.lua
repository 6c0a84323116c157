-- How many members a daemon has in a room: a lease, renewed while there are any.
--   KEYS[1]  p:<room>   KEYS[2]  m:<room>   KEYS[3]  x:<room>
--   ARGV[1]  daemon     ARGV[2]  members    ARGV[3]  life of the announcement, s
--   ARGV[4]  life of the room, s: from its first message on
if ARGV[2] == '0' then
  redis.call('HDEL', KEYS[1], ARGV[1])
  return 1
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[3])
-- A room that somebody is in does not expire. Where nothing was ever said there is nothing to
-- keep, and whoever goes from room to room must not fill the store.
local said = redis.call('EXPIRE', KEYS[3], ARGV[4]) == 1
redis.call('EXPIRE', KEYS[2], said and ARGV[4] or ARGV[3])
return 1
