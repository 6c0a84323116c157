-- Who is in a room, over all daemons whose lease holds (PROTOCOL §3).
--   KEYS[1]  the asking session's state    KEYS[2]  p:<room>: daemon → members there
--   ARGV[1]  life of the state, ms
-- Returns 0 if the session is not, or no longer, the asker's; {members, daemons}.
if redis.call('PEXPIRE', KEYS[1], ARGV[1]) == 0 then
  return 0
end
local members, daemons = 0, 0
local there = redis.call('HGETALL', KEYS[2])
for at = 1, #there, 2 do
  if redis.call('EXISTS', 'l:' .. there[at]) == 1 then
    members = members + there[at + 1]
    daemons = daemons + 1
  else
    redis.call('HDEL', KEYS[2], there[at])
  end
end
return {members, daemons}
