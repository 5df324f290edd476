-- Who holds a lock. Answers nothing, or {token, ms left, fence, microseconds since the fence was
-- drawn, how many wait}.
local holder = redis.call('GET', lock)
if not holder then
  return false
end
local waiting = 0
for _, terms in ipairs(redis.call('HVALS', waiters)) do
  if (tonumber(string.match(terms, '^%d+') or '0') or 0) > now then
    waiting = waiting + 1
  end
end
local fence = last_fence()
return {holder, redis.call('PTTL', lock), fence, now - fence, waiting}
