-- SPDX-License-Identifier: MIT
--
-- hone.data.auto, also written hone.data { ... }: the shape of rows that a
-- recipe does not name. It follows from the fields of the first row; the first
-- shape below whose fields are all there is taken, and said.

-- What the fields of a shape are called in the files that people have, the
-- shape's own name first. `maybe`: those that may be missing.
local shapes = {
  { name = "tokenized", type = "table",
    fields = { input_ids = { "input_ids" } } },
  { name = "preference",
    fields = { chosen = { "chosen", "chosen_messages", "response_j" },
               rejected = { "rejected", "rejected_messages", "response_k" } },
    maybe = { prompt = { "prompt", "question", "instruction",
                         "conversations" } } },
  { name = "messages", type = "table", element = "role",
    fields = { messages = { "messages", "conversations", "conversation" } } },
  { name = "sharegpt", type = "table", element = "from",
    fields = { conversations = { "conversations", "conversation",
                                 "messages" } } },
  { name = "alpaca", type = "string",
    fields = { instruction = { "instruction" },
               output = { "output", "response" } },
    maybe = { input = { "input", "context" } } },
  { name = "prompt_completion", type = "string",
    fields = { prompt = { "prompt", "question", "query", "problem", "input" },
               completion = { "completion", "answer", "response", "solution",
                              "output" } } },
  { name = "text", type = "string",
    fields = { text = { "text", "content" } } },
}

local function sorted(set)
  local list = {}
  for name in pairs(set) do list[#list + 1] = name end
  table.sort(list)
  return list
end

local function fits(shape, value)
  if value == nil or (shape.type and type(value) ~= shape.type) then
    return false
  end
  return not shape.element
    or (type(value[1]) == "table" and value[1][shape.element] ~= nil)
end

-- The first of NAMES that the row has.
local function find(shape, row, names)
  for _, name in ipairs(names) do
    if fits(shape, row[name]) then return name end
  end
end

-- Where the fields of the shape are in the row: { field, name, ... } of those
-- that are called otherwise, and all names; nil: some are missing.
local function match(shape, row)
  local renames, seen = {}, {}
  for _, kind in ipairs { "fields", "maybe" } do
    for _, field in ipairs(sorted(shape[kind] or {})) do
      local name = find(shape, row, shape[kind][field])
      if not name and kind == "fields" then return nil end
      if name then
        seen[#seen + 1] = "'" .. name .. "'"
        if name ~= field then
          renames[#renames + 1] = field
          renames[#renames + 1] = name
        end
      end
    end
  end
  return renames, table.concat(seen, ", ")
end

-- What a recipe would write instead.
local function spelled(shape, renames)
  local options = {}
  for i = 1, #renames, 2 do
    options[#options + 1] = (', %s = "%s"'):format(renames[i], renames[i + 1])
  end
  return ("hone.data.%s { ...%s }"):format(shape.name, table.concat(options))
end

return {
  help = "rows of any of the shapes; their fields say which",
  map = function() error("the shape of the rows is not known", 0) end,
  -- The shape, its renames, why; or an error.
  recognise = function(row)
    for _, shape in ipairs(shapes) do
      local renames, seen = match(shape, row)
      if renames then
        return shape.name, renames, ("its first row has %s; the same as %s")
          :format(seen, spelled(shape, renames))
      end
    end
    error(("no shape has the fields of its first row: '%s'; name a shape and "
      .. "its fields, or bring rows into one with map"):format(
      table.concat(sorted(row), "', '")), 0)
  end,
}
