-- Write again what the store may have lost: the open tickets of an owner. ARGV: generation, owner, fence, number of tickets, then
-- for each: ticket, its records, its solution, the wall second from which that is erased, its key, its slot's wish.
-- Answers: 'OK', the tickets that are another's by now.
local reason = why_not(ARGV[1], ARGV[2], ARGV[3])
if reason then return {reason} end
local me, refused = ARGV[2], {}
for i = 0, tonumber(ARGV[4]) - 1 do
  local id, log, body, erase_at, key, wish = unpack(ARGV, 5 + 6 * i, 10 + 6 * i)
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
    if wish ~= '' and body == '' then
      -- It has its slot, whatever the windows are now: the task is there.
      local w = lines_of(wish)
      call('HSET', SLOTS, id, table.concat({w[1], w[2], 't', w[3], w[4], w[7]}, '\n'))
      call('ZADD', LAPSES, now + tonumber(w[7]), id)
      call('HINCRBY', COUNTS, w[1], 1)
      call('HINCRBY', COUNTS, w[1] .. '\ntype\n' .. w[2], 1)
    end
  elseif owner ~= me and owner ~= '' then
    refused[#refused + 1] = id
  end
end
return {'OK', refused}
