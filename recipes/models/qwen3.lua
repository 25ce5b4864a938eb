-- Qwen 3, without experts: a Llama that normalises each head of q and k, with
-- heads of a size of their own. Yang et al. 2025.
local decoder = require "lib.decoder"
local window = require "lib.window"

local function build(g, c)
    return decoder.build(g, c, {
        head_dim = c.head_dim or 128,
        qkv_bias = c.attention_bias, o_bias = c.attention_bias,
        head_norm = true,
        window = window.upper(c),
    })
end

return { build = build }
