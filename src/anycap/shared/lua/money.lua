-- What is spent and held back on each day: exact sums, by the server's day. Behind slots.lua, in front of the other scripts.
--
-- An amount is a number of 10^-18 of the currency, as digits; for sums it is cut into pieces of six digits, the lowest first, as a
-- Lua number holds no more than fifteen of a product exactly. What fits is decided as in journal/budgets.py.
local BASE, DAY_MS, DAY_MAX = 1000000, 86400000, 2932896

local function pieces(digits)
  local found = {}
  for last = #digits, 1, -6 do found[#found + 1] = tonumber(string.sub(digits, math.max(1, last - 5), last)) end
  return found
end

-- Every piece within the base; what would be below zero is zero.
local function carried(sum)
  local over = 0
  for i = 1, #sum do
    local value = sum[i] + over
    over = math.floor(value / BASE)
    sum[i] = value - over * BASE
  end
  if over < 0 then return {0} end
  while over > 0 do
    sum[#sum + 1] = over % BASE
    over = math.floor(over / BASE)
  end
  return sum
end

local function plus(a, b, sign)
  local sum = {}
  for i = 1, math.max(#a, #b) do sum[i] = (a[i] or 0) + sign * (b[i] or 0) end
  return carried(sum)
end

local function times(a, b)
  local sum = {}
  for i = 1, #a + #b do sum[i] = 0 end
  for i = 1, #a do
    for j = 1, #b do sum[i + j - 1] = sum[i + j - 1] + a[i] * b[j] end
  end
  return carried(sum)
end

local function compare(a, b)
  for i = math.max(#a, #b), 1, -1 do
    local one, other = a[i] or 0, b[i] or 0
    if one ~= other then return one < other and -1 or 1 end
  end
  return 0
end

local function digits_of(sum)
  local top = #sum
  while top > 1 and sum[top] == 0 do top = top - 1 end
  local text = string.format('%d', sum[top] or 0)
  for i = top - 1, 1, -1 do text = text .. string.format('%06d', sum[i]) end
  return text
end

-- The day of a time in milliseconds.
local function day_at(at)
  return math.max(0, math.min(DAY_MAX, math.floor(at / DAY_MS)))
end

-- Of one day: account, currency, what is spent or held back, tasks of unknown price; for each account and currency.
local function totals_of(day)
  local found, lines = {}, lines_of(call('HGET', TOTALS, day) or '')
  for i = 1, #lines - 3, 4 do found[#found + 1] = {lines[i], lines[i + 1], pieces(lines[i + 2]), tonumber(lines[i + 3])} end
  return found
end

-- Count a task: hold its price back (`sign` 1), or give it back (-1), or neither (0), and add what `tasks` have cost.
local function book(held, sign, cost, tasks)
  local day, account, currency, task_type, tag, price = unpack(held)
  local place = table.concat({day, account, task_type, tag, currency}, '\n')
  local spent, count, reserved, unfinished = string.match(call('HGET', DAYS, place) or '', '^(%d+) (%d+) (%d+) (%d+)$')
  local change, more = pieces(price == '' and '0' or price), pieces(cost)
  spent = plus(pieces(spent or '0'), more, 1)
  reserved = plus(pieces(reserved or '0'), change, sign)
  count, unfinished = tonumber(count or 0) + tasks, math.max(0, tonumber(unfinished or 0) + sign)
  if count == 0 and unfinished == 0 then
    call('HDEL', DAYS, place)
    call('ZREM', PLACES, place)
  else
    local line = string.format('%s %d %s %d', digits_of(spent), count, digits_of(reserved), unfinished)
    if call('HSET', DAYS, place, line) == 1 then call('ZADD', PLACES, day, place) end
  end

  local totals, own = totals_of(day), nil
  for _, one in ipairs(totals) do
    if one[1] == account and one[2] == currency then own = one end
  end
  if not own then
    own = {account, currency, {0}, 0}
    totals[#totals + 1] = own
  end
  own[3] = plus(plus(own[3], change, sign), more, 1)
  if price == '' then own[4] = math.max(0, own[4] + sign) end
  local lines = {}
  for _, one in ipairs(totals) do
    lines[#lines + 1] = table.concat({one[1], one[2], digits_of(one[3]), string.format('%d', one[4])}, '\n')
  end
  call('HSET', TOTALS, day, table.concat(lines, '\n'))
end

-- An INTENT is written. `money`: its time, account, currency, task type, tag and price (empty: nobody knows), a line each.
local function hold_back(id, money)
  local held = call('HGET', HELD, id)
  if held then
    call('HDEL', HELD, id)
    book(lines_of(held), -1, '0', 0)
  end
  if money == '' then return end
  held = lines_of(money)
  held[1] = string.format('%d', day_at(tonumber(held[1])))
  call('HSET', HELD, id, table.concat(held, '\n'))
  book(held, 1, '0', 0)
end

-- A task is over. `cost`: "n" nothing, "p" what was held back, or an amount.
local function settle(id, cost)
  local text = call('HGET', HELD, id)
  if not text then return end
  call('HDEL', HELD, id)
  local held = lines_of(text)
  if cost == 'p' then cost = held[6] == '' and '0' or held[6] end
  if cost == 'n' then book(held, -1, '0', 0) else book(held, -1, cost, 1) end
end

-- The first limit that one more task does not fit into: its number, 1 if it only has to wait for another of unknown price, and the
-- day's totals; false if it fits. `budget`: the number of limits, then account (empty: all), currency and amount of each, then
-- currency and rate of each rate.
local function over_budget(money, budget)
  local task, b = lines_of(money), lines_of(budget)
  local account, currency, price, day = task[2], task[3], task[6], day_at(tonumber(task[1]))
  local limits, rates, one_to_one = tonumber(b[1]), {}, {1}
  for i = 2 + 3 * limits, #b - 1, 2 do rates[b[i]] = pieces(b[i + 1]) end
  local totals = totals_of(day)
  for i = 0, limits - 1 do
    local whose, into, amount = b[2 + 3 * i], b[3 + 3 * i], b[4 + 3 * i]
    local function rate_of(name)
      if name == into then return rates[into] or one_to_one end
      return rates[into] and rates[name]
    end
    local own_rate = rate_of(currency)
    if own_rate and (whose == '' or whose == account) then
      local counted, unpriced = {0}, false
      for _, total in ipairs(totals) do
        local rate = rate_of(total[2])
        if rate and (whose == '' or whose == total[1]) then
          counted = plus(counted, times(total[3], rate), 1)
          unpriced = unpriced or total[4] > 0
        end
      end
      local allowed, used_up = times(pieces(amount), rate_of(into)), nil
      if price == '' then
        used_up = compare(counted, allowed) >= 0
      else
        used_up = compare(plus(counted, times(pieces(price), own_rate), 1), allowed) > 0
      end
      if used_up or (price == '' and unpriced) then return {i, used_up and 0 or 1, call('HGET', TOTALS, day) or ''} end
    end
  end
  return false
end
