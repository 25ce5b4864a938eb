-- Mistral 7B and its kin: a Llama whose layers all see a window of keys where
-- the config gives one (7B v0.1), else every key. Jiang et al. 2023.
local decoder = require "lib.decoder"

local function build(g, c)
    local window = c.sliding_window
    return decoder.build(g, c, {
        head_dim = c.head_dim,
        window = function() return window end,
    })
end

return { build = build }
