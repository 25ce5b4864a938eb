-- Gemma 3, text alone: like Gemma 2 with norms on the heads of q and k; five
-- local layers with a window and short rotary waves to one global layer whose
-- waves are long and may be scaled. Gemma Team 2025.
local gemma = require "lib.gemma"
local rope = require "lib.rope"
local window = require "lib.window"

-- Frequencies of a kind of layer. Newer configs keep one table for each kind.
local function waves(g, c, kind, scaling, theta)
    local all = c.rope_parameters
    local own = all and all[kind] or {}
    if scaling then own = scaling end
    local freq, factor = rope.frequencies(c, c.head_dim or 256, g:longest(),
                                          own, own.rope_theta or theta)
    return { freq, factor }
end

local function build(g, c)
    local _ = c.hidden_act -- of no effect
    local keys = gemma.key(c.sliding_window, 4096)
    local every, same = c.sliding_window_pattern, c._sliding_window_pattern
    every = every or same or 6
    local slides = window.slides(c, keys, function(i)
        return (i + 1) % every ~= 0
    end)
    local near = waves(g, c, "sliding_attention", nil,
                       c.rope_local_base_freq or 10000)
    local far = waves(g, c, "full_attention", c.rope_scaling,
                      c.rope_theta or 1000000)
    return gemma.build(g, c, {
        act = c.hidden_activation,
        post_norm = true, head_norm = true,
        scale = (c.query_pre_attn_scalar or 256) ^ -0.5,
        softcap = c.attn_logit_softcapping,
        cap = c.final_logit_softcapping,
        window = function(i) return slides(i) and keys or nil end,
        rope = function(i) return table.unpack(slides(i) and near or far) end,
    })
end

return { build = build }
