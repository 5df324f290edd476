-- What the three scripts share. FORMAT.md says what the bytes mean. Offsets count from 1 here.
-- Only the header is read and only its lease region written; the payload stays where it is.
local key = KEYS[1]
local HEADER = 64
-- Where the lease region begins, as SETRANGE counts, and what it holds when there is no lease.
local REGION = 36
local NO_LEASE = string.rep('\000', 28)
local MAGIC = '\137RC\026'
local NEVER = string.rep('\255', 8)
local TIME_END = 9007199254740992
-- No lease lasts longer. A mark that claims to is no lease, so garbage cannot block a key for good.
local MAX_LEASE = 86400000000

local function u64(bytes, at)
  return (struct.unpack('>I8', bytes, at))
end

local function server_now()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

local function is_time(bytes, at)
  return u64(bytes, at) < TIME_END or string.sub(bytes, at, at + 7) == NEVER
end

-- 'value' or 'vacant' if the header is one a reader accepts, 'garbage' if not. The checksum is left
-- to the readers: it would take the payload. The length tells an APPEND or a cut.
local function record_kind(head)
  if #head < HEADER then return 'garbage' end
  local version, length, flags, reserved = string.byte(head, 5, 8)
  if version ~= 1 or length ~= HEADER or flags > 2 or reserved ~= 0 then return 'garbage' end
  local payload = struct.unpack('>I4', head, 25)
  if payload ~= redis.call('STRLEN', key) - HEADER then return 'garbage' end
  if flags ~= 0 and payload ~= 0 then return 'garbage' end
  if not (is_time(head, 9) and is_time(head, 17)) or u64(head, 9) > u64(head, 17) then
    return 'garbage'
  end
  return flags == 2 and 'vacant' or 'value'
end

-- As record_kind; also 'none' for no bytes and 'foreign' for what may be JSON by its first byte.
local function kind_of(head)
  if head == '' then return 'none' end
  if string.sub(head, 1, 4) == MAGIC then return record_kind(head) end
  return string.find(head, '^[ \t\r\n%[{"%-%dtfn]') and 'foreign' or 'garbage'
end

local function is_marked(head)
  return string.byte(head, 37) % 2 == 1
end

-- Whether somebody has asked for the lease meanwhile, to be told when it is over.
local function is_awaited(head)
  return math.floor(string.byte(head, 37) / 2) % 2 == 1
end

-- Tells them. Who may not publish fills all the same: they look again by themselves.
local function tell(head, channel, message)
  if channel and is_awaited(head) then redis.pcall('PUBLISH', channel, message) end
end

local function lease_id(head)
  return string.sub(head, 49, 56)
end

-- How long the lease still runs, in microseconds: more than 0 or nil. The deadline stands there
-- twice: where the two differ the lease is damaged and none.
local function lease_left(head, now)
  if not is_marked(head) or string.sub(head, 41, 48) ~= string.sub(head, 57, 64) then return nil end
  local left = u64(head, 57) - now
  return left > 0 and left <= MAX_LEASE and left or nil
end

-- The header; '' if there is no key. The second result says that the key is no string.
local function read_header()
  local head = redis.pcall('GETRANGE', key, 0, HEADER - 1)
  if type(head) == 'string' then return head, false end
  if string.find(head.err, 'WRONGTYPE', 1, true) then return '', true end
  return nil, false, head
end
