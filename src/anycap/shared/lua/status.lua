-- The fleet as it is, for people and metrics; changes nothing. ARGV: where to begin among the open tickets, how many of them.
-- Answers: the number after the last ticket looked at; how many are whose and in which state (owner, state, count); and on the
-- first page what else there is: the time in milliseconds, generation, milliseconds until members may be taken for dead, members (owner, milliseconds left
-- of the lease, what it says of itself), then the fields of `counts`, `windows`, `stops`, `bad` and `probes`, times as
-- milliseconds from now.
local from, count = ARGV[1], tonumber(ARGV[2])

local function state_of(id)
  if call('ZSCORE', ERASE, id) then return 'result' end
  return string.match(call('HGET', LOGS, id) or '', '%["([%w_]+)"[^\n]*\n$') or ''
end

local last, held, order = 0, {}, {}
local page = call('ZRANGE', OPEN, '(' .. from, '+inf', 'BYSCORE', 'LIMIT', 0, count, 'WITHSCORES')
for i = 1, #page, 2 do
  local id = page[i]
  last = page[i + 1]
  local place = (call('HGET', OWNERS, id) or '') .. '\n' .. state_of(id)
  if not held[place] then
    held[place] = 0
    order[#order + 1] = place
  end
  held[place] = held[place] + 1
end
local tickets = {}
for i, place in ipairs(order) do tickets[i] = {place, held[place]} end
if from ~= '0' then return {last, tickets} end

local members, leases = {}, call('ZRANGEBYSCORE', MEMBERS, '-inf', '+inf', 'WITHSCORES')
for i = 1, #leases, 2 do
  members[#members + 1] = {leases[i], tonumber(leases[i + 1]) - now, call('HGET', ABOUT, leases[i]) or ''}
end

local function fields_of(hash)
  local found = {}
  for _, name in ipairs(call('HKEYS', hash)) do found[#found + 1] = {name, call('HGET', hash, name)} end
  return found
end

local stops, bad, probes = fields_of(STOPS), fields_of(BAD), fields_of(PROBES)
for _, stop in ipairs(stops) do
  local ends, said = string.match(stop[2], '^(%d+)\n(.*)$')
  -- 9e15: no time ends it (limits.lua)
  stop[2], stop[3] = tonumber(ends) >= 9e15 and '' or tonumber(ends) - now, said
end
for _, rule in ipairs(bad) do
  local ages = {}
  for at in string.gmatch(rule[2], '%d+') do ages[#ages + 1] = now - tonumber(at) end
  rule[2] = ages
end
for _, probe in ipairs(probes) do
  local who, ends = string.match(probe[2], '^(%x+) (%d+)$')
  probe[2], probe[3] = who or '', (tonumber(ends) or now) - now
end
return {
  last, tickets, now, call('HGET', META, 'generation') or '', math.max(0, tonumber(call('HGET', META, 'hold') or '0') - now),
  members, fields_of(COUNTS), fields_of(WINDOWS), stops, bad, probes
}
