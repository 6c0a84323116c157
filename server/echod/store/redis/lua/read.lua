-- Read a room from a position; a room that is not there begins here (PROTOCOL §3).
--   KEYS[1]  m:{<room>}    KEYS[2]  x:{<room>}, its stream  KEYS[3]  the generation
--   ARGV[1]  first offset  ARGV[2]  messages at most        ARGV[3]  epoch, should it be new;
--   empty: then it does not begin, and {} is returned
--   ARGV[4]  life of a room without a message, ms
-- Returns {epoch, last offset, offset, "<sender> <text>", offset, …}.
local room = redis.call('HMGET', KEYS[1], 'epoch', 'offset')
local epoch, last = room[1], tonumber(room[2] or 0)
if not epoch then
  if ARGV[3] == '' then
    return {}
  end
  epoch = ARGV[3]
  redis.call('HSET', KEYS[1], 'epoch', epoch, 'offset', 0)
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
end
local page = {(redis.call('GET', KEYS[3]) or '0') .. '-' .. epoch, last}
for _, entry in ipairs(redis.call('XRANGE', KEYS[2], ARGV[1], '+', 'COUNT', ARGV[2])) do
  page[#page + 1] = tonumber(string.match(entry[1], '%d+'))
  page[#page + 1] = entry[2][2]
end
return page
