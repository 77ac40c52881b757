-- Try every command that the other scripts use, on keys of ours, and leave nothing behind. ARGV: a name that nobody has, channel.
-- Answers: the errors of those that are not allowed, each as "command: error".
local name, channel, wrong = ARGV[1], ARGV[2], {}
local function try(command, ...)
  local answer = redis.pcall(command, ...)
  if type(answer) == 'table' and answer.err then wrong[#wrong + 1] = string.lower(command) .. ': ' .. answer.err end
end
for _, key in ipairs({META, FENCES, ABOUT, OWNERS, LOGS, BODIES, BY_KEY, KEY_OF}) do try('HGET', key, name) end
try('HKEYS', PROBES)
try('HSET', ABOUT, name, '1')
try('HSETNX', ABOUT, name, '1')
try('HINCRBY', ABOUT, name, 1)
try('HDEL', ABOUT, name)
try('ZADD', ERASE, 'NX', 1e15, name)
try('ZSCORE', ERASE, name)
try('ZRANGE', OPEN, '0', '0', 'BYSCORE', 'LIMIT', 0, 1)
try('ZRANGEBYSCORE', MEMBERS, 0, 0, 'LIMIT', 0, 1)
try('ZREM', ERASE, name)
for _, key in ipairs({ALL, CLOSED}) do try('ZSCORE', key, name) end
try('SADD', KEPT, name)
try('SISMEMBER', KEPT, name)
try('SREM', KEPT, name)
try('SISMEMBER', FOREIGN, name)
try('PUBLISH', channel, '')
return wrong
