-- In which order targets are tried: the image of ordering.py, function by function, in its order and by its names.

local list = require("agentroute_list")

local ordering = {}

local UNCAPPED = 10
local MASK = 0xFFFFFFFF
local AWAY = 1 << 41 -- more than any key of a target that is ready
local CLOUD = 1 << 40 -- more than any load

function ordering.ordered(rule, request, own, loads)
  if rule.strategy == "Weighted" then
    return ordering.weighted(own, request:draw())
  elseif rule.strategy == "RoundRobin" then
    local start = #own > 0 and request:turn() % #own or 0
    return ordering.distinct({ table.unpack(own, start + 1) }, own)
  elseif rule.strategy == "Sticky" then
    return ordering.by_hash(own, request:conversation(), loads)
  elseif rule.strategy == "PrefixAware" then
    return ordering.by_hash(own, request:prefix(), loads)
  end
  return ordering.least_loaded(own, loads)
end

function ordering.weighted(own, draw)
  local total = 0
  for _, target in ipairs(own) do
    total = total + target.weight
  end
  local left = total > 0 and draw % total or 0
  for _, target in ipairs(own) do
    if left < target.weight then
      return ordering.distinct({ target }, own)
    end
    left = left - target.weight
  end
  return own
end

function ordering.by_hash(own, key, loads)
  return ordering.by_readiness(own, loads, function(target)
    return -ordering.mix(key, target.number)
  end)
end

function ordering.mix(key, number)
  local value = (key ~ (number * 0x9E3779B1)) & MASK
  value = ((value ~ (value >> 16)) * 0x85EBCA6B) & MASK
  value = ((value ~ (value >> 13)) * 0xC2B2AE35) & MASK
  return value ~ (value >> 16)
end

function ordering.least_loaded(targets, loads)
  return ordering.by_readiness(targets, loads, function(target)
    return ordering.permille(target, loads[target.id])
  end)
end

function ordering.nearest(targets, loads)
  return ordering.by_readiness(targets, loads, function(target)
    local key = ordering.permille(target, loads[target.id])
    return target.location == "Cloud" and key + CLOUD or key
  end)
end

-- Those with a ready pod first, then by the smaller `key`, a number below 2^41.
function ordering.by_readiness(targets, loads, key)
  if #targets < 2 then
    return targets -- nothing to compare, so nothing to ask HAProxy for
  end
  return list.sorted(targets, function(target)
    return loads[target.id].ready > 0 and key(target) or key(target) + AWAY
  end)
end

function ordering.permille(target, load)
  return load.active * 1000 // (math.max(1, load.ready) * (target.capacity or UNCAPPED))
end

-- `targets` keeps its index: the list of all targets, which most requests have, is indexed once.
function ordering.chosen(targets, ids)
  local by_id, result, count = targets.by_id, { nil, nil, nil, nil }, 0
  if not by_id then
    by_id = {}
    for index = 1, #targets do
      by_id[targets[index].id] = targets[index]
    end
    targets.by_id = by_id
  end
  for index = 1, #ids do
    local target = by_id[ids[index]]
    if target then
      count = count + 1
      result[count] = target
    end
  end
  return result
end

local function add_new(result, targets)
  for index = 1, #targets do
    if not list.index_of(result, targets[index]) then
      result[#result + 1] = targets[index]
    end
  end
end

function ordering.distinct(targets, more)
  local result = { nil, nil, nil, nil }
  add_new(result, targets)
  add_new(result, more)
  return result
end

return ordering
