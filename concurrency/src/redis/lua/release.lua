-- Gives a lock back, or a place in the queue. Answers whether that token had the lock.
if redis.call('GET', lock) ~= me then
  leave(me)
  return 0
end
hand_over()
return 1
