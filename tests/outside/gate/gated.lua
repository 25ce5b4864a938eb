-- A family with an op from outside: a decoder whose MLP is down(gate(up(x))).
-- Models say "model_type": "gated" and, perhaps, "gate_beta".
local rope = require "lib.rope"

local function build(g, c)
    local H, F, V = c.hidden_size, c.intermediate_size, c.vocab_size
    local heads, eps = c.num_attention_heads, c.rms_norm_eps
    local kv, d = c.num_key_value_heads, H // heads
    assert(c.tie_word_embeddings and c.hidden_act == "mine.gate")
    local freq = g:const(rope.frequencies(c, d))

    local function linear(x, name, out, n)
        return (g:linear { x, g:param(name .. ".weight", { out, n }),
                           name = name })
    end
    local function norm(x, name)
        return (g:rmsnorm { x, g:param(name .. ".weight", { H }), eps = eps })
    end

    local table = g:param("model.embed_tokens.weight", { V, H })
    local x = g:embed { table }
    for i = 0, c.num_hidden_layers - 1 do
        local at = "model.layers." .. i
        g:layer(i)
        local h = norm(x, at .. ".norm")
        local q = g:rope { linear(h, at .. ".q_proj", H, H), freq,
                           head_dim = d }
        local k = g:rope { linear(h, at .. ".k_proj", kv * d, H), freq,
                           head_dim = d }
        local v = linear(h, at .. ".v_proj", kv * d, H)
        local o = g:attention { q, k, v, heads = heads, kv_heads = kv,
                                scale = d ^ -0.5 }
        x = g:add { x, linear(o, at .. ".o_proj", H, H) }
        h = linear(norm(x, at .. ".mlp_norm"), at .. ".up_proj", F, H)
        h = g:op("mine.gate", { h, beta = c.gate_beta or 1.702 })
        x = g:add { x, linear(h, at .. ".down_proj", H, F) }
    end
    g:layer()
    return norm(x, "model.norm"), table
end

return { build = build }
