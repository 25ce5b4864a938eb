-- SPDX-License-Identifier: MIT
--
-- hone.data.preference: rows { prompt, chosen, rejected }: two answers, one of
-- them better. Each becomes two rows of tokens from the same place, prompt and
-- chosen, then prompt and rejected. They are prepared and counted; there is no
-- loss for them yet.
--
-- Texts are joined as they are. Where prompt or an answer is a message or a
-- list of messages the model's chat template writes them, a text among them as
-- what the user or the assistant says; the last answer is what is learnt. Lists
-- in chosen and rejected may begin with what was said before: without prompt.
-- The heads of alpaca.lua and messages.lua say what a shape is.

local function text_of(row, name)
  if type(row[name]) ~= "string" then
    error(("field '%s' is neither a text nor messages"):format(name), 0)
  end
  return row[name]
end

return {
  help = "rows { prompt, chosen, rejected }: two answers, one better",
  trains = false,
  chat = true,
  fields = {
    prompt = { type = "any", default = "" },
    chosen = { type = "any" },
    rejected = { type = "any" },
    system = { type = "any", default = false },
    tools = { type = "any", default = false },
    chat_template_kwargs = { type = "any", default = false },
    role = { type = "key", default = "role from" },
    content = { type = "key", default = "content value" },
    system_role = { type = "role", default = "system" },
    user = { type = "role", default = "user human" },
    assistant = { type = "role", default = "assistant gpt model chatgpt bot" },
    tool = { type = "role", default = "tool observation function_response" },
    call = { type = "role", default = "function_call" },
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
