-- Llama 1 to 3.2, TinyLlama, SmolLM2. Touvron et al. 2023; Dubey et al. 2024.
local decoder = require "lib.decoder"

local function build(g, c)
    return decoder.build(g, c, {
        head_dim = c.head_dim,
        qkv_bias = c.attention_bias, o_bias = c.attention_bias,
        mlp_bias = c.mlp_bias,
    })
end

return { build = build }
