-- SPDX-License-Identifier: MIT
--
-- hone.data.messages: rows { messages = { { role, content }, ... } }, written
-- by the model's own chat template, with tools if the row has any. What the
-- assistant says is learnt (loss = "assistant", "last" or "all").
--
-- A shape with chat = true needs no map: the engine renders its rows; with one
-- it is for rows of texts. Fields of type "key" are keys of a message, those of
-- type "role" names of a role, several of either separated by blanks. A recipe
-- renames them like any other field. Keys that are not named here (tool_calls,
-- name, reasoning_content) reach the template as they are.

return {
  help = "rows { messages }, in the model's chat template",
  chat = true,
  fields = {
    messages = { type = "array" },
    tools = { type = "any", default = false },
    chat_template_kwargs = { type = "any", default = false },
    role = { type = "key", default = "role" },
    content = { type = "key", default = "content" },
    system_role = { type = "role", default = "system" },
    user = { type = "role", default = "user" },
    assistant = { type = "role", default = "assistant" },
    tool = { type = "role", default = "tool" },
  },
}
