-- SPDX-License-Identifier: MIT
--
-- hone.data.text: rows { text }, all of it learnt, and that it ends. The head
-- of alpaca.lua says what a shape is.

return {
  help = "rows { text }, all of it learnt",
  fields = {
    text = { type = "string" },
  },
  map = function(row)
    return {
      { text = row.text, special = true, target = true },
      { eos = true, target = true },
    }
  end,
}
