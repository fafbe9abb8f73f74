-- What answers tell of the tokens that they took, beside the policy: a filter over streams, and small helpers of
-- haproxy.cfg. Answers that are no streams are read by haproxy.cfg itself; streams go on untouched.

local Rewrite = require("agentroute_rewrite")

local find, match, sub = string.find, string.match, string.sub

local MOST_WORDS = 64
local CARRIED = 512       -- bytes of a chunk that are kept: a usage may begin in one and end in the next
local CHARGES = "abns@charge"

local corrections = core.queue()

local function seconds()
  return core.now().sec
end

-- The numbers of the last usage in this text, or nil: those of chats, else those of responses.
local function told(text)
  local at, from = nil, 1
  repeat
    local hit = find(text, '"usage"', from, true)
    if hit then at, from = hit, hit + 7 end
  until not hit
  if not at then return nil end
  local tokens_in = match(text, '"prompt_tokens"%s*:%s*(%d+)', at) or match(text, '"input_tokens"%s*:%s*(%d+)', at)
  local tokens_out = match(text, '"completion_tokens"%s*:%s*(%d+)', at) or match(text, '"output_tokens"%s*:%s*(%d+)', at)
  return tonumber(tokens_in), tonumber(tokens_out)
end

-- Events in this text: about as many as tokens.
local function events(text)
  local count, at = 0, find(text, "data:", 1, true)
  while at do
    count, at = count + 1, find(text, "data:", at + 5, true)
  end
  return count
end

local Usage = { id = "usage", flags = filter.FLT_CFG_FL_HTX }
Usage.__index = Usage

function Usage:new()
  return setmetatable({ events = 0, carried = "" }, Usage)
end

-- Only streams are looked at, and only once: of anything else no byte passes through Lua, and what a hop of a chain
-- passes on is counted by the one before, which alone has a txn.status.
local function may_be_counted(txn)
  return txn:get_var("txn.status") and (txn:get_var("txn.stream") == 1 or txn:get_var("txn.readable") == 0)
end

function Usage:http_headers(txn, message)
  if not message:is_resp() or not may_be_counted(txn) then return end
  local headers = message:get_headers()
  local kind, coding = headers["content-type"], headers["content-encoding"]
  if kind and find(kind[0], "text/event-stream", 1, true) == 1 then
    self.is_compressed = coding and coding[0] ~= "identity" -- then each byte counts as a token
    self.since, self.until_ms = seconds(), txn:get_var("txn.deadline")
    filter.register_data_filter(self, message.channel)
  end
end

local function is_over(until_ms)
  local now = core.now()
  return until_ms and now.sec * 1000 + now.usec // 1000 > until_ms
end

-- What a filter returns for a payload counts for nothing. An end without anything before it is none for the client's
-- side of HAProxy, which breaks the connection (or the HTTP/2 stream); the target's is closed at once.
local function cut(txn, message)
  txn:set_var("txn.cut", 1)
  message:remove()
  message:set_eom()
end

function Usage:http_payload(txn, message)
  local text = message:body()
  if not text or text == "" then return end
  self.events = self.events + (self.is_compressed and #text or events(text))
  local whole = self.carried .. text
  local tokens_in, tokens_out = told(whole)
  if tokens_in then txn:set_var("txn.told_in", tokens_in) end
  if tokens_out then self.is_told = true end
  txn:set_var("txn.told_out", tokens_out or not self.is_told and self.events or txn:get_var("txn.told_out"))
  self.carried = sub(whole, -CARRIED)
  if is_over(self.until_ms) then cut(txn, message) end
end

-- The end of a stream comes too late for rules, so a task gives the difference to its estimate to `frontend charge`.
function Usage:http_end(txn, message)
  local charged = message:is_resp() and self.events > 0 and txn:get_var("txn.charged")
  if not charged then return end
  local total = (txn:get_var("txn.told_in") or charged) + (txn:get_var("txn.told_out") or 0)
  corrections:push({
    caller = txn:get_var("txn.caller") or "",
    groups = txn:get_var("txn.groups") or "",
    more = math.max(0, total - charged),
    less = math.max(0, charged - total),
    age = seconds() - self.since,
  })
end

core.register_filter("usage", Usage, function(self) return self end)

-- Both filters in one: a filter costs each request some 20 us, whatever it does.
local Exchange = { id = "exchange", flags = filter.FLT_CFG_FL_HTX }
Exchange.__index = Exchange

function Exchange:new()
  return setmetatable({ events = 0, carried = "" }, Exchange)
end

function Exchange:http_headers(txn, message)
  return (message:is_resp() and Usage or Rewrite).http_headers(self, txn, message)
end

function Exchange:http_payload(txn, message)
  return (message:is_resp() and Usage or Rewrite).http_payload(self, txn, message)
end

Exchange.http_end = Usage.http_end

core.register_filter("exchange", Exchange, function(self) return self end)

core.register_task(function()
  while true do
    local one = corrections:pop_wait()
    core.httpclient():get({
      url = "http://charge/",
      dst = CHARGES,
      headers = {
        ["x-af-caller"] = { one.caller }, ["x-af-groups"] = { one.groups },
        ["x-af-more"] = { tostring(one.more) }, ["x-af-less"] = { tostring(one.less) },
        ["x-af-age"] = { tostring(one.age) },
      },
    })
  end
end)

-- The decision header after another target than the first has answered.
core.register_fetches("decision", function(txn)
  local text = txn:get_var("txn.decision") or ""
  local served = match(text, "plan=([^;]*)") or ""
  local attempt, at = txn:get_var("txn.attempt") or 1, 0
  for name in string.gmatch(served, "[^,]+") do
    at = at + 1
    if at == attempt then text = string.gsub(text, "target=[^;]*", "target=" .. name) end
  end
  return text
end)

-- A claim that is a list of names, or one name → "a,b". Names that could be taken for two, or for syntax, are left out.
core.register_converters("words", function(claim)
  local words = {}
  for word in string.gmatch(sub(claim, 1, 1) == "[" and claim or '"' .. claim .. '"', '"([^"]*)"') do
    if #words < MOST_WORDS and #word <= 64 and find(word, "^[%w][-%w_.]*$") then words[#words + 1] = word end
  end
  return table.concat(words, ",")
end)

local ESCAPES = { ['"'] = '\\"', ["\\"] = "\\\\" }

-- The text of a JSON string: UTF-8 stays as it is.
core.register_converters("quoted", function(text)
  return (string.gsub(text, '[%c"\\\127]', function(char)
    return ESCAPES[char] or string.format("\\u%04x", string.byte(char))
  end))
end)
