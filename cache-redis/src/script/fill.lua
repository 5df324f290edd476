-- fill: puts a record under KEYS[1] if the lease is still good.
-- ARGV: lease id (8 bytes), the record; channel and message for whoever waits, or neither. Its key
-- lives until the record's servable-until; one that is over already leaves no key. 1: done. 0: the
-- lease was revoked or has run out.
local head, _, failure = read_header()
if failure then return failure end
local kind = kind_of(head)
if kind ~= 'value' and kind ~= 'vacant' then return 0 end
local now = server_now()
if lease_id(head) ~= ARGV[1] or not lease_left(head, now) then return 0 end
local record = ARGV[2]
if string.sub(record, 17, 24) == NEVER then
  redis.call('SET', key, record)
  tell(head, ARGV[3], ARGV[4])
  return 1
end
local left = u64(record, 17) - now
if left <= 0 then
  redis.call('UNLINK', key)
else
  redis.call('SET', key, record, 'PX', string.format('%.0f', math.ceil(left / 1000)))
end
tell(head, ARGV[3], ARGV[4])
return 1
