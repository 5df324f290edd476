-- Takes a lock away from the holder with this fence. ARGV: ..., fence.
-- Answers whether that holder had it.
if (redis.call('GET', fences) or '0') ~= ARGV[4] or redis.call('EXISTS', lock) == 0 then
  return 0
end
hand_over()
return 1
