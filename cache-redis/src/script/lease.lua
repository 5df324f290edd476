-- lease: asks for the right to fill KEYS[1].
-- ARGV: lease id (8 bytes), how long (microseconds), what for ('load', 'refresh', 'repair' or
-- 'adopt'), and for 'repair' the first bytes, up to 36, of what the caller found and could not use,
-- for 'adopt' the record that is to stand for the foreign JSON which is its payload; 'waits' if
-- the caller wants to be told when another's lease is over, else ''; until when by the server's clock
-- (microseconds) the request is good, '' for whenever.
-- {3}: it came too late. {1}: granted. {0, microseconds}: held by another. {2, value}: there is one that need not be
-- loaded. {2, value, milliseconds left or -1}: likewise, and it may be foreign JSON.
local id, purpose, seen, waits = ARGV[1], ARGV[3], ARGV[4], ARGV[5] == 'waits'
local ttl = math.min(math.max(tonumber(ARGV[2]), 0), MAX_LEASE)
local head, wrong_type, failure = read_header()
if failure then return failure end
local now = server_now()
local latest = tonumber(ARGV[6])
if latest and now > latest then return {3} end
local deadline = struct.pack('>I8', now + ttl)
local region = '\001' .. string.rep('\000', 3) .. deadline .. id .. deadline

-- Redis counts in milliseconds and may begin one early: rounded up and one more, so that the key
-- outlives the lease and not by much.
local millis = string.format('%.0f', math.ceil(ttl / 1000) + 1)

local function lease_alone()
  -- The constant is the checksum of these bytes.
  local record = MAGIC .. '\001\064\002\000' .. string.rep('\000', 24) .. '\025\129\067\178' .. region
  redis.call('SET', key, record, 'PX', millis)
  return {1}
end

-- On the value that is there. It may be over before the lease is: the key stays then, as readers judge
-- by the header. Who may not PEXPIRE has the lease all the same.
local function lease_on_value()
  redis.call('SETRANGE', key, REGION, region)
  local left = redis.call('PTTL', key)
  if left >= 0 and left < tonumber(millis) then redis.pcall('PEXPIRE', key, millis) end
  return {1}
end

if wrong_type then
  -- SET would free it here and now, however big.
  redis.call('UNLINK', key)
  return lease_alone()
end
local kind = kind_of(head)
if kind == 'value' or kind == 'vacant' then
  local left = lease_left(head, now)
  if left then
    if waits and not is_awaited(head) then
      -- A server that takes no writes just now has still an answer.
      redis.pcall('SETRANGE', key, REGION, string.char(string.byte(head, 37) + 2))
    end
    return {0, left}
  end
end
if kind == 'none' or kind == 'vacant' or kind == 'garbage' then return lease_alone() end
-- Only what the caller has seen: it may have been repaired meanwhile. The first 36 bytes hold the
-- checksum and no lease.
if purpose == 'repair' and string.sub(head, 1, REGION) == seen then
  return lease_alone()
end
if kind == 'foreign' and purpose == 'adopt' and redis.call('GET', key) == string.sub(seen, HEADER + 1) then
  local left = redis.call('PTTL', key)
  if left == 0 then return lease_alone() end
  if left > 0 then
    redis.call('SET', key, seen, 'PX', left)
  else
    redis.call('SET', key, seen)
  end
  return lease_on_value()
end
if kind == 'foreign' then
  return {2, redis.call('GET', key), redis.call('PTTL', key)}
end
if now >= u64(head, 17) then return lease_alone() end
if now < u64(head, 9) and purpose ~= 'refresh' and purpose ~= 'adopt' then
  return {2, redis.call('GET', key)}
end
return lease_on_value()
