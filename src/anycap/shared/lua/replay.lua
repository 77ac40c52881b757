-- Write again what the store may have lost: the open tickets of an owner. ARGV: generation, owner, fence, number of tickets, then
-- for each: ticket, its records, its solution, the wall second from which that is erased, its key.
-- Answers: 'OK', the tickets that are another's by now.
local reason = why_not(ARGV[1], ARGV[2], ARGV[3])
if reason then return {reason} end
local me, refused = ARGV[2], {}
for i = 0, tonumber(ARGV[4]) - 1 do
  local id, log, body, erase_at, key = unpack(ARGV, 5 + 5 * i, 9 + 5 * i)
  local owner = call('HGET', OWNERS, id)
  if owner == '' or not owner then call('HSET', OWNERS, id, me) end
  if not owner then
    local number = call('HINCRBY', META, 'seq', 1)
    call('ZADD', ALL, number, id)
    call('ZADD', OPEN, number, id)
    call('HSET', LOGS, id, log)
    if body ~= '' then
      call('HSET', BODIES, id, body)
      call('ZADD', ERASE, erase_at, id)
    end
    if key ~= '' then
      local before = call('HGET', BY_KEY, key)
      call('HSET', BY_KEY, key, before and before .. '\n' .. id or id)
      call('HSET', KEY_OF, id, key)
      call('SADD', KEPT, id)
    end
  elseif owner ~= me and owner ~= '' then
    refused[#refused + 1] = id
  end
end
return {'OK', refused}
