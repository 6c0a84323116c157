-- How many members a daemon has in a room: a lease, renewed while there are any.
--   KEYS[1]  p:<room>   KEYS[2]  m:<room>   KEYS[3]  x:<room>
--   ARGV[1]  daemon     ARGV[2]  members    ARGV[3]  life of the announcement, s
--   ARGV[4]  life of the room, s
if ARGV[2] == '0' then
  redis.call('HDEL', KEYS[1], ARGV[1])
  return 1
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[3])
-- A room that somebody is in does not expire.
redis.call('EXPIRE', KEYS[2], ARGV[4])
redis.call('EXPIRE', KEYS[3], ARGV[4])
return 1
