-- abandon: gives the lease on KEYS[1] back. ARGV: lease id (8 bytes); channel and message for whoever
-- waits, or neither. 1: done. 0: not there.
local head, _, failure = read_header()
if failure then return failure end
local kind = kind_of(head)
if kind ~= 'value' and kind ~= 'vacant' then return 0 end
if not is_marked(head) or lease_id(head) ~= ARGV[1] then return 0 end
-- A value that is over is there for the lease alone.
if kind == 'vacant' or server_now() >= u64(head, 17) then
  redis.call('UNLINK', key)
else
  -- No key can expire while a script runs, so this never makes one anew.
  redis.call('SETRANGE', key, REGION, NO_LEASE)
end
tell(head, ARGV[2], ARGV[3])
return 1
