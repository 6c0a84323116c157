-- A session's owner joins a room: from now on only this owner posts there in its name (ADR 22).
--   KEYS[1]  i:{<room>}:<sender>: at 0, its fence   ARGV[1]  the fence   ARGV[2]  its life, ms
-- A fence is "<generation>:<epoch>:<owner>". Epochs compare within one generation: a shard
-- that has lost data counts them anew.
-- Returns 1; 0 if a later owner has joined.
local kept = redis.call('ZRANGE', KEYS[1], 0, 0, 'BYSCORE')[1]
if kept and kept ~= ARGV[1] then
  local generation, epoch = string.match(ARGV[1], '^(%d+):(%d+):')
  local kept_generation, kept_epoch = string.match(kept, '^(%d+):(%d+):')
  local ahead = kept_generation - generation
  if ahead > 0 or (ahead == 0 and kept_epoch - epoch > 0) then
    return 0
  end
  redis.call('ZREM', KEYS[1], kept)
end
redis.call('ZADD', KEYS[1], 0, ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
