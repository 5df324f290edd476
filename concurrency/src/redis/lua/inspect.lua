-- Who holds a lock. Answers nothing, or {token, ms left, fence, microseconds since the fence was
-- drawn, how many wait}. One that is none of ours has drawn no fence.
local holder = redis.call('GET', lock)
if not holder then
  return false
end
local waiting = 0
for _, terms in ipairs(redis.pcall('HVALS', waiters)) do
  if (tonumber(string.match(terms, '^%d+') or '0') or 0) > now then
    waiting = waiting + 1
  end
end
local fence, since = 0, 0
if is_ours(holder) then
  fence = last_fence()
  since = fence > 0 and now - fence or 0
end
return {holder, redis.call('PTTL', lock), fence, since, waiting}
