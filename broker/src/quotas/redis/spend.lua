-- One transaction of the Generic Cell Rate Algorithm over KEYS. What is stored of a key is the moment at which its bucket is
-- full.
--
-- ARGV, five a key: what to do, the cost (two limbs), the burst (two limbs).
--   0 spend        decides, and spends if all are allowed
--   1 check        decides, and spends nothing
--   2 spend only   decides nothing; spends if all others are allowed, and it is itself
--   3 refund       decides nothing; gives back what fits
-- Returns: 1 if allowed, the clock, and of each key its moment before (two limbs, 0 if unknown).

-- A bucket that is full again is forgotten: by its expiry, or here.
local function store(key, high, low)
  if not before(now, 0, high, low) then return redis.call('DEL', key) end
  redis.call('SET', key, string.format('%.0f %.0f', high, low), 'PX', millis_until(high))
end

local allowed = 1
local answer = { 1, now }
local parts = {}
for index, key in ipairs(KEYS) do
  local base = (index - 1) * 5
  local part = {
    what = tonumber(ARGV[base + 1]),
    cost_high = tonumber(ARGV[base + 2]), cost_low = tonumber(ARGV[base + 3]),
  }
  local burst_high, burst_low = tonumber(ARGV[base + 4]), tonumber(ARGV[base + 5])
  local high, low = string.match(redis.call('GET', key) or '', '^(%d+) (%d+)$')
  high, low = tonumber(high or 0), tonumber(low or 0)
  -- No bucket is emptier than empty, though the clock was set back or the burst lowered.
  local last_high, last_low = add(now, 0, burst_high, burst_low)
  if before(last_high, last_low, high, low) then
    high, low = last_high, last_low
    store(key, high, low)
  end
  part.high, part.low = high, low
  local from_high, from_low = high, low
  if before(high, low, now, 0) then from_high, from_low = now, 0 end
  part.spent_high, part.spent_low = add(from_high, from_low, part.cost_high, part.cost_low)
  part.fits = not before(last_high, last_low, part.spent_high, part.spent_low)
  if part.what <= 1 and not part.fits then allowed = 0 end
  parts[index] = part
  answer[index * 2 + 1], answer[index * 2 + 2] = high, low
end

if allowed == 1 then
  for index, key in ipairs(KEYS) do
    local part = parts[index]
    if part.what == 0 or (part.what == 2 and part.fits) then
      store(key, part.spent_high, part.spent_low)
    elseif part.what == 3 and before(now, 0, part.high, part.low) then
      store(key, subtract(part.high, part.low, part.cost_high, part.cost_low))
    end
  end
end

answer[1] = allowed
return answer
