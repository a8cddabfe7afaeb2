-- This server's clock, and times as numbers that doubles hold exactly.
--
-- A time has two limbs, whole microseconds and femtoseconds below one: exact until 2^53 microseconds, in the year 2255, less
-- the longest burst of 100 years.

local MICRO = 1000000000

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])

local function add(high, low, more_high, more_low)
  high, low = high + more_high, low + more_low
  if low >= MICRO then return high + 1, low - MICRO end
  return high, low
end

local function subtract(high, low, less_high, less_low)
  high, low = high - less_high, low - less_low
  if low < 0 then return high - 1, low + MICRO end
  return high, low
end

local function before(high, low, other_high, other_low)
  return high < other_high or (high == other_high and low < other_low)
end

-- Milliseconds until then, rounded up.
local function millis_until(high)
  return string.format('%.0f', math.floor((high - now) / 1000) + 1)
end
