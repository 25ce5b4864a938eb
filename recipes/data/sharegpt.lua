-- SPDX-License-Identifier: MIT
--
-- hone.data.sharegpt: rows { conversations = { { from, value }, ... } }, with
-- system and tools beside them if there are any, written by the model's own
-- chat template. The head of messages.lua says how such a shape is read; calls
-- are turns of their own that hold { name, arguments } as JSON.

return {
  help = "rows { conversations }, in the model's chat template",
  chat = true,
  fields = {
    conversations = { type = "array" },
    system = { type = "any", default = false },
    tools = { type = "any", default = false },
    role = { type = "key", default = "from" },
    content = { type = "key", default = "value" },
    system_role = { type = "role", default = "system" },
    user = { type = "role", default = "human user" },
    assistant = { type = "role", default = "gpt assistant model chatgpt bot" },
    tool = { type = "role", default = "observation tool function_response" },
    call = { type = "role", default = "function_call" },
  },
}
