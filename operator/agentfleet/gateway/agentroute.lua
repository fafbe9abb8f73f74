-- What HAProxy asks of an AgentRoute's policy: the actions `scan`, `ask`, `route` and `dry_run`, and the filter
-- `rewrite`. haproxy.py renders the configuration that calls them; this file only carries between its variables, txn.*,
-- and the pure parts: agentroute_scan.lua reads requests, agentroute_policy.lua decides.
--
--   lua-load-per-thread agentroute.lua ROUTE.JSON BUFFER [trial]
--
-- BUFFER is tune.bufsize. With `trial` the header x-agentroute-trial may say what only a gateway knows, such as loads:
-- so tests compare decisions with policy.py's. A gateway never has it.

local load = require("agentroute_load")
local policy = require("agentroute_policy")
local rewrite = require("agentroute_rewrite")
local scan = require("agentroute_scan")

local arguments = { ... }
local route = require("agentroute_route").load(arguments[1])
rewrite.know(route)
local buffer = tonumber(arguments[2]) or 262144
local decode = arguments[3] == "trial" and require("agentroute_json").decode

-- Nearly all that a request leaves behind is garbage at once: what this mode of the collector is made for.
collectgarbage("generational")

-- HAProxy counts the instructions of Lua, to interrupt what runs for too long; counting makes all of it half as slow
-- again. What is short by its nature runs uncounted; long bodies stay interruptible, so that they hold up nobody.
local uncounted = debug.sethook
local SHORT_BODY = 16384

local turns = 0
local shares = {}
for _, rule in ipairs(route.rules) do
  if rule.escalate then
    shares[rule.name] = load.new_share()
  end
end

local LETTERS = { Saturated = "Q", Timeout = "T", RateLimited = "R", ServerError = "S" }
local CODES = { ModelNotFound = "model_not_found", PrivacyDenied = "privacy_denied", QueueFull = "queue_full" }

-- A variable costs as much as some rules: what is not so has none.
local function flag(txn, name, truth)
  if truth then
    txn:set_var(name, 1)
  end
end

local function set(txn, name, text)
  if text and text ~= "" then
    txn:set_var(name, text)
  end
end

-- scan --------------------------------------------------------------------------------------------------------------

-- What is read of the body, and whether that is all of it. Without a Content-Length HAProxy may not know how much is
-- still to come; then a full buffer whose JSON breaks off is taken for a part.
local function read(txn)
  local body, size = txn.f:req_body() or "", txn.f:req_body_size()
  if #body <= SHORT_BODY then
    uncounted()
  end
  if size > #body then
    return scan.part(body), size, false
  end
  local found = scan.whole(body, txn:get_var("txn.endpoint"))
  local is_broken = found.problem == "invalid_json" or found.problem == "invalid_utf8"
  if is_broken and #body * 4 >= buffer * 3 and not txn.f:req_fhdr("content-length") then
    return scan.part(body), size, false
  end
  return found, size, true
end

core.register_action("scan", { "http-req" }, function(txn)
  local found, size, readable = read(txn)
  scan.name(found, txn.f:req_fhdr("x-gateway-model-name"))
  found.tokens = found.tokens or (size + 3) // 4
  found.unread = not readable or nil
  txn:set_priv(found)
  if not readable then
    txn:set_var("txn.readable", 0)
  end
  txn:set_var("txn.tokens", found.tokens)
  flag(txn, "txn.stream", found.stream)
  flag(txn, "txn.tools", found.tools)
  flag(txn, "txn.vision", found.vision)
  set(txn, "txn.problem", found.problem)
  set(txn, "txn.model", found.model)
  if found.model_at then
    txn:set_var("txn.model_at", found.model_at)
  end
  txn:set_var("txn.turns", found.turns or 0)
  set(txn, "txn.last", found.last)
  set(txn, "txn.seed", found.first)
  set(txn, "txn.second", found.second)
  set(txn, "txn.who", found.who)
  if route.by_prefix then
    set(txn, "txn.prefix", scan.prefix(found))
  end
  set(txn, "txn.text", found.plain)
end)

-- ask ---------------------------------------------------------------------------------------------------------------

-- The decider gets the last text alone. Whatever goes wrong leaves the variables unset: then defaults count, and no
-- request waits longer than `ms`. txn.told says that it has answered, be it that it does not know.
core.register_action("ask", { "http-req" }, function(txn, url, ms, want)
  local last = txn:get_var("txn.last")
  if not last then
    return
  end
  local answer = core.httpclient():post({
    url = url,
    timeout = tonumber(ms),
    body = last,
    headers = { ["content-type"] = { "text/plain" }, ["x-agentroute-want"] = { want } },
  })
  if not answer or answer.status ~= 200 then
    return
  end
  txn:set_var("txn.told", 1)
  local intent, complexity = answer.headers["x-intent"], answer.headers["x-complexity"]
  set(txn, "txn.intent", intent and intent[0])
  set(txn, "txn.cplx", complexity and complexity[0])
end, 3)

-- route -------------------------------------------------------------------------------------------------------------

-- A request, as types.Request has it. What most decisions do not look at is a method, and is fetched when asked for.
local Request = {}
Request.__index = Request

function Request:header(name)
  return self.txn.f:req_fhdr(name)
end

function Request:values(name)
  local values, fetch = {}, self.txn.f
  for index = 1, fetch:req_fhdr_cnt(name) do
    values[index] = fetch:req_fhdr(name, index)
  end
  return values
end

function Request:groups()
  local groups = {}
  for group in string.gmatch(self.txn:get_var("txn.groups") or "", "[^,]+") do
    groups[#groups + 1] = group
  end
  return groups
end

function Request:conversation()
  return self.txn:get_var("txn.conversation") or 0
end

function Request:prefix()
  return self.txn:get_var("txn.prefix_hash") or 0
end

function Request:draw()
  return math.random(0, 999999)
end

function Request:turn()
  turns = turns + 1
  return turns
end

function Request:escalated(rule)
  return shares[rule]:percent(os.time())
end

-- The highest class of those that haproxy.cfg has found, each by patterns of another kind.
local function sensitivity(txn)
  local class = policy.higher("Public", txn:get_var("txn.sens"))
  class = policy.higher(class, txn:get_var("txn.sens_digits"))
  return policy.higher(class, txn:get_var("txn.sens_bytes"))
end

local UNREAD = { unread = true }

-- `found` is what `scan` has left; where that has failed the body counts as unread.
local function request_of(txn)
  local found = txn:get_priv() or UNREAD
  return setmetatable({
    txn = txn,
    model = found.model or "",
    readable = not found.unread,
    tools = found.tools,
    vision = found.vision,
    prompt_tokens = found.tokens or 0,
    complexity = txn:get_var("txn.cplx"),
    sensitivity = sensitivity(txn),
    intent = txn:get_var("txn.intent"),
    privacy_mode = txn:get_var("txn.mode") or "Standard",
    smaller_tier = txn:get_var("txn.small") == 1,
    local_only = txn:get_var("txn.local") == 1,
  }, Request)
end

-- The plan as ids, as names, and the letters of its retries.
local function spelled(decision)
  local ids, names, letters = "", "", ""
  for index, target in ipairs(decision.plan) do
    local comma = index > 1 and "," or ""
    ids, names = ids .. comma .. target.id, names .. comma .. target.name
  end
  for _, cause in ipairs(decision.retries) do
    letters = letters .. LETTERS[cause]
  end
  return ids, names, letters
end

-- The text of x-agentroute-decision. Nothing in it is a client's own text: these are names that the contract allows.
local function described(decision, names, request)
  local first = decision.plan[1]
  local body = request.readable and "whole" or "unread"
  return "rule=" .. decision.rule .. "; target=" .. (first and first.name or "") .. "; plan=" .. names
    .. "; reason=" .. decision.reason .. "; intent=" .. decision.intent .. "; complexity=" .. decision.complexity
    .. "; sensitivity=" .. decision.sensitivity .. "; body=" .. body
end

-- What chooses the pod among a target's: requests with the same key go to the same one.
local function key_of(decision, request)
  local rule = route.rules_by_name[decision.rule]
  if rule and rule.strategy == "Sticky" then
    return request:conversation()
  elseif rule and rule.strategy == "PrefixAware" then
    return request:prefix()
  end
  return math.random(0, 0xFFFFFFFF)
end

local function decided(txn)
  local request, loads = request_of(txn), nil
  local trial = decode and txn.f:req_fhdr("x-agentroute-trial")
  if trial then
    local given = assert(decode(trial))
    loads = load.given(given.loads)
    function request.draw() return given.draw end
    function request.turn() return given.turn end
    function request.escalated(_, rule) return given.escalated[rule] or 0 end
  end
  local decision = policy.decide(route, request, loads or load.all(txn, route))
  local share = shares[decision.rule]
  if share and txn.f:req_fhdr("x-agentroute-dry-run") ~= "true" then
    share:count(os.time(), decision.reason == "Escalated")
  end
  return decision, request
end

core.register_action("route", { "http-req" }, function(txn)
  uncounted()
  local decision, request = decided(txn)
  local ids, names, letters = spelled(decision)
  local first = decision.plan[1]
  txn:set_priv(decision)
  txn:set_var("txn.status", decision.status)
  txn:set_var("txn.reason", decision.reason)
  txn:set_var("txn.rule", decision.rule)
  txn:set_var("txn.plan", ids)
  txn:set_var("txn.retry", letters)
  flag(txn, "txn.hold", decision.hold)
  txn:set_var("txn.request_ms", decision.request_ms)
  txn:set_var("txn.left", decision.first_byte_ms > 0 and decision.first_byte_ms or decision.request_ms)
  local now = core.now()
  txn:set_var("txn.deadline", now.sec * 1000 + now.usec // 1000 + decision.request_ms)
  if route.is_hashed then
    txn:set_var("txn.key", tostring(key_of(decision, request)))
  end
  txn:set_var("txn.decision", described(decision, names, request))
  txn:set_var("txn.d_intent", decision.intent)
  txn:set_var("txn.d_cplx", decision.complexity)
  txn:set_var("txn.d_sens", decision.sensitivity)
  set(txn, "txn.code", CODES[decision.reason])
  set(txn, "txn.target", first and first.id)
end)

-- dry_run -----------------------------------------------------------------------------------------------------------

local function quoted(name)
  return '"' .. name .. '"'
end

local function array(entries, of)
  local words = {}
  for index, each in ipairs(entries) do
    words[index] = quoted(of and each[of] or each)
  end
  return "[" .. table.concat(words, ",") .. "]"
end

-- types.Decision as JSON, after `route`. All texts in it are names that the contract allows: none needs an escape.
core.register_action("dry_run", { "http-req" }, function(txn)
  local decision = txn:get_priv()
  local members = {
    '"status":' .. decision.status,
    '"reason":' .. quoted(decision.reason),
    '"rule":' .. quoted(decision.rule),
    '"plan":' .. array(decision.plan, "name"),
    '"hold":' .. tostring(decision.hold),
    '"retries":' .. array(decision.retries),
    '"intent":' .. quoted(decision.intent),
    '"complexity":' .. quoted(decision.complexity),
    '"sensitivity":' .. quoted(decision.sensitivity),
    '"denied":' .. array(decision.denied, "name"),
    '"request_ms":' .. decision.request_ms,
    '"first_byte_ms":' .. decision.first_byte_ms,
  }
  local reply = txn:reply()
  reply:set_status(200)
  reply:add_header("content-type", "application/json")
  reply:set_body("{" .. table.concat(members, ",") .. "}\n")
  txn:done(reply)
end)
