-- Loads route.json, the compiled policy, into the tables that agentroute_policy.lua works with. Runs once, at the
-- start: what is wrong stops HAProxy there, before it takes a request.

local json = require("agentroute_json")
local list = require("agentroute_list")

local route = {}

-- Lists in which a value is looked up become sets; an empty one that allows everything becomes nil.
local function allowing(entries)
  return #entries > 0 and list.set(entries) or nil
end

local function prepare_target(target, by_name)
  target.number = tonumber(string.sub(target.id, 2))
  target.tasks = list.set(target.tasks)
  target.capabilities = list.set(target.capabilities)
  for _, name in ipairs(target.names) do
    by_name[name] = by_name[name] or target
  end
end

local function prepare_match(match)
  match.names_models = #match.models > 0
  match.prefixes = {}
  for _, pattern in ipairs(match.models) do
    match.prefixes[#match.prefixes + 1] = string.match(pattern, "^(.*)%*$")
  end
  match.models = list.set(list.kept(match.models, function(pattern) return string.sub(pattern, -1) ~= "*" end))
  match.intents = allowing(match.intents)
  match.complexity = allowing(match.complexity)
  match.sensitivity = allowing(match.sensitivity)
  match.groups = allowing(match.groups)
  match.capabilities = #match.capabilities > 0 and match.capabilities or nil
  match.headers = #match.headers > 0 and match.headers or nil
end

local function prepare_rule(rule)
  prepare_match(rule.match)
  rule.when = list.set(rule.when)
  if rule.escalate then
    rule.escalate.complexity = list.set(rule.escalate.complexity)
  end
end

-- The route that the file at `path` describes.
function route.load(path)
  local file <close> = assert(io.open(path, "rb"))
  local result, problem = json.decode(file:read("a"))
  if not result then
    error("cannot read the route from " .. path .. ": " .. problem)
  end
  result.by_id, result.by_name, result.rules_by_name = {}, {}, {}
  for _, target in ipairs(result.targets) do
    prepare_target(target, result.by_name)
    result.by_id[target.id] = target
  end
  for _, rule in ipairs(result.rules) do
    prepare_rule(rule)
    result.rules_by_name[rule.name] = rule
    result.escalates_by_latency = result.escalates_by_latency or (rule.escalate and rule.escalate.latency_ms ~= nil)
    result.by_prefix = result.by_prefix or rule.strategy == "PrefixAware"
    result.is_hashed = result.is_hashed or result.by_prefix or rule.strategy == "Sticky"
  end
  result.targets.by_id = result.by_id
  result.aliases = list.set(result.aliases)
  result.intents = list.set(result.intents)
  result.regions = allowing(result.regions)
  return result
end

return route
