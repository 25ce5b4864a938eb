-- SPDX-License-Identifier: MIT
--
-- hone.data.tokenized: rows { input_ids } made elsewhere by this model's
-- tokenizer, as they are: nothing is added. What is learnt follows from
-- labels (the id itself, or -100: not learnt) or from mask (1 or true:
-- learnt); without either everything is. The head of alpaca.lua says what a
-- shape is.

-- hone learns to predict the row's own ids: another label cannot be meant.
local function mask_of_labels(ids, labels)
  local mask = {}
  if #labels ~= #ids then
    error(("%d input_ids and %d labels"):format(#ids, #labels), 0)
  end
  for i, id in ipairs(ids) do
    if labels[i] ~= -100 and labels[i] ~= id then
      error(("label %d is %s, neither -100 nor input_ids' %s"):format(
        i, labels[i], id), 0)
    end
    mask[i] = labels[i] == id
  end
  return mask
end

local function mask_of_numbers(ids, numbers)
  local mask = {}
  if #numbers ~= #ids then
    error(("%d input_ids and a mask of %d"):format(#ids, #numbers), 0)
  end
  for i, number in ipairs(numbers) do
    mask[i] = number == 1 or number == true
  end
  return mask
end

return {
  help = "rows { input_ids }, with labels or a mask, as they are",
  fields = {
    input_ids = { type = "array" },
    labels = { type = "array", default = false },
    mask = { type = "array", default = false },
  },
  map = function(row)
    local ids, mask = row.input_ids, nil
    if row.labels and row.mask then
      error("both labels and mask; leave one out of the row with map", 0)
    elseif row.labels then
      mask = mask_of_labels(ids, row.labels)
    elseif row.mask then
      mask = mask_of_numbers(ids, row.mask)
    end
    return { { ids = ids, mask = mask, target = true } }
  end,
}
