-- Prolongs leases. KEYS: lock and fence of each. ARGV: token and lease in ms of each.
-- Answers for each whether that token has the lock.
local had = {}
for i = 1, #KEYS, 2 do
  local holder = redis.pcall('GET', KEYS[i])
  had[(i + 1) / 2] = 0
  if holder == ARGV[i] then
    had[(i + 1) / 2] = redis.call('PEXPIRE', KEYS[i], ARGV[i + 1])
    redis.pcall('PEXPIRE', KEYS[i + 1], ARGV[i + 1] + 604800000)
  end
end
return had
