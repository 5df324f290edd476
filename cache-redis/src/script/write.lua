-- write: puts records under KEYS, if it is not too late.
-- ARGV: until when by the server's clock, in microseconds, '' for whenever; then for each key its
-- record and how long the key lives in milliseconds: 0 not at all, '' for ever. 1: done. 0: too late.
local latest = tonumber(ARGV[1])
if latest then
  local time = redis.call('TIME')
  if tonumber(time[1]) * 1000000 + tonumber(time[2]) > latest then return 0 end
end
for at, key in ipairs(KEYS) do
  local record, millis = ARGV[2 * at], ARGV[2 * at + 1]
  if millis == '0' then
    redis.call('UNLINK', key)
  elseif millis == '' then
    redis.call('SET', key, record)
  else
    redis.call('SET', key, record, 'PX', millis)
  end
end
return 1
