-- What was spent and is held back. ARGV: the first day, how many lines to leave out, how many to give. Answers: for each line
-- day, account, task type, tag and currency, then what is spent, by how many tasks, held back, and for how many.
local found = {}
for _, place in ipairs(call('ZRANGEBYSCORE', PLACES, ARGV[1], '+inf', 'LIMIT', ARGV[2], ARGV[3])) do
  found[#found + 1] = {place, call('HGET', DAYS, place) or ''}
end
return found
