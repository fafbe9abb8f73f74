-- The filter `rewrite` of the backends that send to pods and clouds: the request's top-level "model" becomes the id by
-- which txn.target knows its model. A body over the buffer is changed too, where its model is in the
-- part that is there when the headers leave; else it passes as it is.

local scan = require("agentroute_scan")

local Rewrite = { id = "rewrite", flags = filter.FLT_CFG_FL_HTX }
Rewrite.__index = Rewrite

local REPLACED = { ['"'] = '\\"', ["\\"] = "\\\\" }

local values = {} -- target's id → its model's id as JSON

-- Takes the model ids of the route: they are texts of others, so they are not in haproxy.cfg.
function Rewrite.know(route)
  for _, target in ipairs(route.targets) do
    values[target.id] = '"' .. string.gsub(target.model, '["\\]', REPLACED) .. '"'
  end
end

function Rewrite:new()
  return setmetatable({}, Rewrite)
end

-- Where the model's value begins and ends: `scan` has said so; a hop that was not told looks for it, which is dear, since
-- the headers have changed: HAProxy copies a whole buffer to read the body then.
local function place(txn)
  local at = tonumber(txn:get_var("txn.model_at")) or scan.part(txn.f:req_body() or "").model_at
  if at then
    return at >> 32, at & 0xFFFFFFFF
  end
  return nil
end

function Rewrite:http_headers(txn, message)
  local value = not message:is_resp() and values[txn:get_var("txn.target") or ""]
  if not value then
    return
  end
  local from, to = place(txn)
  if not from then
    return
  end
  self.offset, self.length, self.value = from - 1, to - from + 1, value
  local length = tonumber(txn.f:req_fhdr("content-length"))
  if length and #value ~= self.length then
    message:set_header("content-length", tostring(length + #value - self.length))
  end
  filter.register_data_filter(self, message.channel)
end

-- The first call has all that was there with the headers, the model included: no other is needed.
function Rewrite:http_payload(_, message)
  message:remove(self.offset, self.length)
  message:insert(self.value, self.offset)
  filter.unregister_data_filter(self, message.channel)
end

core.register_filter("rewrite", Rewrite, function(rewrite)
  return rewrite
end)

return Rewrite
