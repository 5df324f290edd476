-- Writes something for a lock that the token has. KEYS: lock, fence. ARGV: token, ms for the fence to
-- live. Answers whether it was written. What else may stand there is no error, which would be one for the
-- locks that are asked about with it.
if redis.pcall('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
return redis.call('PEXPIRE', KEYS[2], ARGV[2])
