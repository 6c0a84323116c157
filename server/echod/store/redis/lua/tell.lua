-- Find the daemon where a session is connected, and write to its inbox (PROTOCOL §3).
--   KEYS[1]  the sender's state    KEYS[2]  r:<name>, the record of the session named
--   ARGV[1]  life of the state, ms  ARGV[2]  what is written
-- Returns 0 if the session is not, or no longer, the sender's; 1 if the other is nowhere;
-- 2 if a daemon has it: that one answers.
if redis.call('PEXPIRE', KEYS[1], ARGV[1]) == 0 then
  return 0
end
local there = redis.call('HMGET', KEYS[2], 'inbox', 'ended')
if not there[1] or there[2] or redis.call('EXISTS', 'l:' .. there[1]) == 0 then
  return 1
end
return redis.call('PUBLISH', 'inbox:' .. there[1], ARGV[2]) > 0 and 2 or 1
