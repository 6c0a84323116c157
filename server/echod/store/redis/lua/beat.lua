-- A daemon's heartbeat: it renews its lease and writes to itself, by the way that messages
-- take, so that it knows whether they arrive (ADR 9).
--   KEYS[1]  l:{<tag>}, the leases  ARGV[1]  life of the lease, ms
--   ARGV[2]  the daemon             ARGV[3]  its inbox    ARGV[4]  what is written: a mark
--   ARGV[5]  1 if its home is here, else 0
-- Returns {whether the lease had held, how many heard it, how many daemons have their home
-- here, the first of them}. Carried out twice, because its answer was lost, it does not take its
-- own mark for a lease that held.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local held, homes, first = 0, tonumber(ARGV[5]), ARGV[5] == '1' and ARGV[2] or ''
local leases = redis.call('HGETALL', KEYS[1])
for at = 1, #leases, 2 do
  local daemon = leases[at]
  local over, home, mark = string.match(leases[at + 1], '^(%d+) ([01]) (.*)$')
  if tonumber(over) <= now then
    redis.call('HDEL', KEYS[1], daemon)
  elseif daemon == ARGV[2] then
    held = mark ~= ARGV[4] and 1 or 0
  elseif home == '1' then
    homes = homes + 1
    first = (first == '' or daemon < first) and daemon or first
  end
end
local lease = string.format('%.0f %s %s', now + ARGV[1], ARGV[5], ARGV[4])
redis.call('HSET', KEYS[1], ARGV[2], lease)
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return {held, redis.call('SPUBLISH', ARGV[3], ARGV[4]), homes, first}
