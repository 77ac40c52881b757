-- Write again what the store may have lost: the open tickets of an owner, and what it has spent. ARGV: generation, owner, fence,
-- number of tickets, then for each: ticket, its records, its solution, the second from which that is
-- erased, its key, its slot's wish, what it holds back; then for a store that was lost what the owner's tasks have cost: as
-- money.lua takes what an INTENT holds back, the cost for the price and the number of tasks behind it.
-- Answers: 'OK', the tickets that are another's by now.
local reason = why_not(ARGV[1], ARGV[2], ARGV[3])
if reason then return {reason} end
local me, tickets, refused = ARGV[2], tonumber(ARGV[4]), {}
for i = 0, tickets - 1 do
  local id, log, body, erase_at, key, wish, money = unpack(ARGV, 5 + 7 * i, 11 + 7 * i)
  local owner, known = call('HGET', OWNERS, id), call('HGET', LOGS, id) or ''
  local goes_on = #log > #known and string.sub(log, 1, #known) == known
  local from = #known + 1
  if owner and string.find(log, '["accepted"', 1, true) and not is_known(id) and latest_intent_of(log) == latest_intent_of(known) then
    -- Who has it holds it in doubt, and does not know that it was accepted after all.
    if not goes_on then goes_on, from = true, 1 end
    owner = ''
  end
  if not owner or owner == '' then call('HSET', OWNERS, id, me) end
  if not owner then
    local number = call('HINCRBY', META, 'seq', 1)
    call('ZADD', ALL, number, id)
    call('ZADD', OPEN, number, id)
    call('HSET', LOGS, id, log)
    hold_back(id, money)
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
      hold_slot(id, wish)
    end
  elseif owner ~= me and owner ~= '' then
    refused[#refused + 1] = id
  elseif not call('ZSCORE', CLOSED, id) then
    -- A replica has taken over that lacks the last records of it.
    if goes_on then
      call('HSET', LOGS, id, log)
      if string.find(log, '["in_doubt"', from, true) then free(id) end
      if string.find(log, '["accepted"', from, true) then accepted(id, wish) end
      if body ~= '' and not call('ZSCORE', ERASE, id) then
        free(id)
        call('HSET', BODIES, id, body)
        call('ZADD', ERASE, erase_at, id)
      end
    end
  end
end
-- Once, should the answer get lost.
if #ARGV > 4 + 7 * tickets and call('HSETNX', META, 'spent ' .. me, 1) == 1 then
  for i = 5 + 7 * tickets, #ARGV do
    local spent = lines_of(ARGV[i])
    local cost, tasks = spent[6], tonumber(spent[7])
    spent[1], spent[6] = string.format('%d', day_at(tonumber(spent[1]))), '0'
    book(spent, 0, cost, tasks)
  end
end
return {'OK', refused}
