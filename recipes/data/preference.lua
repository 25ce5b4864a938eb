-- SPDX-License-Identifier: MIT
--
-- hone.data.preference: rows { prompt, chosen, rejected }: two answers, one of
-- them better. Each becomes two rows of tokens from the same place, prompt and
-- chosen, then prompt and rejected. They are prepared and counted; there is no
-- loss for them yet. The head of alpaca.lua says what a shape is.

local function text_of(row, name)
  if type(row[name]) ~= "string" then
    error(("field '%s' is a list of messages; bring it into a text with map")
      :format(name), 0)
  end
  return row[name]
end

return {
  help = "rows { prompt, chosen, rejected }: two answers, one better",
  trains = false,
  fields = {
    prompt = { type = "any", default = "" },
    chosen = { type = "any" },
    rejected = { type = "any" },
  },
  map = function(row)
    local prompt = text_of(row, "prompt")
    local chosen, rejected = text_of(row, "chosen"), text_of(row, "rejected")
    return {
      { text = prompt, special = true },
      { text = chosen, target = true },
      { eos = true, target = true },
      { text = prompt, special = true, row = true },
      { text = rejected, target = true },
      { eos = true, target = true },
    }
  end,
}
