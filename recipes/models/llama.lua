-- Llama 1 to 3.2, TinyLlama, SmolLM2: RMSNorm, rotary positions, grouped
-- queries, SwiGLU. Touvron et al. 2023; Dubey et al. 2024.
local rope = require "lib.rope"

local function build(g, c)
    local H, heads, L = c.hidden_size, c.num_attention_heads, c.num_hidden_layers
    local kv = c.num_key_value_heads or heads
    local d = c.head_dim or H // heads
    local F, V, eps = c.intermediate_size, c.vocab_size, c.rms_norm_eps
    assert((c.hidden_act or "silu") == "silu", "hidden_act must be silu")
    local freq = g:const(rope.frequencies(c, d))

    local function linear(x, name, out, n, bias)
        local w = g:param(name .. ".weight", { out, n })
        local b = bias and g:param(name .. ".bias", { out }) or nil
        return (g:linear { x, w, b, name = name })
    end
    local function norm(x, name)
        return (g:rmsnorm { x, g:param(name .. ".weight", { H }), eps = eps,
                            name = name })
    end

    local tied = c.tie_word_embeddings
    local table = g:param("model.embed_tokens.weight", { V, H },
                          tied and "lm_head.weight" or nil)
    local x = g:embed { table }
    for i = 0, L - 1 do
        local at = "model.layers." .. i
        local attn, mlp = at .. ".self_attn", at .. ".mlp"
        g:layer(i)
        local h = norm(x, at .. ".input_layernorm")
        local q = linear(h, attn .. ".q_proj", heads * d, H, c.attention_bias)
        local k = linear(h, attn .. ".k_proj", kv * d, H, c.attention_bias)
        local v = linear(h, attn .. ".v_proj", kv * d, H, c.attention_bias)
        local o = g:attention { g:rope { q, freq, head_dim = d },
                                g:rope { k, freq, head_dim = d }, v,
                                heads = heads, kv_heads = kv, scale = d ^ -0.5 }
        x = g:add { x, linear(o, attn .. ".o_proj", H, heads * d,
                              c.attention_bias) }
        h = norm(x, at .. ".post_attention_layernorm")
        local gate = g:silu { linear(h, mlp .. ".gate_proj", F, H, c.mlp_bias) }
        local up = linear(h, mlp .. ".up_proj", F, H, c.mlp_bias)
        x = g:add { x, linear(g:mul { gate, up }, mlp .. ".down_proj", H, F,
                              c.mlp_bias) }
    end
    g:layer()
    local head = tied and table or g:param("lm_head.weight", { V, H })
    return norm(x, "model.norm"), head
end

return { build = build }
