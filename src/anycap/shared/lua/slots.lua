-- Slots: granted with the INTENT, freed with the end of the task, whoever writes that. Behind common.lua, in front of write.lua.
local function lines_of(text)
  local found = {}
  for line in string.gmatch(text .. '\n', '(.-)\n') do found[#found + 1] = line end
  return found
end

local freed, freed_any = {}, false

local function free(id)
  local slot = call('HGET', SLOTS, id)
  if not slot then return end
  local account, task_type, state = unpack(lines_of(slot))
  call('HDEL', SLOTS, id)
  call('ZREM', LAPSES, id)
  call('HINCRBY', COUNTS, account, -1)
  call('HINCRBY', COUNTS, account .. '\ntype\n' .. task_type, -1)
  if state == 's' then call('HINCRBY', COUNTS, account .. '\nsubmits', -1) end
  freed[account], freed_any = true, true
end

local function number_at(hash, name, default)
  return tonumber(call('HGET', hash, name) or default)
end

-- A number that grows with each change of the account's stops; that of a store that was lost means nothing in the next.
local function version_of(account)
  return (call('HGET', META, 'generation') or '') .. ' ' .. (call('HGET', VERSIONS, account) or '0')
end

-- Half of the vendor's number: bad answers in the window, and createTask requests whose answer may be one.
local function is_within(account, rule, window, limit, submits)
  local bad = 0
  for at in string.gmatch(call('HGET', BAD, account .. '\n' .. rule) or '', '%d+') do
    if tonumber(at) > now - window then bad = bad + 1 end
  end
  return bad + submits < limit
end

-- Members that wait for a slot of the account, in the order in which they asked. Who is told that it is its turn has room kept for so
-- long: longer than a busy machine needs to wake up, and no longer than the vendor's slot may stay idle for one that has died.
local TURN_MS = 1000

local function turns_of(account)
  local text = call('HGET', TURNS, account)
  if not text then return {} end
  local found = {}
  for owner, ends, most, most_submits, task_type in string.gmatch(text, '(%x+) (%d+) (%d+) (%d+) ([^\n]*)\n') do
    ends = tonumber(ends)
    if (ends == 0 or ends > now) and is_alive(owner) then
      found[#found + 1] = {owner, ends, tonumber(most), tonumber(most_submits), task_type}
    end
  end
  return found
end

local function keep_turns(account, turns)
  local lines = {}
  for i, turn in ipairs(turns) do
    lines[i] = string.format('%s %.0f %d %d %s\n', turn[1], turn[2], turn[3], turn[4], turn[5])
  end
  if #lines == 0 then call('HDEL', TURNS, account) else call('HSET', TURNS, account, table.concat(lines)) end
end

-- How many more tasks the account may have now, and of the type, as far as they are not kept for whose turn it is.
local function room_for(account, task_type, most, most_submits, kept)
  local tasks = math.min(most, math.floor(number_at(WINDOWS, account .. '\ntasks', most))) - number_at(COUNTS, account, 0)
  local submits = math.min(most_submits, number_at(WINDOWS, account .. '\nsubmits', 1))
  local room = math.min(tasks, submits - number_at(COUNTS, account .. '\nsubmits', 0)) - kept
  if task_type == '' then return room end
  local of_type = account .. '\ntype\n' .. task_type
  return math.min(room, math.floor(number_at(WINDOWS, of_type, most)) - number_at(COUNTS, of_type, 0) - kept)
end

-- Tell as many of the longest waiting as there is room for, and nobody else. Answers: all who wait, or have been told.
local function call_next(account)
  local turns, kept, changed = turns_of(account), 0, false
  for _, turn in ipairs(turns) do
    if turn[2] > 0 then kept = kept + 1 end
  end
  for _, turn in ipairs(turns) do
    if turn[2] == 0 and room_for(account, turn[5], turn[3], turn[4], kept) >= 1 then
      turn[2], kept, changed = now + TURN_MS, kept + 1, true
      local channel = string.sub(META, 1, -5) .. 'room:' .. turn[1]
      call('PUBLISH', channel, version_of(account) .. '\n' .. account)
    end
  end
  if changed then keep_turns(account, turns) end
  return turns
end

local function call_next_of_all()
  for _, account in ipairs(call('HKEYS', TURNS)) do call_next(account) end
end

-- The limit that one more task would break, and of what. `kept`: how many are kept for others; `w`: the wish.
local function limit_reached(account, task_type, w, kept)
  local most, most_submits = tonumber(w[3]), tonumber(w[4])
  local submits = number_at(COUNTS, account .. '\nsubmits', 0)
  if submits + kept >= math.min(most_submits, number_at(WINDOWS, account .. '\nsubmits', 1)) then
    return {'submit_window', ''}
  end
  local window = math.floor(number_at(WINDOWS, account .. '\ntasks', most))
  if number_at(COUNTS, account, 0) + kept >= math.min(most, window) then return {'max_in_flight', ''} end
  local of_type = account .. '\ntype\n' .. task_type
  if number_at(COUNTS, of_type, 0) >= math.floor(number_at(WINDOWS, of_type, most)) then return {'task_type', task_type} end
  for i = 8, #w - 2, 3 do
    if not is_within(account, w[i], tonumber(w[i + 1]), tonumber(w[i + 2]), submits) then return {'ban_rule', w[i]} end
  end
  return false
end

-- Take a slot, or say which limit is reached, and of what. `wish`: account, task type, most tasks, most submits, the version of the
-- stops that the asker knows, how long a createTask and a task may take in milliseconds, then name, window and limit of each ban rule.
local function take_slot(id, wish)
  local w = lines_of(wish)
  local account, task_type, most, most_submits = w[1], w[2], tonumber(w[3]), tonumber(w[4])
  for _, old in ipairs(call('ZRANGEBYSCORE', LAPSES, '-inf', now, 'LIMIT', 0, 10)) do free(old) end
  if version_of(account) ~= w[5] then return {'', ''} end
  if now < number_at(META, 'slots_from', 0) then return {'store', ''} end
  free(id)
  local me, turns, kept, place = ARGV[2], call_next(account), 0, nil
  for i, turn in ipairs(turns) do
    if turn[1] == me then place = i elseif turn[2] > 0 then kept = kept + 1 end
  end
  local mine = place and table.remove(turns, place)
  local held = limit_reached(account, task_type, w, kept)
  if held then
    -- Who has had its turn and found another limit begins again; who only looks keeps its place.
    if not mine or mine[2] > 0 then place = #turns + 1 end
    table.insert(turns, place, {me, 0, most, most_submits, held[1] == 'task_type' and task_type or ''})
  end
  if mine or held then keep_turns(account, turns) end
  if held then return held end
  local of_type = account .. '\ntype\n' .. task_type
  call('HSET', SLOTS, id, table.concat({account, task_type, 's', w[3], w[4], w[7]}, '\n'))
  call('ZADD', LAPSES, now + tonumber(w[6]), id)
  call('HINCRBY', COUNTS, account, 1)
  call('HINCRBY', COUNTS, of_type, 1)
  call('HINCRBY', COUNTS, account .. '\nsubmits', 1)
  return false
end

-- As in core/admission/windows.py: fast up to the limit found last, then slowly, the longer ago it was found the less so.
local function grow(name, most)
  local size = tonumber(call('HGET', WINDOWS, name) or most)
  if size >= most then return end
  local known = number_at(WINDOWS, name .. '\nknown', most)
  if size < known then
    size = size + 2
  else
    size = size + (1 + size / 20 + 0.2 * (now - number_at(WINDOWS, name .. '\nshrunk', now)) / 1000) / size
  end
  call('HSET', WINDOWS, name, math.min(size, most))
end

-- A task that is there has its slot, whatever the windows are now.
local function hold_slot(id, wish)
  local w = lines_of(wish)
  call('HSET', SLOTS, id, table.concat({w[1], w[2], 't', w[3], w[4], w[7]}, '\n'))
  call('ZADD', LAPSES, now + tonumber(w[7]), id)
  call('HINCRBY', COUNTS, w[1], 1)
  call('HINCRBY', COUNTS, w[1] .. '\ntype\n' .. w[2], 1)
end

-- The vendor has taken the task. `wish`: for a slot that was freed meanwhile, as the task was in doubt.
local function accepted(id, wish)
  local slot = call('HGET', SLOTS, id)
  if not slot and wish ~= '' then hold_slot(id, wish) end
  if not slot then return end
  local account, task_type, state, most, most_submits, life = unpack(lines_of(slot))
  if state ~= 's' then return end
  call('HSET', SLOTS, id, table.concat({account, task_type, 't', most, most_submits, life}, '\n'))
  call('ZADD', LAPSES, now + tonumber(life), id)
  call('HINCRBY', COUNTS, account .. '\nsubmits', -1)
  local window = account .. '\nsubmits'
  call('HSET', WINDOWS, window, math.min(tonumber(most_submits), 2 * number_at(WINDOWS, window, 1)))
  grow(account .. '\ntasks', tonumber(most))
  grow(account .. '\ntype\n' .. task_type, tonumber(most))
  freed[account], freed_any = true, true
end

local function tell_of_room()
  if not freed_any then return end
  for account in pairs(freed) do call_next(account) end
end
