-- A decoder of the Llama kind: RMSNorm before each part, rotary positions,
-- grouped queries, a gated MLP. Families differ in what they pass as O, in
-- which other keys are refused:
--   head_dim                     of a head; nil: hidden_size / heads
--   qkv_bias, o_bias, mlp_bias   which projections have a bias
--   fused                        q, k, v are one projection; gate and up too
--   head_norm                    RMSNorm of every head of q and k
--   post_norm                    RMSNorm behind each part too, as in Gemma 2
--   norm_offset                  added to the weights of all norms
--   residual                     factor on what a part adds
--   act                          op on the gate; nil: silu
--   embed_scale                  factor on the embedding
--   tied                         the head, if the config does not say
--   scale, softcap               of the scores; nil: 1 / sqrt(head_dim), none
--   window(i)                    keys that layer i sees at most; nil: all
--   rope(i)                      its frequencies, their factor; nil: c's
local rope = require "lib.rope"
local decoder = {}

local needed = { "hidden_size", "intermediate_size", "vocab_size",
                 "num_hidden_layers", "num_attention_heads", "rms_norm_eps" }

local known = "head_dim qkv_bias o_bias mlp_bias fused head_norm post_norm "
    .. "norm_offset residual act embed_scale tied scale softcap window rope "

-- Refuses keys of O that are neither above nor MORE's. LEVEL: as of error().
function decoder.check(o, level, more)
    local words = known .. (more or "")
    for key in pairs(o) do
        if not (" " .. words .. " "):find(" " .. key .. " ", 1, true) then
            error("lib.decoder has no '" .. key .. "'; there are: "
                  .. words:gsub(" +$", ""):gsub(" ", ", "), level + 1)
        end
    end
end

function decoder.build(g, c, o)
    decoder.check(o, 2)
    for _, key in ipairs(needed) do
        assert(c[key], "config.json has no '" .. key .. "'")
    end
    local H, heads = c.hidden_size, c.num_attention_heads
    local kv = c.num_key_value_heads or heads
    local d = o.head_dim or H // heads
    local F, V, eps = c.intermediate_size, c.vocab_size, c.rms_norm_eps
    assert(o.act or (c.hidden_act or "silu") == "silu",
           "hidden_act must be silu")
    local shared, factor
    if not o.rope then
        shared, factor = rope.frequencies(c, d, g:longest())
    end

    local function linear(x, name, out, n, bias)
        local w = g:param(name .. ".weight", { out, n })
        local b = bias and g:param(name .. ".bias", { out }) or nil
        return (g:linear { x, w, b, name = name })
    end
    local function norm(x, name, n)
        local zero = o.norm_offset and "zeros" or nil
        local w = g:param(name .. ".weight", { n }, nil, zero)
        return (g:rmsnorm { x, w, eps = eps, offset = o.norm_offset,
                            name = name })
    end
    -- Projections of x, one by one or as the columns of a fused one.
    local function projected(x, at, names, fused, widths, bias)
        local y = {}
        for i, name in ipairs(o.fused and {} or names) do
            y[i] = linear(x, at .. name, widths[i], H, bias)
        end
        if o.fused then
            local n, total = #widths, 0
            for i = 1, n do total = total + widths[i] end
            y[n] = linear(x, at .. fused, total, H, bias)
            for i = 1, n - 1 do
                y[i], y[n] = g:split { y[n], at = widths[i] }
            end
        end
        return table.unpack(y)
    end
    local function turned(x, name, i)
        local freq, by = shared, factor
        if o.rope then freq, by = o.rope(i) end
        if o.head_norm then x = norm(x, name, d) end
        return (g:rope { x, g:const(freq), head_dim = d, factor = by })
    end
    local function joined(x, y, at, name)
        if o.post_norm then y = norm(y, at .. name, H) end
        if o.residual then y = g:scale { y, by = o.residual } end
        return (g:add { x, y })
    end

    local tied = c.tie_word_embeddings
    if tied == nil then tied = o.tied end
    local words = g:param("model.embed_tokens.weight", { V, H },
                          tied and "lm_head.weight" or nil)
    local x = g:embed { words }
    if o.embed_scale then x = g:scale { x, by = o.embed_scale } end
    for i = 0, c.num_hidden_layers - 1 do
        local at = "model.layers." .. i
        local attn, mlp = at .. ".self_attn", at .. ".mlp"
        g:layer(i)
        local h = norm(x, at .. ".input_layernorm", H)
        local q, k, v = projected(h, attn, { ".q_proj", ".k_proj", ".v_proj" },
                                  ".qkv_proj", { heads * d, kv * d, kv * d },
                                  o.qkv_bias)
        h = g:attention { turned(q, attn .. ".q_norm", i),
                          turned(k, attn .. ".k_norm", i), v,
                          heads = heads, kv_heads = kv,
                          scale = o.scale or d ^ -0.5, softcap = o.softcap,
                          window = o.window and o.window(i) }
        x = joined(x, linear(h, attn .. ".o_proj", H, heads * d, o.o_bias), at,
                   ".post_attention_layernorm")
        h = norm(x, at .. (o.post_norm and ".pre_feedforward_layernorm"
                           or ".post_attention_layernorm"), H)
        local gate, up = projected(h, mlp, { ".gate_proj", ".up_proj" },
                                   ".gate_up_proj", { F, F }, o.mlp_bias)
        gate = g:op(o.act or "silu", { gate })
        x = joined(x, linear(g:mul { gate, up }, mlp .. ".down_proj", H, F,
                             o.mlp_bias), at, ".post_feedforward_layernorm")
    end
    g:layer()
    local head = tied and words or g:param("lm_head.weight", { V, H })
    return norm(x, "model.norm", H), head
end
return decoder
