-- Post a message: de-duplicate, check the sender, append, publish (PROTOCOL §3, ADR 9).
--   KEYS[1]  m:{<room>}, the room: epoch and offset
--   KEYS[2]  x:{<room>}, its stream  KEYS[3]  i:{<room>}:<sender>, ids of the sender's last posts
--   KEYS[4]  the generation          KEYS[5]  p:{<room>}, daemons with members: route `directed`
--   ARGV[1]  the sender's fence      ARGV[2]  room       ARGV[3]  id
--   ARGV[4]  "<sender> <text>"       ARGV[5]  epoch, should the room be new
--   ARGV[6]  now, Unix ms            ARGV[7]  messages kept, about
--   ARGV[8]  age of the oldest, and life of the room after the last, ms
--   ARGV[9]  channel to publish to; empty for route `directed`; "-": nothing is published, but
--            returned, to be published once replicas have it (ADR 23)
--   ARGV[10] digest of the text      ARGV[11] life of the ids, ms
-- Returns {offset}, with "-" {offset, what is to be published}; of an id among the last 100 the same again, or {-1} if it had another text;
-- {-1, next id} for a lower one; {0} if the sender has not joined, or another owner of its
-- session has joined since (ADR 22). The id comes first: what was posted is told, whoever asks.
local function message(generation, epoch, offset)
  return table.concat({'m', generation .. '-' .. epoch, offset, ARGV[2], ARGV[4]}, ' ')
end

local id = tonumber(ARGV[3])
local last = redis.call('ZRANGE', KEYS[3], -1, -1, 'WITHSCORES')[2]
if last and id <= tonumber(last) then
  local again = redis.call('ZRANGE', KEYS[3], ARGV[3], ARGV[3], 'BYSCORE')[1]
  if again then
    local offset, digest = string.match(again, '^(%d+):(.*)$')
    if digest ~= ARGV[10] then
      return {-1}
    end
    if ARGV[9] == '-' then
      -- Who posted it may have died before it was published. It may also be of an earlier history.
      local entry = redis.call('XRANGE', KEYS[2], offset, offset)[1]
      if entry and entry[2][2] == ARGV[4] then
        local generation = redis.call('GET', KEYS[4]) or '0'
        local epoch = redis.call('HGET', KEYS[1], 'epoch')
        return {tonumber(offset), message(generation, epoch, offset)}
      end
    end
    return {tonumber(offset)}
  end
  return {-1, tonumber(last) + 1}
end
if not redis.call('ZSCORE', KEYS[3], ARGV[1]) then
  return {0}
end
local generation = redis.call('GET', KEYS[4]) or '0'
local room = redis.call('HMGET', KEYS[1], 'epoch', 'offset')
local epoch, offset = room[1], tonumber(room[2] or 0) + 1
if epoch then
  redis.call('HSET', KEYS[1], 'offset', offset)
else
  epoch = ARGV[5]
  redis.call('HSET', KEYS[1], 'epoch', epoch, 'offset', offset)
  -- A stream without its room would refuse the first offset, and with it every batch.
  redis.call('DEL', KEYS[2])
end
-- An entry's id is its offset and when it was posted.
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[7], offset .. '-' .. ARGV[6], 'm', ARGV[4])
local oldest = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
local first, posted_at = string.match(oldest[1], '(%d+)-(%d+)')
local since = ARGV[6] - ARGV[8]
if tonumber(posted_at) < since then
  -- A few with each post: a room that was busy and is slow is trimmed in steps.
  for _, entry in ipairs(redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 16)) do
    first, posted_at = string.match(entry[1], '(%d+)-(%d+)')
    if tonumber(posted_at) >= since then
      break
    end
  end
  redis.call('XTRIM', KEYS[2], 'MINID', first)
end
redis.call('ZADD', KEYS[3], ARGV[3], offset .. ':' .. ARGV[10])
-- The fence is the lowest.
redis.call('ZREMRANGEBYRANK', KEYS[3], 1, -101)
redis.call('PEXPIRE', KEYS[1], ARGV[8])
redis.call('PEXPIRE', KEYS[2], ARGV[8])
redis.call('PEXPIRE', KEYS[3], ARGV[11])
local posted = message(generation, epoch, offset)
if ARGV[9] == '-' then
  return {offset, posted}
end
if ARGV[9] ~= '' then
  redis.call('SPUBLISH', ARGV[9], posted)
else
  for _, daemon in ipairs(redis.call('HKEYS', KEYS[5])) do
    redis.call('SPUBLISH', 'inbox:' .. daemon, posted)
  end
end
return {offset}
