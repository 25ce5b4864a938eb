-- A decoder of the Llama kind: RMSNorm before each part, rotary positions,
-- grouped queries, SwiGLU. Families differ in what they pass as O:
--   head_dim                     of a head; nil: hidden_size / heads
--   qkv_bias, o_bias, mlp_bias   which projections have a bias
--   head_norm                    RMSNorm of every head of q and k
--   window(i)                    keys that layer i sees at most; nil: all
local rope = require "lib.rope"
local decoder = {}

function decoder.build(g, c, o)
    local H, heads = c.hidden_size, c.num_attention_heads
    local kv = c.num_key_value_heads or heads
    local d = o.head_dim or H // heads
    local F, V, eps = c.intermediate_size, c.vocab_size, c.rms_norm_eps
    assert((c.hidden_act or "silu") == "silu", "hidden_act must be silu")
    local freq = g:const(rope.frequencies(c, d))

    local function linear(x, name, out, n, bias)
        local w = g:param(name .. ".weight", { out, n })
        local b = bias and g:param(name .. ".bias", { out }) or nil
        return (g:linear { x, w, b, name = name })
    end
    local function norm(x, name, n)
        return (g:rmsnorm { x, g:param(name .. ".weight", { n }), eps = eps,
                            name = name })
    end
    local function turned(x, name)
        if o.head_norm then x = norm(x, name, d) end
        return (g:rope { x, freq, head_dim = d })
    end

    local tied = c.tie_word_embeddings
    local table = g:param("model.embed_tokens.weight", { V, H },
                          tied and "lm_head.weight" or nil)
    local x = g:embed { table }
    for i = 0, c.num_hidden_layers - 1 do
        local at = "model.layers." .. i
        local attn, mlp = at .. ".self_attn", at .. ".mlp"
        g:layer(i)
        local h = norm(x, at .. ".input_layernorm", H)
        local q = linear(h, attn .. ".q_proj", heads * d, H, o.qkv_bias)
        local k = linear(h, attn .. ".k_proj", kv * d, H, o.qkv_bias)
        local v = linear(h, attn .. ".v_proj", kv * d, H, o.qkv_bias)
        h = g:attention { turned(q, attn .. ".q_norm"),
                          turned(k, attn .. ".k_norm"), v,
                          heads = heads, kv_heads = kv, scale = d ^ -0.5,
                          window = o.window and o.window(i) }
        x = g:add { x, linear(h, attn .. ".o_proj", H, heads * d, o.o_bias) }
        h = norm(x, at .. ".post_attention_layernorm", H)
        local gate = g:silu { linear(h, mlp .. ".gate_proj", F, H, o.mlp_bias) }
        local up = linear(h, mlp .. ".up_proj", F, H, o.mlp_bias)
        x = g:add { x, linear(g:mul { gate, up }, mlp .. ".down_proj", H, F,
                              o.mlp_bias) }
    end
    g:layer()
    local head = tied and table or g:param("lm_head.weight", { V, H })
    return norm(x, "model.norm", H), head
end

return decoder
