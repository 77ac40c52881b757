-- Take over the open tickets of an owner that is dead beyond the grace, or nobody's. ARGV: generation, owner, fence, the dead
-- one (empty: nobody), grace in milliseconds, the accounts that the caller has, a line each (empty: all).
-- Answers: 'OK', the tickets taken over, how many are left because no account of the caller's is theirs.
local reason = why_not(ARGV[1], ARGV[2], ARGV[3])
if reason then return {reason} end
local me, dead, grace = ARGV[2], ARGV[4], tonumber(ARGV[5])
local accounts
for name in string.gmatch(ARGV[6], '[^\n]+') do
  accounts = accounts or {}
  accounts[name] = true
end
if dead ~= '' and not is_dead(dead, grace) then return {'OK', {}, 0} end

local function is_ours(id)
  if not accounts then return true end
  local first = string.match(call('HGET', LOGS, id) or '', '^[^\n]+')
  local read, record = pcall(cjson.decode, first or '')
  return read and type(record[3]) == 'table' and accounts[record[3].account]
end

local taken, left = {}, 0
for _, id in ipairs(call('ZRANGE', OPEN, 0, -1)) do
  if call('HGET', OWNERS, id) == dead then
    if is_ours(id) then
      call('HSET', OWNERS, id, me)
      taken[#taken + 1] = id
    else
      left = left + 1
    end
  end
end
if dead == '' then
  call('HSET', META, 'orphans', left > 0 and 1 or 0)
else
  -- From now on whatever the dead one writes is refused, should it wake up.
  call('HDEL', FENCES, dead)
  if left == 0 then
    call('ZREM', MEMBERS, dead)
    call('HDEL', ABOUT, dead)
    call('HDEL', META, 'spent ' .. dead)
  end
end
return {'OK', taken, left}
