-- Takes a lock that is free and that nobody waits for in front of the caller; or claims one that
-- was handed to it.
-- ARGV: ..., lease in ms, ms for which the caller is in the queue without asking again, '1' if it
-- listens for its turn, until when by the server's clock this may be done (in microseconds), '' for
-- whenever. With 0 ms it does not queue, and leaves the queue if it was there.
-- Answers {1, fence, ''}, or {0, ms left to the holder, its token}, or {2, 0, ''}: it came too late, and
-- nothing was done.
local lease, patience, latest = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[7])
if latest and now > latest then
  return {2, 0, ''}
end
local holder = redis.call('GET', lock)
if holder == me then
  -- Handed over, or granted before and that reply was lost.
  local fence = last_fence()
  if fence == 0 then
    fence = next_fence()
  end
  grant(me, fence, lease)
  return {1, fence, ''}
end
local queued = redis.call('EXISTS', queue) == 1
if not holder then
  if not queued or not hand_over(me) then
    local fence = next_fence()
    grant(me, fence, lease)
    if queued then
      leave(me)
    end
    return {1, fence, ''}
  end
  holder = redis.call('GET', lock)
end
if patience > 0 then
  local terms = string.format('%.0f %.0f', now + patience * 1000, lease)
  if ARGV[6] ~= '1' then
    terms = terms .. ' a'
  end
  -- Before anything is written: it raises where something else stands in the queue's place.
  local there = redis.call('LPOS', queue, me)
  if redis.call('HSET', waiters, me, terms) == 1 or not there then
    redis.call('RPUSH', queue, me)
  end
  for _, key in ipairs({queue, waiters}) do
    if redis.call('PTTL', key) < patience then
      redis.call('PEXPIRE', key, patience)
    end
  end
elseif queued then
  leave(me)
end
return {0, redis.call('PTTL', lock), holder}
