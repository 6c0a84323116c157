-- A session's record lives on, at a sign of life of its owner's, and lists where it posted.
--   KEYS[1]  the record                   KEYS[2]  the state
--   ARGV[1]  life of the record, ms       ARGV[2]  rooms, with a space between; may be empty
-- Returns 1; 0 if the session is not, or no longer, this owner's: a tombstone does not live on.
if redis.call('EXISTS', KEYS[2]) == 0 then
  return 0
end
redis.call('HSET', KEYS[1], 'posted', ARGV[2])
return redis.call('PEXPIRE', KEYS[1], ARGV[1])
