-- How many members a daemon has in a room: said anew while there are any.
--   KEYS[1]  p:{<room>}  KEYS[2]  m:{<room>}  KEYS[3]  x:{<room>}
--   ARGV[1]  daemon      ARGV[2]  members     ARGV[3]  life of the announcement, ms
--   ARGV[4]  life of the room, ms: from its first message on
-- Announcements that were not said anew are taken out: the others keep the hash alive, so that
-- of each daemon that was killed a field would stay for as long as there are members.
if ARGV[2] == '0' then
  redis.call('HDEL', KEYS[1], ARGV[1])
  return 1
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local there = redis.call('HGETALL', KEYS[1])
redis.call('HSET', KEYS[1], ARGV[1], string.format('%d %.0f', ARGV[2], now))
redis.call('PEXPIRE', KEYS[1], ARGV[3])
for at = 1, #there, 2 do
  if tonumber(string.match(there[at + 1], '%d+$')) < now - ARGV[3] and there[at] ~= ARGV[1] then
    redis.call('HDEL', KEYS[1], there[at])
  end
end
-- A room that somebody is in does not expire. Where nothing was ever said there is nothing to
-- keep, and whoever goes from room to room must not fill the store.
local said = redis.call('PEXPIRE', KEYS[3], ARGV[4]) == 1
redis.call('PEXPIRE', KEYS[2], said and ARGV[4] or ARGV[3])
return 1
