-- Takes a lock that is free.
-- KEYS: lock, fence. ARGV: token, lease in ms, life of the fence in ms.
-- Answers {1, fence, ''}, or {0, ms left to the holder, its token}.
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then
  return {0, redis.call('PTTL', KEYS[1]), holder}
end
local last = tonumber(redis.call('GET', KEYS[2]) or '0') or 0
if not (last >= 0 and last < 9e15) then
  last = 0 -- Not of our making: beyond that, numbers here are not exact.
end
if holder and last > 0 then
  return {1, last, ''} -- Granted before; that reply was lost.
end
local time = redis.call('TIME')
local fence = math.max(last + 1, time[1] * 1000000 + time[2])
redis.call('SET', KEYS[2], string.format('%.0f', fence), 'PX', ARGV[3])
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return {1, fence, ''}
