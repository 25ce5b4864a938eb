-- What the Gemma families share: norms by 1 + weight, an embedding scaled by
-- the square root of its size, a GELU for gate, a tied head. Those of O go to
-- lib/decoder.lua; besides:
--   act   what the config calls its activation
--   cap   of the logits; nil: none
local decoder = require "lib.decoder"
local gemma = {}

-- A key of the config, with the default for one that is not there.
function gemma.key(value, default)
    if value == nil then return default end
    return value
end

function gemma.build(g, c, o)
    local cap = o.cap
    decoder.check(o, 2, "cap")
    o.cap = nil
    local act = o.act or "gelu_pytorch_tanh"
    -- "gelu" is a slip of the first configs: the tanh was always meant.
    assert(act == "gelu_pytorch_tanh" or act == "gelu",
           "the activation must be gelu_pytorch_tanh")
    o.act = "gelu_tanh"
    o.tied = true
    o.norm_offset = 1
    o.head_dim = c.head_dim or 256
    o.qkv_bias, o.o_bias = c.attention_bias, c.attention_bias
    o.embed_scale = g:round(c.hidden_size ^ 0.5)
    local hidden, head = decoder.build(g, c, o)
    local function capped(logits) return (g:softcap { logits, cap = cap }) end
    return hidden, head, cap and capped or nil
end

return gemma
