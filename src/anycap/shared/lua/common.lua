-- In front of every script: the keys, in the order of `KEYS` in names.py, and what all scripts share.
--
-- meta     hash   generation, seq, fence, seen, hold (milliseconds of the server's clock)
-- members  zset   owner -> end of its lease, in milliseconds of the server's clock
-- fences   hash   owner -> the number it signed in under
-- about    hash   owner -> what it says of itself, as JSON
-- owners   hash   ticket -> owner; empty: nobody's
-- logs     hash   ticket -> its records, a line of JSON each
-- bodies   hash   ticket -> the vendor's answer with the solution, as JSON
-- all      zset   ticket -> its number in the order of INTENTs
-- open     zset   the same, of those that are not closed
-- closed   zset   ticket -> second of its end by the server's clock
-- erase    zset   ticket -> second from which its solution is erased, by the server's clock
-- keys     hash   idempotency key -> its tickets, the latest last
-- key_of   hash   ticket -> its idempotency key
-- kept     set    tickets whose solution outlives its delivery
-- foreign  set    tickets with a record of a later release, which are never forgotten
-- slots    hash   ticket -> account, task type, "s" (createTask on its way) or "t" (task), most tasks, most submits, life; a line each
-- lapses   zset   ticket -> when its slot lapses, in milliseconds: for what nobody ends
-- counts   hash   account -> its slots; account and "submits" -> those on their way; account, "type", task type -> its slots
-- windows  hash   account and "submits" -> createTask requests at once; account and "tasks", or "type" and a task type -> tasks, "known"
--                 and "shrunk" behind it
-- stops    hash   account and key -> until when, in milliseconds, and the stop as JSON
-- versions hash   account -> a number that grows with each change of its stops
-- bad      hash   account and ban rule -> when bad answers came, in milliseconds
-- probes   hash   account and key -> who probes, and until when that counts
-- held     hash   unfinished ticket -> day, account, currency, task type, tag and price; a line each (money.lua)
-- days     hash   day, account, task type, tag and currency -> spent, tasks, held back, unfinished tasks
-- places   zset   the names in days -> the day
-- totals   hash   day -> account, currency, spent and held back, tasks of unknown price; four lines for each
-- turns    hash   account -> members that wait for a slot; a line each: owner, until when in milliseconds room is kept for it (0: it waits),
--                 most tasks, most submits, task type (slots.lua)
local META, MEMBERS, FENCES, ABOUT, OWNERS, LOGS, BODIES, ALL = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8]
local OPEN, CLOSED, ERASE, BY_KEY, KEY_OF, KEPT, FOREIGN = KEYS[9], KEYS[10], KEYS[11], KEYS[12], KEYS[13], KEYS[14], KEYS[15]
local SLOTS, LAPSES, COUNTS, WINDOWS = KEYS[16], KEYS[17], KEYS[18], KEYS[19]
local STOPS, VERSIONS, BAD, PROBES = KEYS[20], KEYS[21], KEYS[22], KEYS[23]
local HELD, DAYS, PLACES, TOTALS, TURNS = KEYS[24], KEYS[25], KEYS[26], KEYS[27], KEYS[28]
local call = redis.call

local function milliseconds()
  local time = call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
local now = milliseconds()

local function is_alive(owner)
  local ends = owner ~= '' and call('ZSCORE', MEMBERS, owner)
  return ends and tonumber(ends) > now
end

-- Whether others may take over: the lease is over for longer than a poll takes, and the fleet has had time to say that it lives.
local function is_dead(owner, grace)
  local ends = call('ZSCORE', MEMBERS, owner)
  if ends and tonumber(ends) > now - grace then return false end
  return not ends or now >= tonumber(call('HGET', META, 'hold') or '0')
end

-- Whether the caller may write: its generation is the store's, and it is signed in under this number. Else the reason.
local function why_not(generation, owner, fence)
  if call('HGET', META, 'generation') ~= generation then return 'GENERATION' end
  if call('HGET', FENCES, owner) ~= fence then return 'FENCE' end
  return false
end

-- Whether what came of a ticket's createTask is known.
local function is_known(id)
  return call('ZSCORE', CLOSED, id) or string.find(call('HGET', LOGS, id) or '', '["accepted"', 1, true)
end

-- The time of the latest INTENT in a ticket's records, as it is written there.
local function latest_intent_of(log)
  return string.match(log, '.*%["intent",([^,]+),')
end

-- One ticket as it is given out: id, owner, whether that lives, whether the solution is kept, records, solution.
local function ticket_of(id)
  local log = call('HGET', LOGS, id)
  if not log then return false end
  local owner = call('HGET', OWNERS, id) or ''
  return {
    id, owner, is_alive(owner) and 1 or 0, call('SISMEMBER', KEPT, id), log, call('HGET', BODIES, id) or false
  }
end

-- A ticket no longer stands for its idempotency key; an earlier one of the key may.
local function forget_key(id)
  local key = call('HGET', KEY_OF, id)
  if not key then return end
  local left = {}
  for other in string.gmatch(call('HGET', BY_KEY, key) or '', '[^\n]+') do
    if other ~= id then left[#left + 1] = other end
  end
  if #left > 0 then call('HSET', BY_KEY, key, table.concat(left, '\n')) else call('HDEL', BY_KEY, key) end
  call('HDEL', KEY_OF, id)
end
