-- A daemon's heartbeat: it renews its lease and writes to itself, by the way that messages
-- take, so that it knows whether they arrive (ADR 9).
--   KEYS[1]  l:{<tag>}, the leases  ARGV[1]  life of the lease, ms
--   ARGV[2]  the daemon             ARGV[3]  its inbox    ARGV[4]  what is written: a mark
-- Returns {whether the lease had held, how many heard it}. Carried out twice, because its
-- answer was lost, it does not take its own mark for a lease that held.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local held = 0
local leases = redis.call('HGETALL', KEYS[1])
for at = 1, #leases, 2 do
  local over, mark = string.match(leases[at + 1], '^(%d+) (.*)$')
  if tonumber(over) <= now then
    redis.call('HDEL', KEYS[1], leases[at])
  elseif leases[at] == ARGV[2] and mark ~= ARGV[4] then
    held = 1
  end
end
redis.call('HSET', KEYS[1], ARGV[2], string.format('%.0f %s', now + ARGV[1], ARGV[4]))
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return {held, redis.call('SPUBLISH', ARGV[3], ARGV[4])}
