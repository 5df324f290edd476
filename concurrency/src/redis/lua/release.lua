-- Gives a lock back. KEYS: lock. ARGV: token. Answers whether that token had it.
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
