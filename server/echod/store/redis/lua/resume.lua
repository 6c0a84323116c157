-- Take a session over from whoever owns it (PROTOCOL §2.1, ADR 2): move the state to
-- a key of the next epoch, so that the earlier owner's writes find nothing.
--   KEYS[1]  the record, r:{<name>}  KEYS[2]  the generation
--   ARGV[1]  digest of the secret  ARGV[2]  highest number the client was answered, or 0
--   ARGV[3]  the new owner
--   ARGV[4]  life of the state, ms ARGV[5]  life of the record, ms
--   ARGV[6…] more fields of the record, names and values in turn
-- Returns {epoch, state, rooms posted in, generation}; {-1, seq} if the store holds less than
-- the client was answered; {} for an unknown, expired, ended or wrong one. Only the first
-- changes anything.
-- The same call again, its answer having been lost, finds itself the owner.
local generation = tonumber(redis.call('GET', KEYS[2]) or 0)
local known = redis.call('HMGET', KEYS[1], 'digest', 'epoch', 'owner', 'ended', 'posted')
if known[1] ~= ARGV[1] or known[4] then
  return {}
end
local epoch = tonumber(known[2])
local states = 's:' .. string.sub(KEYS[1], 3) .. ':'
local key = states .. epoch .. ':' .. known[3]
local state = redis.call('GET', key)
if not state then
  return {}
end
local seq = tonumber(string.match(state, '^%d+'))
if seq < tonumber(ARGV[2]) then
  return {-1, seq}
end
if known[3] ~= ARGV[3] then
  epoch = epoch + 1
  local moved = states .. epoch .. ':' .. ARGV[3]
  redis.call('RENAME', key, moved)
  redis.call('HSET', KEYS[1], 'epoch', epoch, 'owner', ARGV[3], unpack(ARGV, 6))
  key = moved
end
redis.call('PEXPIRE', key, ARGV[4])
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return {epoch, state, known[5] or '', generation}
