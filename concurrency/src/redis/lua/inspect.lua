-- Who holds a lock. KEYS: lock, fence.
-- Answers nothing, or {token, ms left, fence, microseconds since the fence was drawn}.
local holder = redis.call('GET', KEYS[1])
if not holder then
  return false
end
local fence = tonumber(redis.call('GET', KEYS[2]) or '0') or 0
local time = redis.call('TIME')
local since = time[1] * 1000000 + time[2] - fence
return {holder, redis.call('PTTL', KEYS[1]), fence, since}
