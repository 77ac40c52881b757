-- Append records and carry out claims, each of them or none of it.
--
-- ARGV: generation, owner, fence, channel, number of records, number of claims, grace in milliseconds;
-- then for each record eleven values: ticket, what it is (a letter), its line, its second,
-- its solution, the second from which that is erased, its key, what an INTENT holds back or the end of a task costs (money.lua),
-- the ticket after which the key is claimed and what was seen of it (two lines), the wish for a slot (slots.lua; empty: none is
-- needed; of an accepted task the one that it had, should that have been freed), the budget (empty: none). The records of claims are
-- the last.
--   i intent  r result  d delivered or reported  s settled  c another closing one  a accepted  q in doubt  o another  f of a later release
--   v closing, of an INTENT whose write was not confirmed: of no meaning if it was never carried out, or if there is a later one
--   k intent that claims its key  n intent that claims a slot only  t claims the ticket itself (no line)
-- Answers: 'OK', the tickets whose records were refused, for each claim 1 or what is in its way: a ticket (six values), a limit and what
-- it is of (two), or a budget (three).
local reason = why_not(ARGV[1], ARGV[2], ARGV[3])
if reason then return {reason} end
local me, channel, records, claims, grace = ARGV[2], ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local refused, answers, told = {}, {}, {}

local function append(id, line)
  call('HSET', LOGS, id, (call('HGET', LOGS, id) or '') .. line .. '\n')
  told[#told + 1] = id
end

local function erase_body(id)
  call('HDEL', BODIES, id)
  call('ZREM', ERASE, id)
end

local function number(id)
  local found = call('ZSCORE', ALL, id)
  if found then return found end
  local new = call('HINCRBY', META, 'seq', 1)
  call('ZADD', ALL, new, id)
  return new
end

local function ensure(id)
  if call('HSETNX', OWNERS, id, me) == 1 then call('ZADD', OPEN, number(id), id) end
end

local function is_not_created(line)
  return string.sub(line, 1, 14) == '["not_created"'
end

local function may_write(id, what, line)
  local owner = call('HGET', OWNERS, id)
  if not owner or owner == me or owner == '' or what == 's' then return true end
  if call('ZSCORE', CLOSED, id) then return true end
  -- Whoever has handed a solution out that is recorded here: nobody else must, whose ticket it may be.
  if what == 'd' and string.find(call('HGET', LOGS, id) or '', '["result"', 1, true) then return true end
  -- The answer to a createTask that was on its way when others took the ticket over, in doubt: nobody else knows the task's id,
  -- or that there is no task.
  if (what == 'a' or is_not_created(line)) and not string.find(call('HGET', LOGS, id), '["accepted"', 1, true) then
    call('HSET', OWNERS, id, me)
    return true
  end
  return false
end

local function write(id, what, line, at, body, erase_at, key, money, after, wish)
  if what == 'v' then
    local owner = call('HGET', OWNERS, id)
    if not owner or call('ZSCORE', CLOSED, id) then return true end
    -- Of the same time: a later one may have been carried out, and sent.
    if latest_intent_of(call('HGET', LOGS, id) or '') ~= string.match(line, '^%["not_created",([^,]+),') then return true end
    -- Whoever has taken it over holds it in doubt; who wrote it knows that nothing was sent.
    if owner ~= me and string.find(call('HGET', LOGS, id), '["accepted"', 1, true) then return true end
    call('HSET', OWNERS, id, me)
    what = 'c'
  end
  if not may_write(id, what, line) then return false end
  local begins = what == 'i' or what == 'k' or what == 'n'
  -- A store that has lost it: whoever has the ticket tells it all of it, and is not kept from that by a single record of another's.
  -- A kind of a later release may be one that begins a ticket.
  if not begins and what ~= 'a' and what ~= 's' and what ~= 'f' and call('HEXISTS', LOGS, id) == 0 then return true end
  if begins then
    forget_key(id)
    call('HSET', OWNERS, id, me)
    call('ZREM', CLOSED, id)
    call('ZADD', OPEN, number(id), id)
    erase_body(id)
    hold_back(id, money)
    if key == '' then
      call('SREM', KEPT, id)
    else
      local before = call('HGET', BY_KEY, key)
      call('HSET', BY_KEY, key, before and before .. '\n' .. id or id)
      call('HSET', KEY_OF, id, key)
      call('SADD', KEPT, id)
    end
  else
    ensure(id)
    if what == 'a' then accepted(id, is_known(id) and '' or wish) elseif what ~= 'o' and what ~= 'f' then free(id) end
    if what == 'r' or what == 'd' or what == 's' or what == 'c' then settle(id, money) end
    if what == 'r' then
      if not call('ZSCORE', CLOSED, id) and body ~= '' then
        call('HSET', BODIES, id, body)
        call('ZADD', ERASE, erase_at, id)
      end
    elseif what == 'd' or what == 's' or what == 'c' then
      -- A second closing record does not prolong how long the ticket is kept.
      call('ZADD', CLOSED, 'NX', at, id)
      call('ZREM', OPEN, id)
      if what ~= 'd' or call('SISMEMBER', KEPT, id) == 0 then erase_body(id) end
    elseif what == 'f' then
      call('SADD', FOREIGN, id)
    end
  end
  append(id, line)
  return true
end

local function latest_of(key)
  local tickets = call('HGET', BY_KEY, key)
  return tickets and string.match(tickets, '([^\n]+)$')
end

local function claim_intent(id, what, line, at, body, erase_at, key, money, after, wish, budget)
  local latest = what == 'k' and latest_of(key)
  if latest then
    local name, seen = string.match(after, '^(.*)\n(.*)$')
    if latest ~= name then return ticket_of(latest) end
    -- A task that was not created may have been queued again and sent; no other closed ticket changes.
    local last = string.match(call('HGET', LOGS, latest) or '', '([^\n]*)\n$') or ''
    if seen == 'not_created' and not is_not_created(last) then return ticket_of(latest) end
  end
  -- Before a slot is taken, which nobody would free.
  if not may_write(id, what, line) then return ticket_of(id) end
  local held = budget ~= '' and money ~= '' and over_budget(money, budget) or wish ~= '' and take_slot(id, wish)
  if held then return held end
  write(id, what, line, at, body, erase_at, key, money)
  return 1
end

local function claim_ticket(id)
  local owner = call('HGET', OWNERS, id)
  if not owner then return 1 end
  if call('ZSCORE', CLOSED, id) then return ticket_of(id) end
  if owner == me then return 1 end
  if owner ~= '' and not is_dead(owner, grace) then
    call('SADD', KEPT, id)
    return ticket_of(id)
  end
  -- Should the dead one wake up, its next renewal tells it to look at what it still has.
  if owner ~= '' then call('HDEL', FENCES, owner) end
  call('HSET', OWNERS, id, me)
  return 1
end

for i = 0, records + claims - 1 do
  local at = 7 + 11 * i
  local id, what = ARGV[at + 1], ARGV[at + 2]
  if i >= records then
    answers[#answers + 1] = what == 't' and claim_ticket(id) or what ~= 't' and claim_intent(unpack(ARGV, at + 1, at + 11)) or false
  elseif not write(unpack(ARGV, at + 1, at + 10)) then
    refused[#refused + 1] = id
  end
end
tell_of_room()
if #told > 0 then call('PUBLISH', channel, me .. '\n' .. table.concat(told, '\n')) end
return {'OK', refused, answers}
