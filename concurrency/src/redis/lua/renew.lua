-- Prolongs a lease. KEYS: lock, fence. ARGV: token, lease in ms, life of the fence in ms.
-- Answers whether that token has the lock.
if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('PEXPIRE', KEYS[2], ARGV[3])
  return redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 0
