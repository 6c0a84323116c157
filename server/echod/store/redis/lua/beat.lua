-- A daemon's heartbeat: it renews its lease and writes to itself, by the way that messages
-- take, so that it knows whether they arrive (ADR 9).
--   KEYS[1]  l:<daemon>     ARGV[1]  life of the lease, ms
--   ARGV[2]  its inbox      ARGV[3]  what is written
-- Returns {whether the lease had held, how many heard it}. Carried out twice, because its
-- answer was lost, it does not take its own mark for a lease that held.
local held = redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[1], 'GET')
return {held and held ~= ARGV[3] and 1 or 0, redis.call('PUBLISH', ARGV[2], ARGV[3])}
