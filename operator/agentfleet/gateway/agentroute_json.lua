-- Strict JSON (RFC 8259), the parts that agentroute_scan.lua and the loader of route.json share.
--
-- Built for speed: strings are found by memchr (a plain `find`), and what is not wanted is walked over, not built. A
-- wrong document ends in error(INVALID), which the caller catches once; nothing here keeps state between calls, because
-- HAProxy may suspend one request inside a walk and run another one in the same Lua state.

local byte, find, match, sub = string.byte, string.find, string.match, string.sub
local concat, character = table.concat, utf8.char

local json = {}

local INVALID = {} -- a table of its own, so that it can never be taken for a mistake in this program
local MAX_DEPTH = 64 -- deeper ones are refused: a walk must not use up the C stack
local NO_READERS = {}
local STRICT = { has_controls = true }

local QUOTE, COMMA, COLON, BACKSLASH, U = 34, 44, 58, 92, 117
local BRACKET, END_BRACKET, BRACE, END_BRACE = 91, 93, 123, 125
local ESCAPES = {
  [34] = '"', [47] = "/", [92] = "\\", [98] = "\b", [102] = "\f", [110] = "\n", [114] = "\r", [116] = "\t",
}

local function invalid()
  error(INVALID, 0)
end

-- The first position from `at` that is no white space. Most documents have none there, so a pattern is the exception.
local function after_space(text, at)
  local first = byte(text, at)
  if first and first <= 32 then
    return match(text, "^[ \t\r\n]*()", at)
  end
  return at
end

-- True where the quote is part of its string: an odd number of backslashes stand before it.
local function is_escaped(text, quote)
  local at = quote - 1
  while byte(text, at) == BACKSLASH do
    at = at - 1
  end
  return (quote - at) % 2 == 0
end

-- The position of the quote that ends the string whose first character is at `at`. `walk.has_controls` says that the
-- text has control characters somewhere: as white space they may be, in strings not.
local function string_end(text, at, walk)
  local quote = find(text, '"', at, true)
  while quote and byte(text, quote - 1) == BACKSLASH and is_escaped(text, quote) do
    quote = find(text, '"', quote + 1, true)
  end
  if not quote or (walk.has_controls and match(text, "^[^\0-\31]*()", at) < quote) then
    invalid()
  end
  return quote
end

-- The character of the escape \uXXXX whose digits begin at `at`, and what follows it. Half of a surrogate pair is no
-- character: it becomes U+FFFD, so that texts are UTF-8 always.
local function unicode(text, at)
  local digits = match(text, "^%x%x%x%x", at)
  if not digits then
    invalid()
  end
  local code = tonumber(digits, 16)
  if code < 0xD800 or code > 0xDFFF then
    return character(code), at + 4
  end
  local low = code < 0xDC00 and match(text, "^\\u([dD][c-fC-F]%x%x)", at + 4)
  if not low then
    return "\u{FFFD}", at + 4
  end
  return character(0x10000 + ((code - 0xD800) << 10) + tonumber(low, 16) - 0xDC00), at + 10
end

-- `raw` with its escapes resolved, at most `limit` bytes of it. INVALID at an escape that is none.
local function unescaped(raw, limit)
  local slash = find(raw, "\\", 1, true)
  if not slash then
    return limit and #raw > limit and sub(raw, 1, limit) or raw
  end
  limit = limit or #raw
  local parts, count, size, from = {}, 0, 0, 1
  while slash and size < limit do
    local letter = byte(raw, slash + 1)
    local resolved, next = ESCAPES[letter], slash + 2
    if letter == U then
      resolved, next = unicode(raw, next)
    elseif not resolved then
      invalid()
    end
    parts[count + 1] = sub(raw, from, slash - 1)
    parts[count + 2] = resolved
    count = count + 2
    size = size + slash - from + #resolved
    from = next
    slash = find(raw, "\\", from, true)
  end
  parts[count + 1] = sub(raw, from, from + limit)
  return sub(concat(parts), 1, limit)
end

-- What follows the number, true, false or null at `at`.
local function after_word(text, at)
  local next = match(text, "^-?[1-9]%d*()", at) or match(text, "^-?0()", at)
  if next then
    next = match(text, "^%.%d+()", next) or next
    return match(text, "^[eE][+-]?%d+()", next) or next
  end
  return match(text, "^true()", at) or match(text, "^false()", at) or match(text, "^null()", at) or invalid()
end

local after_value -- of any kind; defined last, for it needs all others
-- The key of the member at `at`, and where its value begins.
local function member(text, at, walk)
  local key, from = match(text, '^"([^"\\%c]*)": ?()%S', at)
  if key then
    return key, from
  elseif byte(text, at) ~= QUOTE then
    invalid()
  end
  local quote = string_end(text, at + 1, walk)
  key = unescaped(sub(text, at + 1, quote - 1)) -- "mod\u0065l" is "model" to whoever reads it next
  at = after_space(text, quote + 1)
  if byte(text, at) ~= COLON then
    invalid()
  end
  return key, after_space(text, at + 1)
end

-- What follows the comma at `at`; nil, and what follows the whole, where it ends there with `last`.
local function after_comma(text, at, last)
  at = after_space(text, at)
  local separator = byte(text, at)
  if separator == COMMA then
    return after_space(text, at + 1)
  elseif separator ~= last then
    invalid()
  end
  return nil, at + 1
end

-- The first element's or member's place; nil, and what follows the whole, where there is none.
local function opened(text, at, depth, last)
  if depth > MAX_DEPTH then
    invalid()
  end
  at = after_space(text, at)
  if byte(text, at) == last then
    return nil, at + 1
  end
  return at
end

-- Walks over the object whose first member may be at `at`. `readers` has a function for each member that is wanted:
-- called as reader(text, at, depth, walk), it returns what follows the value. The pattern takes the usual step from one
-- value to the next in one call; whatever it does not know is looked at with care.
local function after_object(text, at, depth, walk, readers)
  local first, key, from
  first, at = opened(text, at, depth, END_BRACE)
  if first then
    key, from = member(text, first, walk)
  end
  while key do
    at = (readers[key] or after_value)(text, from, depth, walk)
    key, from = match(text, '^, ?"([^"\\%c]*)": ?()%S', at)
    if not key then
      from, at = after_comma(text, at, END_BRACE)
      if from then
        key, from = member(text, from, walk)
      end
    end
  end
  return at
end

-- Walks over the array whose first element may be at `at`; `reader`, as above, is called for each.
local function after_array(text, at, depth, walk, reader)
  local from
  from, at = opened(text, at, depth, END_BRACKET)
  while from do
    at = reader(text, from, depth, walk)
    from = match(text, "^, ?()%S", at)
    if not from then
      from, at = after_comma(text, at, END_BRACKET)
    end
  end
  return at
end

-- Walks over any value; `depth` is that of what it is in.
function after_value(text, at, depth, walk)
  local first = byte(text, at)
  if first == QUOTE then
    return string_end(text, at + 1, walk) + 1
  elseif first == BRACE then
    return after_object(text, at + 1, depth + 1, walk, NO_READERS)
  elseif first == BRACKET then
    return after_array(text, at + 1, depth + 1, walk, after_value)
  end
  return after_word(text, at)
end

-- Any value as Lua's own, and what follows it; null is nil. For documents of the operator, such as route.json.
local function value(text, at)
  local first = byte(text, at)
  if first == QUOTE then
    local quote = string_end(text, at + 1, STRICT)
    return unescaped(sub(text, at + 1, quote - 1)), quote + 1
  elseif first == BRACE or first == BRACKET then
    local result = {}
    local function put(key)
      return function(_, from)
        local next
        result[key or #result + 1], next = value(text, from)
        return next
      end
    end
    if first == BRACKET then
      return result, after_array(text, at + 1, 1, STRICT, put())
    end
    local by_key = setmetatable({}, { __index = function(_, key) return put(key) end })
    return result, after_object(text, at + 1, 1, STRICT, by_key)
  end
  local next = after_word(text, at)
  local word = sub(text, at, next - 1)
  if word == "true" or word == "false" then
    return word == "true", next
  end
  return tonumber(word), next
end

-- The document as Lua's values, or nil and what is wrong.
function json.decode(text)
  local sound, result, next = pcall(value, text, after_space(text, 1))
  if not sound then
    return nil, result == INVALID and "it is no JSON" or result
  elseif after_space(text, next) <= #text then
    return nil, "something follows the JSON document"
  end
  return result
end

json.INVALID, json.invalid = INVALID, invalid
json.after_space, json.after_value = after_space, after_value
json.after_object, json.after_array = after_object, after_array
json.string_end, json.unescaped = string_end, unescaped
return json
