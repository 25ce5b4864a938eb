-- Inverse frequencies of rotary positions (Su et al. 2021) and the scalings
-- that configs ask for: "linear" (Chen et al. 2023) and "llama3" (Llama 3.1).
local rope = {}

-- Models were trained with frequencies computed in fp32, step by step; other
-- last bits turn into angles that differ by 1e-4 far into a text.
local function f32(x) return (string.unpack("f", string.pack("f", x))) end

local scale = {}

function scale.default(freq) return freq end

function scale.linear(freq, s)
    for i = 1, #freq do freq[i] = freq[i] / s.factor end
    return freq
end

-- Long waves are stretched by `factor`, short ones kept, those between mixed.
function scale.llama3(freq, s)
    local length = s.original_max_position_embeddings
    local low, high = s.low_freq_factor, s.high_freq_factor
    for i = 1, #freq do
        local turns = length * freq[i] / (2 * math.pi)
        local keep = (turns - low) / (high - low)
        keep = math.max(0, math.min(1, keep))
        freq[i] = freq[i] * (keep + (1 - keep) / s.factor)
    end
    return freq
end

-- For heads of D dimensions; c: the model's config. Newer configs keep all of
-- it in `rope_parameters`, older ones in `rope_theta` and `rope_scaling`.
function rope.frequencies(c, d)
    local new, old = c.rope_parameters, c.rope_scaling
    local s = new or old or {}
    local theta = new and new.rope_theta or c.rope_theta or 10000
    local kind = s.rope_type or s.type or "default"
    local freq = {}
    for i = 0, d // 2 - 1 do
        freq[i + 1] = f32(1 / f32(theta ^ f32(2 * i / d)))
    end
    if not scale[kind] then
        error("rope scaling '" .. kind .. "' is not known; known: default, "
              .. "linear, llama3")
    end
    return scale[kind](freq, s)
end

return rope
