-- Sign out: the open tickets are nobody's from now on. ARGV: owner.
local me = ARGV[1]
for _, id in ipairs(call('ZRANGE', OPEN, 0, -1)) do
  if call('HGET', OWNERS, id) == me then 
    call('HSET', OWNERS, id, '')
    call('HSET', META, 'orphans', 1)
  end
end
call('ZREM', MEMBERS, me)
call('HDEL', FENCES, me)
call('HDEL', META, 'spent ' .. me)
call('HDEL', ABOUT, me)
return {'OK'}
