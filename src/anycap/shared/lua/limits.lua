-- What a member has seen of an account, and what it asks. ARGV: generation, owner, fence, account, channel,
-- how long a probe may take in milliseconds, number of reports; then four values for each:
--   opened, the stop's key, milliseconds from now to its end (empty: none), the stop as JSON: the later end wins
--   lifted, key     reset, hash of the key in use: stops of another key, which end with " @" and its hash, stay     probe, key
--   refused, task type (empty: the account)     bad, ban rule, its window in milliseconds
-- and to a store that was lost:
--   counted, ban rule, its window in milliseconds, how long ago bad answers came, in milliseconds     window, name, size
-- Answers: 'OK', version, the stops (key, milliseconds from now or empty, JSON), bad answers (rule, then milliseconds ago), the keys
-- whose probe is the caller's, the windows that a refusal has narrowed (name, size after it).
local reason = why_not(ARGV[1], ARGV[2], ARGV[3])
if reason then return {reason} end
local me, account, channel, probe_ms = ARGV[2], ARGV[4], ARGV[5], tonumber(ARGV[6])
local prefix = account .. '\n'
local changed, counted, granted, is_new = false, false, {}, false
local never = 9e15
local BAD_MOST = 1000 -- the largest number of any ban rule is 1,000 errors a minute
local SAME_MS = 500 -- times of one answer, as the clocks of several members remember it

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

-- When bad answers came, the latest first.
local function bad_since(rule, oldest)
  local times = {}
  for at in string.gmatch(call('HGET', BAD, prefix .. rule) or '', '%d+') do
    if tonumber(at) > oldest then times[#times + 1] = tonumber(at) end
  end
  return times
end

local function keep_bad(rule, times)
  local kept = {}
  for i = 1, math.min(#times, BAD_MOST) do kept[i] = string.format('%.0f', times[i]) end
  call('HSET', BAD, prefix .. rule, table.concat(kept, ' '))
  counted = true
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
      local of_key = string.match(name, ' @(%S+)$')
      if string.sub(name, 1, #prefix) == prefix and (not of_key or of_key == key) then
        call('HDEL', STOPS, name)
        call('HDEL', PROBES, name)
        changed = true
      end
    end
    call('HDEL', WINDOWS, prefix .. 'submits')
  elseif what == 'probe' then
    local holder = call('HGET', PROBES, prefix .. key)
    local who, ends = string.match(holder or '', '^(%x+) (%d+)$')
    local over = stop_at(key)
    -- Not before its end, should it have been prolonged since it was asked. A stop without one ends when a probe goes well.
    if over and (over <= now or over >= never) and (not who or who == me or tonumber(ends) <= now or not is_alive(who)) then
      -- Whoever had it before, and may believe so still, looks before the next request.
      if who and who ~= me then changed = true end
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
    local times = bad_since(key, now - tonumber(a))
    table.insert(times, 1, now)
    keep_bad(key, times)
  elseif what == 'counted' then
    -- What both know of counts once: the times of one that are near none of the other's are added.
    local known, times = bad_since(key, now - tonumber(a)), {}
    local place = 1
    for age in string.gmatch(b, '%d+') do
      local at = now - tonumber(age)
      while place <= #known and known[place] > at + SAME_MS do
        times[#times + 1] = known[place]
        place = place + 1
      end
      if place <= #known and known[place] >= at - SAME_MS then
        times[#times + 1] = known[place]
        place = place + 1
      elseif at > now - tonumber(a) then
        times[#times + 1] = at
      end
    end
    for i = place, #known do times[#times + 1] = known[i] end
    keep_bad(key, times)
  elseif what == 'window' then
    if call('HSETNX', WINDOWS, prefix .. key, a) == 1 then
      call('HSET', WINDOWS, prefix .. key .. '\nknown', a)
      call('HSET', WINDOWS, prefix .. key .. '\nshrunk', now)
    end
  end
end
if changed then call('HINCRBY', VERSIONS, account, 1) end
-- Bad answers alone make no new version: slots are granted by the store's own count of them. A plus tells the others to look.
if changed or counted then
  call('PUBLISH', channel, version_of(account) .. (changed and '' or '+') .. '\n' .. account .. '\n' .. me)
end

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
local windows = {}
for _, name in ipairs(call('HKEYS', WINDOWS)) do
  local of = string.match(name, '^(.*)\nknown$')
  if of and string.sub(of, 1, #prefix) == prefix then
    windows[#windows + 1] = {string.sub(of, #prefix + 1), call('HGET', WINDOWS, name)}
  end
end
return {'OK', version_of(account), stops, bad, granted, windows}
