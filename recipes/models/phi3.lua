-- Phi 3, 3.5, 4 and 4 mini: a Llama whose q, k, v, and gate, up, are stored as
-- one projection; a part of each head is turned. Abdin et al. 2024.
local decoder = require "lib.decoder"
local rope = require "lib.rope"

local function build(g, c)
    local d = c.head_dim or c.hidden_size // c.num_attention_heads
    local s = c.rope_scaling or c.rope_parameters or {}
    local part, own = c.partial_rotary_factor, s.partial_rotary_factor
    local kind = s.rope_type or s.type or "default"
    local window, _ = c.sliding_window, c.original_max_position_embeddings
    assert((c.interpolate_factor or 1) == 1 and (c.full_attn_mod or 1) == 1,
           "interpolate_factor and full_attn_mod must be 1")
    -- The first releases called it otherwise.
    if kind == "su" or kind == "yarn" then kind = "longrope" end
    local turned = math.floor(d * (own or part or 1))
    local freq, factor = rope.frequencies(c, turned, g:longest(), s, nil, kind)
    return decoder.build(g, c, {
        head_dim = d, fused = true,
        rope = function() return freq, factor end,
        window = function() return window end,
    })
end

return { build = build }
