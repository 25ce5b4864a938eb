-- SPDX-License-Identifier: MIT
--
-- hone.data.alpaca: rows { instruction, input, output }, laid into the prompt
-- template of Stanford Alpaca. The prompt is not learnt, the output is.
--
-- A shape is one such file. It returns
--   help    one line for hone describe
--   fields  what a row must have, by name: { type = "string", default = ... }.
--           A field without default is required; a recipe renames one with
--           output = "answer". map() sees these fields alone. Without
--           `fields` it sees the whole row.
--   map     makes a row into a list of segments, which are tokenized apart
--           and joined:
--             text = "..."     the text, or
--             ids = { ... }    ids of tokens, or
--             eos = true       the model's end token
--             target = true    the loss counts its tokens (default: not)
--             mask = { ... }   true where it counts one of ids
--             special = true   the tokenizer adds what it adds to a text of
--                              its own, such as a BOS; what it adds behind one
--                              is left out if the row goes on (default: not)
--             row = true       another row of tokens begins with it
--   trains  false: there is no loss for such rows; they are prepared only

local task = "Below is an instruction that describes a task"
local ask = "Write a response that appropriately completes the request.\n\n"

local function prompt(row)
  if row.input == "" then
    return task .. ". " .. ask
      .. "### Instruction:\n" .. row.instruction
      .. "\n\n### Response:\n"
  end
  return task .. ", paired with an input that provides further context. " .. ask
    .. "### Instruction:\n" .. row.instruction
    .. "\n\n### Input:\n" .. row.input
    .. "\n\n### Response:\n"
end

return {
  help = "rows { instruction, input, output } in Stanford's template",
  fields = {
    instruction = { type = "string" },
    input = { type = "string", default = "" },
    output = { type = "string" },
  },
  map = function(row)
    return {
      { text = prompt(row), special = true },
      { text = row.output, target = true },
      { eos = true, target = true },
    }
  end,
}
