-- KEYS: lock, fence, queue, waiters.
-- ARGV: token, prefix of the processes' channels, '1' if PUBLISH answers how many have heard.
-- The queue is a list of tokens. The hash has for each, when its waiter counts as gone (in
-- microseconds), the lease it asks for (in ms), and an `a` if it listens to nothing and asks instead.
local lock, fences, queue, waiters = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local me, channels, counted = ARGV[1], ARGV[2], ARGV[3] == '1'
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

local function last_fence()
  local last = tonumber(redis.call('GET', fences) or '0') or 0
  if last >= 0 and last < 9e15 then
    return last
  end
  return 0 -- Not of our making: beyond that, numbers here are not exact.
end

local function next_fence()
  return math.max(last_fence() + 1, now)
end

-- Makes the token the holder, for so many ms.
local function grant(token, fence, ms)
  redis.call('SET', fences, string.format('%.0f', fence), 'PX', ms + 604800000)
  redis.call('SET', lock, token, 'PX', ms)
end

local function leave(token)
  redis.call('LREM', queue, 1, token)
  redis.call('HDEL', waiters, token)
end

-- Whether a token is one of ours: the last grant's then, and so the last fence is its.
local function is_ours(token)
  return string.match(token, '^[%x%-]+()%.%d+@') == 37
end

-- Tells the process of this token its fence, as it has the lock, or that it is `lost` and, in the next
-- line, under which fence. Processes of other versions hear it too: whatever it is, it begins with the
-- token, and the rest is as it was or none that they know. Answers how many have heard: of those who
-- listen to this server, not to its replicas. Those would be told of what nobody here has heard, and
-- what therefore is no grant. PUBLISH counts those as well who listen to a pattern, and are no process
-- of ours; so it is asked before, by whom that may ask.
local function tell(token, what)
  local channel = channels .. string.sub(token, 1, 36)
  if counted then
    local listen = redis.pcall('PUBSUB', 'NUMSUB', channel)
    if listen[2] == 0 then
      return 0
    end
  end
  redis.set_repl(redis.REPL_NONE)
  local message = token .. ' ' .. what .. '\n' .. lock
  local heard = redis.pcall('PUBLISH', channel, message)
  redis.set_repl(redis.REPL_ALL)
  return type(heard) == 'number' and heard or nil
end

-- Gives the lock, which is the caller's to give or nobody's, to the first in the queue who is alive
-- and can be told or asks soon, but to nobody behind `last`. Answers whether there was one; if not,
-- the lock is free. It has two seconds at most to claim it.
local function hand_over(last)
  -- First of all: a server that takes no writes refuses here, before anybody is told anything.
  redis.call('DEL', lock)
  -- Nearly always the first will do: no need to fetch more.
  local passed, count = 0, 1
  while true do
    local some = redis.call('LRANGE', queue, passed, passed + count - 1)
    if #some == 0 then
      return false
    end
    for _, token in ipairs(some) do
      if token == last then
        return false
      end
      local terms = redis.call('HGET', waiters, token) or ''
      -- A lease of nothing would be refused, and its waiter told before that.
      local gone, lease, asks = string.match(terms, '^(%d+) ([1-9]%d*)( ?a?)$')
      if not gone or tonumber(gone) <= now then
        leave(token)
      else
        local fence = next_fence()
        local heard = asks == '' and tell(token, string.format('%.0f', fence))
        if asks ~= '' or heard and (heard > 0 or not counted) then
          leave(token)
          grant(token, fence, math.min(tonumber(lease), 2000))
          return true
        end
        -- Who cannot be told keeps its place, and its own timer.
        passed = passed + 1
      end
    end
    count = 64
  end
end
