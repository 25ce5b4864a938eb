-- Qwen 2 and 2.5, without experts: a Llama whose q, k and v have a bias, and
-- whose upper layers may see a window of keys. Yang et al. 2024.
local decoder = require "lib.decoder"
local window = require "lib.window"

local function build(g, c)
    return decoder.build(g, c, {
        head_dim = c.head_dim,
        qkv_bias = true,
        window = window.upper(c),
    })
end

return { build = build }
