-- A state goes on under a new key: what an old link still holds finds nothing under the old one
-- (ADR 24). The link may be alive on a node that was a replica meanwhile and is master again.
--   KEYS[1]  the record  KEYS[2]  the new key  KEYS[3…]  those that it may stand under
--   ARGV[1]  the owner in the new key  ARGV[2]  the state  ARGV[3]  its life, ms
-- Returns 1; 0 if it is under none of them. The same call again finds it under the new one.
local at = nil
for n = 2, #KEYS do
  if redis.call('EXISTS', KEYS[n]) == 1 then
    at = at or KEYS[n]
  end
end
if not at then
  return 0
end
if at ~= KEYS[2] then
  redis.call('RENAME', at, KEYS[2])
end
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
if redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('HSET', KEYS[1], 'owner', ARGV[1])
end
return 1
