-- Gemma 2: norms on both sides of each part, soft caps on scores and logits,
-- a window in every other layer. Gemma Team 2024.
local gemma = require "lib.gemma"
local window = require "lib.window"

local function build(g, c)
    local _, _ = c.hidden_act, c.sliding_window_size -- of no effect
    local keys = gemma.key(c.sliding_window, 4096)
    local slides = window.slides(c, keys, function(i) return i % 2 == 0 end)
    return gemma.build(g, c, {
        act = c.hidden_activation,
        post_norm = true,
        scale = (c.query_pre_attn_scalar or 256) ^ -0.5,
        softcap = gemma.key(c.attn_logit_softcapping, 50),
        cap = gemma.key(c.final_logit_softcapping, 30),
        window = function(i) return slides(i) and keys or nil end,
    })
end

return { build = build }
