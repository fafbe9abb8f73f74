-- The routing policy inside HAProxy: the image of policy.py, function by function, in its order and by its names.
-- Change both together: tests/gateway/test_lua_policy.py compares them on generated requests.
--
-- `route` is what agentroute_route.lua makes of route.json. A request has the fields of types.Request; what is costly
-- to know are methods of it. Loads are those of types.Load, read from HAProxy when they are first asked for.

local list = require("agentroute_list")
local ordering = require("agentroute_ordering")

local gmatch, lower, match, sub = string.gmatch, string.lower, string.match, string.sub
local any, kept = list.any, list.kept
local chosen, distinct, least_loaded = ordering.chosen, ordering.distinct, ordering.least_loaded
local nearest = ordering.nearest

local policy = {}

local TIERS = { Simple = "Lightweight", Moderate = "Balanced", Complex = "Capable" }
local COMPLEXITIES = { simple = "Simple", moderate = "Moderate", complex = "Complex" }
local RANKS = { Public = 1, Internal = 2, Confidential = 3, Restricted = 4 }
local CLASSES = { public = "Public", internal = "Internal", confidential = "Confidential", restricted = "Restricted" }
local CODE_INTENTS = { code = true, coding = true }
local ABILITIES = { "Tools", "Vision", "LongContext" }
local LONG_CONTEXT = 8000
local ANSWERED = { "Timeout", "RateLimited", "ServerError" }
local EVERY_CAUSE = { NoEndpoint = true, Saturated = true, Timeout = true, RateLimited = true, ServerError = true }
local NOTHING = {}
local REQUEST_MS = 600000

-- The decision for one request, as types.Decision has it; its plan holds targets, not their ids.
function policy.decide(route, request, loads)
  local taken = policy.read(route, request)
  local asked, by_name = policy.asked(route, request.model)
  if #asked == 0 then
    return policy.refusal(404, "ModelNotFound", taken)
  end
  local allowed, denied = asked, NOTHING
  if any(asked, function(target) return not policy.may_see(route, request, taken, target) end) then
    allowed = kept(asked, function(target) return policy.may_see(route, request, taken, target) end)
    denied = kept(asked, function(target) return not policy.may_see(route, request, taken, target) end)
  end
  local decision
  if #allowed == 0 then
    decision = policy.refusal(403, "PrivacyDenied", taken)
  else
    local choice
    if by_name then
      choice = { reason = "Named", order = allowed, preferred = 1, when = NOTHING, last_resort = "" }
    else
      local able = policy.able(request, taken, allowed, loads)
      choice = policy.by_rule(route, request, taken, able, loads)
        or policy.by_default(route, request, taken, able, loads)
    end
    decision = policy.plan(route, request, taken, choice, loads)
  end
  decision.denied = denied
  return decision
end

function policy.higher(class, other)
  return other and RANKS[other] > RANKS[class] and other or class
end

-- The highest class that a client says, and at least `class`. A word that is no class counts as the highest.
local function raised(request, name, class)
  if request:header(name) then
    for _, value in ipairs(request:values(name)) do
      for word in gmatch(value, "[^,]+") do
        word = match(word, "^[ \t]*(.-)[ \t]*$")
        if word ~= "" then
          class = policy.higher(class, CLASSES[lower(word)] or "Restricted")
        end
      end
    end
  end
  return class
end

function policy.read(route, request)
  local said = route.complexity_header and request:header(route.complexity_header)
  local intent = route.intents[request.intent] and request.intent or route.default_intent or ""
  local sensitivity = policy.higher(route.default_sensitivity, request.sensitivity)
  sensitivity = raised(request, route.sensitivity_header, sensitivity)
  return {
    intent = intent,
    complexity = said and COMPLEXITIES[lower(said)] or request.complexity or route.default_complexity,
    sensitivity = request.readable and sensitivity or "Restricted",
    Code = CODE_INTENTS[lower(intent)],
    Tools = request.tools,
    Vision = request.vision,
    LongContext = request.prompt_tokens > LONG_CONTEXT,
  }
end

function policy.refusal(status, reason, taken)
  return {
    status = status, reason = reason, rule = "", plan = {}, hold = false, retries = {}, intent = taken.intent,
    complexity = taken.complexity, sensitivity = taken.sensitivity, denied = {}, request_ms = REQUEST_MS,
    first_byte_ms = 0,
  }
end

function policy.asked(route, model)
  if route.aliases[model] then
    return route.targets, false
  elseif route.by_name[model] then
    return { route.by_name[model] }, true
  elseif any(route.rules, function(rule) return policy.is_model(rule.match, model) end) then
    return route.targets, false
  end
  return NOTHING, false
end

function policy.is_model(match, model)
  return match.models[model] or any(match.prefixes, function(prefix) return sub(model, 1, #prefix) == prefix end)
end

function policy.may_see(route, request, taken, target)
  if request.privacy_mode ~= "Standard" and not target.identified then
    return false
  elseif target.location ~= "Cloud" then
    return true
  elseif request.privacy_mode ~= "Standard" or request.local_only then
    return false
  elseif route.regions and not route.regions[target.region] then
    return false
  end
  local limit = route.deny_cloud_from
  return not limit or RANKS[taken.sensitivity] < RANKS[limit]
end

-- Those that `can` holds for; all where there are none.
local function as_far_as_any(targets, can)
  local result = kept(targets, can)
  return #result > 0 and result or targets
end

-- In lower case; empty where none is wanted.
local function wanted_tier(request)
  return request.smaller_tier and "lightweight" or lower(request:header("x-agentroute-tier") or "")
end

function policy.able(request, taken, targets, loads)
  local able = targets
  for index = 1, #ABILITIES do
    local need = ABILITIES[index]
    if taken[need] then
      able = as_far_as_any(able, function(target) return target.capabilities[need] end)
    end
  end
  local wanted = wanted_tier(request)
  if wanted ~= "" then
    local narrowed = kept(able, function(target) return lower(target.tier) == wanted end)
    if any(narrowed, function(target) return target.scales_to_zero or loads[target.id].ready > 0 end) then
      able = narrowed
    end
  end
  return able
end

function policy.by_rule(route, request, taken, able, loads)
  for index = 1, #route.rules do
    local rule = route.rules[index]
    if policy.matches(rule.match, request, taken) then
      local own = chosen(able, rule.targets)
      local first, reason = policy.instead(rule, request, taken, able, own, loads)
      local preferred = distinct(first, ordering.ordered(rule, request, own, loads))
      local order = #rule.fallback > 0 and distinct(preferred, chosen(able, rule.fallback)) or preferred
      if #order > 0 then
        return {
          reason = reason, order = order, preferred = #first > 0 and #first or #preferred, when = rule.when,
          rule = rule, last_resort = "",
        }
      end
    end
  end
  return nil
end

function policy.matches(match, request, taken)
  return (not match.intents or match.intents[taken.intent])
    and (not match.complexity or match.complexity[taken.complexity])
    and (not match.names_models or policy.is_model(match, request.model))
    and (not match.headers or policy.has_headers(request, match.headers))
    and (not match.sensitivity or match.sensitivity[taken.sensitivity])
    and (not match.capabilities or any(match.capabilities, function(need) return taken[need] end))
    and (not match.groups or any(request:groups(), function(group) return match.groups[group] end))
    and (not match.min_tokens or request.prompt_tokens >= match.min_tokens)
    and (not match.max_tokens or request.prompt_tokens <= match.max_tokens)
end

function policy.has_headers(request, headers)
  return not any(headers, function(wanted)
    local found = request:header(wanted.name)
    return found == nil or (wanted.value ~= nil and found ~= wanted.value)
  end)
end

local function has_no_endpoint(own, loads)
  return not any(own, function(target) return loads[target.id].ready > 0 end)
end

local function waiting(own, loads)
  local total = 0
  for _, target in ipairs(own) do
    total = total + loads[target.id].waiting
  end
  return total
end

-- The least of the known latencies; 0 where none is.
local function latency_ms(own, loads)
  local least = 0
  for _, target in ipairs(own) do
    local known = loads[target.id].latency_ms
    if known > 0 and (least == 0 or known < least) then
      least = known
    end
  end
  return least
end

function policy.instead(rule, request, taken, able, own, loads)
  local escalate = rule.escalate
  if escalate and request:escalated(rule.name) < escalate.max_percent then
    local wanted = escalate.complexity[taken.complexity]
      or (escalate.no_endpoint and has_no_endpoint(own, loads))
      or (escalate.queue_depth and waiting(own, loads) >= escalate.queue_depth)
      or (escalate.latency_ms and latency_ms(own, loads) > escalate.latency_ms)
    local larger = wanted and chosen(able, escalate.targets) or NOTHING
    if #larger > 0 then
      return larger, "Escalated"
    end
  end
  if rule.canary and request:conversation() % 100 < rule.canary_percent then
    local tried = chosen(able, { rule.canary })
    if #tried > 0 then
      return tried, "Canary"
    end
  end
  return NOTHING, "Rule"
end

function policy.by_default(route, request, taken, able, loads)
  local has_default = #route.default > 0
  local groups = {}
  local function add(reason, targets, order)
    if #targets > 0 then
      groups[#groups + 1] = { reason = reason, targets = (order or least_loaded)(targets, loads) }
    end
  end
  add("Task", kept(able, function(target) return policy.is_task(taken, target) end))
  add("Primary", kept(able, function(target) return target.primary end))
  add("Default", chosen(able, route.default))
  if not has_default then
    local tier, wanted = TIERS[taken.complexity], wanted_tier(request)
    if wanted ~= "" and any(able, function(target) return lower(target.tier) == wanted end) then
      tier = string.upper(sub(wanted, 1, 1)) .. sub(wanted, 2)
    end
    add("Tier", kept(able, function(target) return target.tier == tier end))
  end
  if not has_default or #groups == 0 then
    add("Spill", able, nearest)
  end
  local order = NOTHING
  for _, group in ipairs(groups) do
    order = distinct(order, group.targets)
  end
  return {
    reason = groups[1].reason, order = order, preferred = #groups[1].targets, when = EVERY_CAUSE,
    last_resort = has_default and "" or "Balanced",
  }
end

function policy.is_task(taken, target)
  return target.tasks[taken.intent] or (taken.Code and target.capabilities.Code)
end

-- Adds those of `others` that have a ready pod, up to `attempts`. A target without one is no place to try next.
local function add_ready(plan, others, attempts, loads)
  for index = 1, #others do
    local other = others[index]
    if #plan < attempts and other ~= plan[1] and loads[other.id].ready > 0 then
      plan[#plan + 1] = other
    end
  end
end

function policy.plan(route, request, taken, choice, loads)
  local now, full = { nil, nil, nil, nil }, {}
  for index = 1, #choice.order do
    local target = choice.order[index]
    local load = loads[target.id]
    local cause = policy.cause(target, load)
    if not cause or (not choice.when[cause] and load.waiting < route.queue_max) then
      now[#now + 1] = target
    elseif cause == "Saturated" then
      full[#full + 1] = target
    end
  end
  local rule = choice.rule
  local target = now[1] or policy.waiting_place(route, choice, full, loads)
  if not target then
    local decision = policy.refusal(429, "QueueFull", taken)
    decision.rule = rule and rule.name or ""
    return decision
  end
  local side_effects = target.side_effects
  if rule and rule.side_effects ~= nil then
    side_effects = rule.side_effects
  end
  local to_retry = policy.retries(choice.when, target, request, side_effects, #now == 0)
  local plan = { target, nil, nil }
  if #to_retry > 0 then
    local attempts = rule and rule.max_attempts or 3
    add_ready(plan, now, attempts, loads)
    add_ready(plan, full, attempts, loads)
  end
  return {
    status = 200,
    reason = list.index_of(choice.order, target) <= choice.preferred and choice.reason or "Spill",
    rule = rule and rule.name or "",
    plan = plan,
    hold = loads[target.id].ready == 0,
    retries = #plan > 1 and to_retry or NOTHING,
    intent = taken.intent,
    complexity = taken.complexity,
    sensitivity = taken.sensitivity,
    request_ms = rule and rule.request_ms or REQUEST_MS,
    first_byte_ms = rule and rule.first_byte_ms or 0,
  }
end

function policy.cause(target, load)
  if load.ready == 0 then
    return target.scales_to_zero and "ColdStart" or "NoEndpoint"
  elseif target.capacity and load.active >= target.capacity * load.ready then
    return "Saturated"
  end
  return nil
end

function policy.waiting_place(route, choice, full, loads)
  local asleep = kept(choice.order, function(target) return policy.cause(target, loads[target.id]) == "ColdStart" end)
  local away = kept(choice.order, function(target) return policy.cause(target, loads[target.id]) == "NoEndpoint" end)
  if choice.last_resort ~= "" then
    full = list.sorted(full, function(target) return target.tier == choice.last_resort and 0 or 1 end)
  end
  for _, places in ipairs({ full, asleep, away }) do
    for _, target in ipairs(places) do
      if loads[target.id].waiting < route.queue_max then
        return target
      end
    end
  end
  return nil
end

-- Where all are full it `waits` at the place chosen for that: it would be sent on from there, and wait at the last one.
function policy.retries(when, target, request, side_effects, waits)
  local result = {}
  if not request.readable then
    return result
  end
  if when.Saturated and target.capacity and not waits then
    result[1] = "Saturated"
  end
  for _, cause in ipairs(side_effects and NOTHING or ANSWERED) do
    if when[cause] then
      result[#result + 1] = cause
    end
  end
  return result
end

return policy
