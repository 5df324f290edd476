-- Takes a lock away from the holder with this fence. KEYS: lock, fence. ARGV: fence.
-- Answers whether that holder had it.
if (redis.call('GET', KEYS[2]) or '0') == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
