-- Erase solutions whose validity is over, and closed tickets whose keeping time is. ARGV: generation, owner, fence, the
-- second up to which solutions are erased, the one up to whose ends tickets are forgotten, the line of an EXPIRED record, how many at most, the day before
-- which nobody asks any more what was spent.
-- Answers: 'OK', how many were erased, whether there may be more.
local reason = why_not(ARGV[1], ARGV[2], ARGV[3])
if reason then return {reason} end
local at, line, most = ARGV[4], ARGV[6], tonumber(ARGV[7])
local lapsed = call('ZRANGEBYSCORE', ERASE, '-inf', at, 'LIMIT', 0, most)
for _, id in ipairs(lapsed) do
  call('HDEL', BODIES, id)
  call('ZREM', ERASE, id)
  if not call('ZSCORE', CLOSED, id) then
    free(id)
    call('HSET', LOGS, id, (call('HGET', LOGS, id) or '') .. line .. '\n')
    call('ZADD', CLOSED, at, id)
    call('ZREM', OPEN, id)
  end
end
local forgotten = 0
local old = call('ZRANGEBYSCORE', CLOSED, '-inf', ARGV[5], 'LIMIT', 0, most)
for _, id in ipairs(old) do
  if call('SISMEMBER', FOREIGN, id) == 0 then
    forgotten = forgotten + 1
    forget_key(id)
    call('HDEL', OWNERS, id)
    call('HDEL', LOGS, id)
    call('HDEL', BODIES, id)
    call('ZREM', ERASE, id)
    call('ZREM', ALL, id)
    call('ZREM', CLOSED, id)
    call('SREM', KEPT, id)
  end
end
for _, place in ipairs(call('ZRANGEBYSCORE', PLACES, '-inf', '(' .. ARGV[8], 'LIMIT', 0, most)) do
  call('HDEL', DAYS, place)
  call('ZREM', PLACES, place)
  call('HDEL', TOTALS, string.match(place, '^%d+'))
end
tell_of_room()
return {'OK', #lapsed + forgotten, (#lapsed == most or #old == most) and 1 or 0}
