-- What a member has seen of an account, and what it asks. ARGV: generation, owner, fence, account, channel,
-- how long a probe may take in milliseconds, number of reports; then four values for each:
--   opened, the stop's key, milliseconds from now to its end (empty: none), the stop as JSON: the later end wins
--   lifted, key     reset     probe, key
--   refused, task type (empty: the account)     bad, ban rule, its window in milliseconds
-- Answers: 'OK', version, the stops (key, milliseconds from now or empty, JSON), bad answers (rule, then milliseconds ago), the keys
-- whose probe is the caller's.
local reason = why_not(ARGV[1], ARGV[2], ARGV[3])
if reason then return {reason} end
local me, account, channel, probe_ms = ARGV[2], ARGV[4], ARGV[5], tonumber(ARGV[6])
local prefix = account .. '\n'
local changed, granted, is_new = false, {}, false
local never = 9e15

local function stop_at(key)
  local text = call('HGET', STOPS, prefix .. key)
  if not text then return nil end
  local ends, body = string.match(text, '^(%d+)\n(.*)$')
  return tonumber(ends), body
end

local function shrink(name, unfinished)
  local kept = math.max(1, unfinished * 0.8)
  local size = tonumber(call('HGET', WINDOWS, name) or kept)
  call('HSET', WINDOWS, name, math.min(size, kept))
  if unfinished > 0 then call('HSET', WINDOWS, name .. '\nknown', kept) end
  call('HSET', WINDOWS, name .. '\nshrunk', now)
end

for i = 0, tonumber(ARGV[7]) - 1 do
  local what, key, a, b = unpack(ARGV, 8 + 4 * i, 11 + 4 * i)
  if what == 'opened' then
    local ends = a == '' and never or now + tonumber(a)
    local before = stop_at(key)
    is_new = not before or before <= now
    if not before or ends >= before or call('HGET', PROBES, prefix .. key) then
      call('HSET', STOPS, prefix .. key, string.format('%.0f', ends) .. '\n' .. b)
      call('HDEL', PROBES, prefix .. key)
      changed = true
    end
  elseif what == 'lifted' then
    if call('HDEL', STOPS, prefix .. key) == 1 then changed = true end
    call('HDEL', PROBES, prefix .. key)
  elseif what == 'reset' then
    for _, name in ipairs(call('HKEYS', STOPS)) do
      if string.sub(name, 1, #prefix) == prefix then
        call('HDEL', STOPS, name)
        call('HDEL', PROBES, name)
        changed = true
      end
    end
    call('HDEL', WINDOWS, prefix .. 'submits')
  elseif what == 'probe' then
    local holder = call('HGET', PROBES, prefix .. key)
    local who, ends = string.match(holder or '', '^(%x+) (%d+)$')
    if stop_at(key) and (not who or who == me or tonumber(ends) <= now or not is_alive(who)) then
      call('HSET', PROBES, prefix .. key, me .. ' ' .. string.format('%.0f', now + probe_ms))
      granted[#granted + 1] = key
    end
  elseif what == 'refused' then
    -- One step back for each time the vendor is full, however many requests of however many members were told so.
    if is_new then
      local of = key == '' and prefix .. 'tasks' or prefix .. 'type\n' .. key
      local counted = key == '' and account or prefix .. 'type\n' .. key
      shrink(of, math.max(0, number_at(COUNTS, counted, 0) - number_at(COUNTS, prefix .. 'submits', 0)))
    end
  elseif what == 'bad' then
    local kept = {string.format('%.0f', now)}
    for at in string.gmatch(call('HGET', BAD, prefix .. key) or '', '%d+') do
      if tonumber(at) > now - tonumber(a) then kept[#kept + 1] = at end
    end
    call('HSET', BAD, prefix .. key, table.concat(kept, ' '))
    changed = true
  end
end
if changed then
  local version = call('HINCRBY', VERSIONS, account, 1)
  call('PUBLISH', channel, version .. '\n' .. account)
end

local version = call('HGET', VERSIONS, account) or '0'
local stops, bad = {}, {}
local names = call('HKEYS', STOPS)
for _, name in ipairs(names) do
  if string.sub(name, 1, #prefix) == prefix then
    local key = string.sub(name, #prefix + 1)
    local ends, body = stop_at(key)
    stops[#stops + 1] = {key, ends >= never and '' or ends - now, body}
  end
end
for _, name in ipairs(call('HKEYS', BAD)) do
  if string.sub(name, 1, #prefix) == prefix then
    local ages = {string.sub(name, #prefix + 1)}
    for at in string.gmatch(call('HGET', BAD, name), '%d+') do ages[#ages + 1] = now - tonumber(at) end
    bad[#bad + 1] = ages
  end
end
return {'OK', version, stops, bad, granted}
