-- Takes a lock away from the holder with this fence, who is told. ARGV: ..., fence.
-- Answers whether that holder had it.
local holder = redis.call('GET', lock)
if not holder or not is_ours(holder) or (redis.call('GET', fences) or '0') ~= ARGV[4] then
  return 0
end
-- First, as in a hand-over, the write.
redis.call('DEL', lock)
-- Where the fence was evicted the grant is not known.
tell(holder, ARGV[4] == '0' and 'lost' or 'lost\n' .. ARGV[4])
hand_over()
return 1
