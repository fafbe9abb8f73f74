-- What a gateway knows of its targets at this moment: their load as HAProxy counts it, and the share of each rule's
-- requests that was escalated in the last minute. All of it is this Lua state's own, that is, of one thread.

local load = {}

local SECONDS = 60
local LATENCY_SECONDS = 60

-- Requests at a target wait and run in up to three backends: its pods, the gateway that owns its count, and the gate at
-- which they are held while it has no pods. Names of those that the configuration has.
local function find_backends(target)
  local function existing(name)
    return core.backends[name] and name or nil
  end
  target.pool = "pool_" .. target.id
  target.pods = existing("ready_" .. target.id) or target.pool
  target.owner, target.gate = existing("own_" .. target.id), existing("hold_" .. target.id)
end

-- The mean time to the first byte, as haproxy.cfg keeps it in microseconds. Unknown where nothing was answered lately:
-- a target that was slow is tried again.
local function latency_ms(txn, target)
  local at = txn:get_var("proc.latency_at_" .. target.id)
  if not at or os.time() - at >= LATENCY_SECONDS then
    return 0
  end
  return (txn:get_var("proc.latency_" .. target.id) or 0) // 1000
end

local function current(txn, target, with_latency)
  local fetch = txn.f
  if not target.pool then
    find_backends(target)
  end
  local pool, owner, gate = target.pool, target.owner, target.gate
  local active, waiting = fetch:be_conn(pool), 0
  if active > 0 then
    waiting = fetch:queue(pool)
  end
  if owner then
    -- Not both: a gateway that stands in for the owner asks itself, and then its pool has them too.
    active, waiting = math.max(active, fetch:be_conn(owner)), waiting + fetch:queue(owner)
  end
  if gate then
    local held = fetch:be_conn(gate)
    active, waiting = active + held, waiting + held
  end
  return {
    ready = fetch:nbsrv(target.pods),
    active = active,
    waiting = waiting,
    latency_ms = with_latency and latency_ms(txn, target) or 0,
  }
end

local Loads = {}
function Loads.__index(self, id)
  local value = current(self.txn, self.route.by_id[id], self.route.escalates_by_latency)
  self[id] = value -- one decision sees one number, however often it asks
  return value
end

-- The loads for one decision, by the targets' ids: each is read when it is first asked for.
function load.all(txn, route)
  return setmetatable({ txn = txn, route = route }, Loads)
end

-- Loads that are given, as { ready, active, waiting, latency_ms } by id.
function load.given(numbers)
  local result = {}
  for id, each in pairs(numbers) do
    result[id] = { ready = each[1], active = each[2], waiting = each[3], latency_ms = each[4] }
  end
  return result
end

local Share = {}
Share.__index = Share

-- Counts of one rule over the last minute, in buckets of a second.
function load.new_share()
  local share = setmetatable({ at = os.time(), all = {}, escalated = {}, sum = 0, sum_escalated = 0 }, Share)
  for second = 0, SECONDS - 1 do
    share.all[second], share.escalated[second] = 0, 0
  end
  return share
end

function Share:forget(now)
  for second = math.max(self.at + 1, now - SECONDS + 1), now do
    local bucket = second % SECONDS
    self.sum = self.sum - self.all[bucket]
    self.sum_escalated = self.sum_escalated - self.escalated[bucket]
    self.all[bucket], self.escalated[bucket] = 0, 0
  end
  self.at = now
end

function Share:percent(now)
  self:forget(now)
  return self.sum > 0 and self.sum_escalated * 100 // self.sum or 0
end

function Share:count(now, is_escalated)
  self:forget(now)
  local bucket = now % SECONDS
  self.sum, self.all[bucket] = self.sum + 1, self.all[bucket] + 1
  if is_escalated then
    self.sum_escalated, self.escalated[bucket] = self.sum_escalated + 1, self.escalated[bucket] + 1
  end
end

return load
