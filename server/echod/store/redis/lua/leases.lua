-- The daemons that are there: their leases hold.
--   KEYS[1]  l:{<tag>}, the leases
-- Returns their names.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local there = {}
local leases = redis.call('HGETALL', KEYS[1])
for at = 1, #leases, 2 do
  if tonumber(string.match(leases[at + 1], '^%d+')) > now then
    there[#there + 1] = leases[at]
  end
end
return there
