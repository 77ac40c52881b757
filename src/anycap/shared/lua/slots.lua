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

-- Somebody waits for what the vendor's next answer to a createTask may give. Without that nobody has to be told of it.
local function awaits_answer(account)
  call('HSET', META, 'awaits ' .. account, 1)
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
  local submits = number_at(COUNTS, account .. '\nsubmits', 0)
  if submits >= math.min(most_submits, number_at(WINDOWS, account .. '\nsubmits', 1)) then
    awaits_answer(account)
    return {'submit_window', ''}
  end
  local window = math.floor(number_at(WINDOWS, account .. '\ntasks', most))
  if number_at(COUNTS, account, 0) >= math.min(most, window) then
    if window < most then awaits_answer(account) end
    return {'max_in_flight', ''}
  end
  local of_type = account .. '\ntype\n' .. task_type
  if number_at(COUNTS, of_type, 0) >= math.floor(number_at(WINDOWS, of_type, most)) then
    awaits_answer(account)
    return {'task_type', task_type}
  end
  for i = 8, #w - 2, 3 do
    if not is_within(account, w[i], tonumber(w[i + 1]), tonumber(w[i + 2]), submits) then
      awaits_answer(account)
      return {'ban_rule', w[i]}
    end
  end
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

-- The vendor has taken the task.
local function accepted(id)
  local slot = call('HGET', SLOTS, id)
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
  if call('HDEL', META, 'awaits ' .. account) == 1 then freed[account], freed_any = true, true end
end

local function tell_of_room(channel)
  if not freed_any then return end
  for account in pairs(freed) do
    call('PUBLISH', channel, version_of(account) .. '\n' .. account)
  end
end
