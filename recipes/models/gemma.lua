-- Gemma 1 and CodeGemma. Gemma Team 2024.
local gemma = require "lib.gemma"

local function build(g, c)
    local _ = c.hidden_activation -- Transformers goes by hidden_act
    return gemma.build(g, c, { act = c.hidden_act })
end

return { build = build }
