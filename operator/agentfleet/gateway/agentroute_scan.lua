-- Reads OpenAI requests: one strict pass over the body, which builds nothing but what the policy asks about. request.py
-- is its twin. What this refuses reaches no model: two readers of a request must not see two different ones.

local json = require("agentroute_json")

local byte, find, lower, match, sub = string.byte, string.find, string.lower, string.match, string.sub
local characters = utf8.len
local after_array, after_object = json.after_array, json.after_object
local after_space, after_value = json.after_space, json.after_value
local string_end, unescaped, invalid = json.string_end, json.unescaped, json.invalid

local scan = {}

local QUOTE, BRACKET, T, BRACE, END_BRACE = 34, 91, 116, 123, 125
local LAST_BYTES, SEED_BYTES, PREFIX_BYTES, MODEL_BYTES = 8192, 256, 512, 253
local RAW_PREFIX = 6 * PREFIX_BYTES + 12 -- an escape has up to six characters for each byte, and one may be cut in two
local FILE_BYTES, FILE_TOKENS = 4096, 1000
local RAW_SEED = 6 * SEED_BYTES + 12
local CONTROLS = {}
for code = 0, 31 do
  CONTROLS[code + 1] = string.char(code)
end
local PICTURES = { image_url = true, input_image = true }
local CONVERSATIONS = { -- endpoint → where its texts are
  ["chat/completions"] = "messages", completions = "prompt", embeddings = "input", responses = "input",
}

-- The string at `at` as it is written, escapes and all, and what follows it; nil where the value is no string.
local function string_at(text, at, depth, walk)
  if byte(text, at) ~= QUOTE then
    return nil, after_value(text, at, depth, walk)
  end
  local quote = string_end(text, at + 1, walk)
  return sub(text, at + 1, quote - 1), quote + 1
end

local function model(text, at, depth, walk)
  local raw, next = string_at(text, at, depth, walk)
  walk.models = walk.models + 1
  walk.model = raw and unescaped(raw, MODEL_BYTES + 1)
  walk.model_at = at << 32 | next - 1 -- where it begins and ends, for agentroute_rewrite.lua
  return next
end

-- Servers written in Go take "Model" for "model".
local function model_in_another_case(text, at, depth, walk)
  walk.models = 2
  return after_value(text, at, depth, walk)
end

local function user(text, at, depth, walk)
  local next
  walk.user, next = string_at(text, at, depth, walk)
  return next
end

local function cache_key(text, at, depth, walk)
  local next
  walk.cache_key, next = string_at(text, at, depth, walk)
  return next
end

local function stream(text, at, depth, walk)
  walk.stream = byte(text, at) == T
  return after_value(text, at, depth, walk)
end

local function one_tool(text, at, depth, walk)
  walk.tools = true
  return after_value(text, at, depth, walk)
end

local function tools(text, at, depth, walk)
  if byte(text, at) == BRACKET then
    return after_array(text, at + 1, depth + 1, walk, one_tool)
  end
  return after_value(text, at, depth, walk)
end

-- A message is whole. Texts stay as they are written: only the few that are asked for are unescaped, at the end.
local function take(walk, by_user, text)
  if by_user then
    if walk.turns < 2 then
      if walk.turns == 0 then
        walk.first = text
      else
        walk.second = text
      end
    end
    walk.turns = walk.turns + 1
    walk.last = text
  end
  local prefix = walk.prefix
  if not prefix then
    walk.prefix = text
  elseif #prefix < RAW_PREFIX then
    walk.prefix = prefix .. "\n" .. sub(text, 1, RAW_PREFIX)
  end
end

local function add_text(walk, text)
  walk.text = walk.text and walk.text .. "\n" .. text or text
end

local PART = {
  text = function(text, at, depth, walk)
    local next
    walk.part, next = string_at(text, at, depth, walk)
    return next
  end,
  type = function(text, at, depth, walk)
    local raw, next = string_at(text, at, depth, walk)
    if raw and PICTURES[unescaped(raw)] then
      walk.vision = true
    end
    return next
  end,
}

local function part(text, at, depth, walk)
  local next
  if byte(text, at) == BRACE then
    walk.part = nil
    next = after_object(text, at + 1, depth + 1, walk, PART)
  else
    walk.part, next = string_at(text, at, depth, walk)
  end
  if walk.part then
    add_text(walk, walk.part)
  end
  return next
end

local MESSAGE = {
  role = function(text, at, depth, walk)
    local raw, next = string_at(text, at, depth, walk)
    walk.by_user = raw ~= nil and unescaped(raw) == "user"
    return next
  end,
  content = function(text, at, depth, walk)
    walk.text = nil -- of two contents the last one counts, as for any other reader
    if byte(text, at) == BRACKET then
      return after_array(text, at + 1, depth + 1, walk, part)
    end
    local next
    walk.text, next = string_at(text, at, depth, walk)
    return next
  end,
}

-- An element of the conversation: a message, or a text of the user's. The pattern is how most clients write a message.
local function message(text, at, depth, walk)
  local role, from = match(text, '^{"role": ?"(%a+)", ?"content": ?"()', at)
  if role then
    local quote = string_end(text, from, walk)
    if byte(text, quote + 1) == END_BRACE then
      take(walk, role == "user", sub(text, from, quote - 1))
      return quote + 2
    end
  end
  if byte(text, at) == BRACE then
    walk.by_user, walk.text = false, nil
    local next = after_object(text, at + 1, depth + 1, walk, MESSAGE)
    take(walk, walk.by_user, walk.text or "")
    return next
  end
  local raw, next = string_at(text, at, depth, walk)
  if raw then
    take(walk, true, raw)
  end
  return next
end

local function conversation(text, at, depth, walk)
  walk.first, walk.second, walk.last, walk.turns = nil, nil, nil, 0 -- of two conversations the last one counts
  walk.prefix, walk.vision = nil, false
  if byte(text, at) == BRACKET then
    return after_array(text, at + 1, depth + 1, walk, message)
  end
  return message(text, at, depth, walk)
end

-- Readers of the members of a request, the texts of which are in the member `key`.
local function readers_of(key)
  local readers = {
    model = model, stream = stream, tools = tools, functions = tools, user = user, prompt_cache_key = cache_key,
  }
  if key then
    readers[key] = conversation
  end
  return setmetatable(readers, {
    __index = function(_, name) return #name == 5 and lower(name) == "model" and model_in_another_case or nil end,
  })
end

local READERS = {} -- endpoint → readers of the members of a request
for endpoint, key in pairs(CONVERSATIONS) do
  READERS[endpoint] = readers_of(key)
end
local NO_CONVERSATION = readers_of(nil)

-- All that a walk notes. It names every field, so that the table has its size from the start.
local function new_walk(has_controls)
  return {
    has_controls = has_controls, problem = nil, models = 0, model = nil, model_at = nil, stream = false, tools = false,
    vision = false, by_user = nil, text = nil, part = nil, first = nil, second = nil, last = nil, turns = 0,
    prefix = nil, user = nil, cache_key = nil, who = nil, plain = nil, tokens = nil,
  }
end

-- True where the body has a control character, white space included: 32 times memchr beats one look at each character.
local function has_controls(body)
  for index = 1, #CONTROLS do
    if find(body, CONTROLS[index], 1, true) then
      return true
    end
  end
  return false
end

local function after_request(body, walk, readers)
  local at = after_space(body, 1)
  if byte(body, at) == BRACE then
    at = after_object(body, at + 1, 1, walk, readers)
  else
    walk.problem = "not_an_object"
    at = after_value(body, at, 0, walk)
  end
  if after_space(body, at) <= #body then
    invalid()
  end
  if find(body, "\\", 1, true) then
    walk.plain = unescaped(body)
  end
end

-- True where the body is JSON. Any other error is a mistake in this program, and must not pass for one of the client.
local function is_json(body, walk, readers)
  local sound, err = pcall(after_request, body, walk, readers)
  if not sound and err ~= json.INVALID then
    error(err, 0)
  end
  return sound
end

local function problem(walk)
  if walk.model and #walk.model > MODEL_BYTES then
    walk.model = nil -- nobody's, and it has no place in a log
  end
  if walk.models > 1 then
    return "duplicate_model"
  elseif not walk.model or walk.model == "" then
    return "no_model"
  end
  return nil
end

-- About how many tokens a body is. A file in it, as a data: URL, has nothing to do with its length in base64.
local function tokens(body)
  local text, files, at = #body, 0, #body >= FILE_BYTES and find(body, '"data:', 1, true)
  while at do
    local from, to = match(body, '^"data:[%w/+.;=-]*;base64,()[%w+/=\\]*()"', at)
    local size = from and to - from or 0
    if size >= FILE_BYTES then
      text, files = text - size, files + 1
    end
    at = find(body, '"data:', to or at + 1, true)
  end
  return (text + 3) // 4 + files * FILE_TOKENS
end

-- A text of which only the beginning counts.
local function beginning(raw)
  return raw and unescaped(sub(raw, 1, RAW_SEED), SEED_BYTES)
end

-- Whom an application asks for, as it says itself.
local function who(walk)
  if not walk.user and not walk.cache_key then
    return nil
  end
  local said = (beginning(walk.user) or "") .. "|" .. (beginning(walk.cache_key) or "")
  return said ~= "|" and said or nil
end

-- Reads a body that is there whole. Returns problem (or nil), model, model_at, tokens, stream, tools, vision; turns: how many
-- messages are the user's; first, second and last of them, unescaped and cut; who; and plain: the body with its escapes
-- resolved, nil where it has none.
function scan.whole(body, endpoint)
  if not characters(body) then
    return { problem = "invalid_utf8" }
  end
  local walk = new_walk(has_controls(body))
  if not is_json(body, walk, READERS[endpoint] or NO_CONVERSATION) then
    return { problem = "invalid_json" }
  end
  walk.problem = walk.problem or problem(walk)
  walk.tokens = tokens(body)
  walk.first, walk.second, walk.who = beginning(walk.first), beginning(walk.second), who(walk)
  walk.last = walk.last and unescaped(walk.last, LAST_BYTES)
  return walk
end

-- How all texts together begin, of what `whole` has found.
function scan.prefix(walk)
  return walk.prefix and unescaped(walk.prefix, PREFIX_BYTES)
end

-- Takes the model id that a header names; it wins over the body's.
function scan.name(walk, given)
  if not given or given == "" then
    return
  elseif #given > MODEL_BYTES then
    walk.model, walk.problem = nil, walk.problem or "no_model"
    return
  end
  walk.model = given
  if walk.problem == "no_model" then
    walk.problem = nil
  end
end

-- Reads the first part of a body that is not there whole: its model, as far as that has been seen.
function scan.part(body)
  local walk = new_walk(true)
  is_json(body, walk, NO_CONVERSATION)
  walk.problem = problem(walk)
  return walk
end

return scan
