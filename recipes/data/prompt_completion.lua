-- SPDX-License-Identifier: MIT
--
-- hone.data.prompt_completion: rows { prompt, completion }, joined as they
-- are. The prompt is not learnt, the completion is. The head of alpaca.lua
-- says what a shape is.

return {
  help = "rows { prompt, completion }, joined as they are",
  fields = {
    prompt = { type = "string" },
    completion = { type = "string" },
  },
  map = function(row)
    return {
      { text = row.prompt, special = true },
      { text = row.completion, target = true },
      { eos = true, target = true },
    }
  end,
}
