-- Sign in, or renew the lease. ARGV: a generation for an empty store, owner, fence (empty: sign in), lease and grace in
-- milliseconds, what the owner says of itself, the generation that it knows (empty: none), how long the members of a store that was
-- lost have to write again what they had in it, in milliseconds.
-- Answers: 'OK' or 'FENCE' (the lease was over, and another has taken over), generation, fence, the owners that are dead beyond
-- the grace, whether there are open tickets that are nobody's, how many members live, the time in milliseconds.
local owner, fence, lease, grace = ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local generation = call('HGET', META, 'generation')
if not generation then
  generation = ARGV[1]
  call('HSET', META, 'generation', generation)
end
-- The store has lost what it had. Until all who live have told it of their tasks, a slot that seems to be free may not be.
if ARGV[7] ~= '' and ARGV[7] ~= generation then call('HSETNX', META, 'slots_from', now + tonumber(ARGV[8])) end
-- Nobody was seen for half a lease: the store was away, and everybody's lease may be over through no fault of theirs. Give
-- them one lease to say that they live.
local seen = tonumber(call('HGET', META, 'seen') or '0')
if now - seen > lease / 2 then
  call('HSET', META, 'hold', now + lease)
  -- It was away again before all had told it of their tasks: they have as long once more.
  if tonumber(call('HGET', META, 'slots_from') or '0') > seen then call('HSET', META, 'slots_from', now + tonumber(ARGV[8])) end
end
call('HSET', META, 'seen', now)
local known = call('HGET', FENCES, owner)
if fence == '' then
  if not known then
    known = tostring(call('HINCRBY', META, 'fence', 1))
    call('HSET', FENCES, owner, known)
  end
elseif known ~= fence then
  return {'FENCE', generation}
end
call('ZADD', MEMBERS, now + lease, owner)
call('HSET', ABOUT, owner, ARGV[6])
-- Room that was kept for a member that has died meanwhile is the next one's.
call_next_of_all()
local dead = {}
if now >= tonumber(call('HGET', META, 'hold') or '0') then
  dead = call('ZRANGEBYSCORE', MEMBERS, '-inf', '(' .. (now - grace), 'LIMIT', 0, 100)
end
local alive = #call('ZRANGEBYSCORE', MEMBERS, '(' .. now, '+inf')
return {'OK', generation, known, dead, tonumber(call('HGET', META, 'orphans') or '0'), alive, now}
