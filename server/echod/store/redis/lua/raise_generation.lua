-- Raise a slot's generation above the one this daemon knew, unless another daemon
-- that saw the same loss has done so already (ADR 17).
--   KEYS[1]  the generation
--   ARGV[1]  the generation this daemon knew
-- Returns the generation in force.
local now = tonumber(redis.call('GET', KEYS[1]) or 0)
local known = tonumber(ARGV[1])
if now <= known then
  now = known + 1
  redis.call('SET', KEYS[1], now)
end
return now
