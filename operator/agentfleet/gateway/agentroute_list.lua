-- Lists as the policy needs them. None of these changes the list that it is given. They are called for every request:
-- plain loops over few entries cost less than tables to look them up in, and { nil, nil, nil, nil } is a list with room
-- for four, which need not grow.

local list = {}

-- A table to look entries up in.
function list.set(entries)
  local result = {}
  for _, each in ipairs(entries) do
    result[each] = true
  end
  return result
end

function list.kept(entries, keep)
  local result, count = { nil, nil, nil, nil }, 0
  for index = 1, #entries do
    local each = entries[index]
    if keep(each) then
      count = count + 1
      result[count] = each
    end
  end
  return result
end

function list.any(entries, holds)
  for index = 1, #entries do
    if holds(entries[index]) then
      return true
    end
  end
  return false
end

function list.index_of(entries, wanted)
  for index = 1, #entries do
    if entries[index] == wanted then
      return index
    end
  end
  return nil
end

-- Sorted by the numbers that `key` gives. Equal ones stay in their order, as in Python: table.sort would not keep it.
function list.sorted(entries, key)
  local result, keys = { nil, nil, nil, nil }, { nil, nil, nil, nil }
  for last = 1, #entries do
    local each = entries[last]
    local number, place = key(each), last
    while place > 1 and keys[place - 1] > number do
      result[place], keys[place] = result[place - 1], keys[place - 1]
      place = place - 1
    end
    result[place], keys[place] = each, number
  end
  return result
end

return list
