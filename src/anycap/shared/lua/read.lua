-- Tickets as they are. ARGV: what ("ids", "key", "mine", "open" or "all"), where to begin, how many; then ids, the key, or the
-- owner. Answers: the number after the last one looked at, the tickets.
local what, from, count = ARGV[1], ARGV[2], tonumber(ARGV[3])
local found = {}
if what == 'ids' then
  for i = 4, #ARGV do found[#found + 1] = ticket_of(ARGV[i]) end
  return {0, found}
end
if what == 'key' then
  for id in string.gmatch(call('HGET', BY_KEY, ARGV[4]) or '', '[^\n]+') do found[#found + 1] = ticket_of(id) end
  return {0, found}
end
local last = 0
local page = call('ZRANGE', what == 'all' and ALL or OPEN, '(' .. from, '+inf', 'BYSCORE', 'LIMIT', 0, count, 'WITHSCORES')
for i = 1, #page do
  local entry = page[i]
  local id, number = entry, nil
  if type(entry) == 'table' then id, number = entry[1], entry[2] elseif i % 2 == 1 then number = page[i + 1] end
  if number then
    last = tonumber(number)
    if what ~= 'mine' or call('HGET', OWNERS, id) == ARGV[4] then found[#found + 1] = ticket_of(id) end
  end
end
return {last, found}
