-- Health of agentfleet.dev objects for Argo CD. Order and meaning of conditions are kstatus', so that Flux, kubectl and
-- Argo CD agree. Argo CD runs this with Lua's base and table libraries only.
local function condition(name)
  for _, entry in ipairs(obj.status.conditions or {}) do
    if entry.type == name then
      return entry
    end
  end
  return {}
end

-- A CRD default writes observedGeneration -1 into new objects, which no generation equals.
if obj.status == nil or obj.status.observedGeneration ~= obj.metadata.generation then
  return {status = "Progressing", message = "Waiting for the operator to see this generation"}
end

local reconciling = condition("Reconciling")
if reconciling.status == "True" then
  return {status = "Progressing", message = reconciling.message}
end

local stalled = condition("Stalled")
if stalled.status == "True" then
  return {status = "Degraded", message = stalled.message}
end

-- Scaled to zero on purpose is Ready=True and so Healthy, not Suspended: a sync wave waits for Healthy for ever.
local ready = condition("Ready")
if ready.status == "True" then
  return {status = "Healthy", message = ready.message}
end
return {status = "Progressing", message = ready.message or "Waiting for the Ready condition"}
