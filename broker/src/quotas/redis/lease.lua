-- Moves units from the bucket KEYS[1] to a broker, and remembers who holds how much. All amounts are times: units by what
-- one is worth.
--
-- The key is a hash: `moment` is when the bucket is full; every other field is a broker, with what it holds and until when. The
-- bucket fills up no further than to the burst less all that is held.
--
-- ARGV: the broker, what it holds, what it gives back, the burst (two limbs each), microseconds until what it holds is forgotten,
-- and the amounts that would serve it, the largest first (two limbs each).
-- Returns: which amount was granted, from 1, or 0; the clock; the bucket's moment before the grant (two limbs).

local key, broker = KEYS[1], ARGV[1]
local held_high, held_low = tonumber(ARGV[2]), tonumber(ARGV[3])
local last_high, last_low = add(now, 0, tonumber(ARGV[6]), tonumber(ARGV[7]))
local lease_time = tonumber(ARGV[8])

local high, low = 0, 0
-- What has been held since somebody last looked counts for all of the time since, also if it is forgotten now.
local full_high, full_low = now, 0
local fields = redis.call('HGETALL', key)
for index = 1, #fields, 2 do
  local name = fields[index]
  if name == 'moment' then
    local stored_high, stored_low = string.match(fields[index + 1], '^(%d+) (%d+)$')
    high, low = tonumber(stored_high), tonumber(stored_low)
  else
    local other_high, other_low, ends = string.match(fields[index + 1], '^(%d+) (%d+) (%d+)$')
    full_high, full_low = add(full_high, full_low, tonumber(other_high), tonumber(other_low))
    if name == broker or tonumber(ends) <= now then redis.call('HDEL', key, name) end
  end
end
-- No bucket is emptier than empty, though the clock was set back or the burst lowered.
if before(last_high, last_low, high, low) then high, low = last_high, last_low end
if before(high, low, full_high, full_low) then high, low = full_high, full_low end
high, low = subtract(high, low, tonumber(ARGV[4]), tonumber(ARGV[5]))

local answer = { 0, now, high, low }
for index = 9, #ARGV, 2 do
  local amount_high, amount_low = tonumber(ARGV[index]), tonumber(ARGV[index + 1])
  local then_high, then_low = add(high, low, amount_high, amount_low)
  if not before(last_high, last_low, then_high, then_low) then
    answer[1] = (index - 9) / 2 + 1
    high, low = then_high, then_low
    held_high, held_low = add(held_high, held_low, amount_high, amount_low)
    break
  end
end

redis.call('HSET', key, 'moment', string.format('%.0f %.0f', high, low))
if held_high > 0 or held_low > 0 then
  redis.call('HSET', key, broker, string.format('%.0f %.0f %.0f', held_high, held_low, now + lease_time))
end
-- Others hold theirs for no longer than that either.
redis.call('PEXPIRE', key, millis_until(math.max(high, now + lease_time)))
return answer
