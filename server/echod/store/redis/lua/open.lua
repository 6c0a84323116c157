-- A new session, with no line yet (PROTOCOL §2.1).
--   KEYS[1]  the record            KEYS[2]  the state   KEYS[3]  the generation
--   ARGV[1]  digest of the secret  ARGV[2]  owner  ARGV[3]  the state
--   ARGV[4]  life of the state, ms ARGV[5]  life of the record, ms
--   ARGV[6…] more fields of the record, names and values in turn
-- Returns {generation}; {} if the name is taken. The same call again finds its own.
local generation = tonumber(redis.call('GET', KEYS[3]) or 0)
local digest = redis.call('HGET', KEYS[1], 'digest')
if redis.call('EXISTS', KEYS[1]) == 1 and digest ~= ARGV[1] then
  return {}
end
if digest and redis.call('EXISTS', KEYS[2]) == 1 then
  return {generation} -- late, or again: lines may have been written since
end
redis.call('HSET', KEYS[1], 'digest', ARGV[1], 'epoch', 1, 'owner', ARGV[2], unpack(ARGV, 6))
redis.call('PEXPIRE', KEYS[1], ARGV[5])
redis.call('SET', KEYS[2], ARGV[3], 'PX', ARGV[4])
return {generation}
