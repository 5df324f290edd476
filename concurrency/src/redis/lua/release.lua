-- Gives a lock back, or a place in the queue. Answers whether that token had the lock.
if redis.call('GET', lock) ~= me then
  leave(me)
  return 0
end
if not hand_over() then
  redis.call('DEL', lock)
end
return 1
