-- Inverse frequencies of rotary positions (Su et al. 2021) and the scalings
-- that configs ask for: "linear" (Chen et al. 2023), "llama3" (Llama 3.1),
-- "yarn" (Peng et al. 2023) and "longrope" (Ding et al. 2024).
local rope = {}

-- Models were trained with frequencies computed in fp32, step by step; other
-- last bits turn into angles that differ by 1e-4 far into a text.
local function f32(x) return (string.unpack("f", string.pack("f", x))) end

local function clamp(x) return math.max(0, math.min(1, x)) end

-- Each turns the plain frequencies of D dimensions into scaled ones, and may
-- return a factor on cosine and sine. s: the scaling as the config has it;
-- c: the config; longest: tokens of the longest row.
local scale = {}

function scale.default(freq) return freq end

function scale.linear(freq, s)
    for i = 1, #freq do freq[i] = freq[i] / s.factor end
    return freq
end

-- The length that the model was trained at before it was stretched.
local function original(s, c)
    local own = s.original_max_position_embeddings
    return c.original_max_position_embeddings or own or
           c.max_position_embeddings
end

-- Long waves are stretched by `factor`, short ones kept, those between mixed.
function scale.llama3(freq, s, c)
    local length = original(s, c)
    local low, high = s.low_freq_factor, s.high_freq_factor
    for i = 1, #freq do
        local turns = length * freq[i] / (2 * math.pi)
        local keep = clamp((turns - low) / (high - low))
        freq[i] = freq[i] * (keep + (1 - keep) / s.factor)
    end
    return freq
end

-- The same by dimension: kept below that which turns beta_fast times within
-- the original length, stretched from that which turns beta_slow times.
function scale.yarn(freq, s, c, theta)
    local d, length = 2 * #freq, original(s, c)
    local factor = s.factor or c.max_position_embeddings / length
    local function place(turns)
        return d * math.log(length / (turns * 2 * math.pi)) /
               (2 * math.log(theta))
    end
    local low, high = place(s.beta_fast or 32), place(s.beta_slow or 1)
    if s.truncate ~= false then low, high = low // 1, -(-high // 1) end
    low, high = math.max(low, 0), math.min(high, d - 1)
    if low == high then high = high + 0.001 end
    for i = 1, #freq do
        local stretch = clamp(f32((i - 1 - low) / (high - low)))
        freq[i] = freq[i] * (1 - stretch) + freq[i] / factor * stretch
    end
    local function heat(m)
        return factor > 1 and 0.1 * m * math.log(factor) + 1 or 1
    end
    local m, all = s.mscale, s.mscale_all_dim
    local mixed = m and all and m ~= 0 and all ~= 0
    return freq, s.attention_factor or (mixed and heat(m) / heat(all)) or
                 heat(1)
end

-- A divisor for each frequency, from one list for rows within the original
-- length and from another as soon as any row is longer.
function scale.longrope(freq, s, c, _, longest)
    local length = original(s, c)
    local short, long = s.short_factor, s.long_factor
    local by = longest > length and long or short
    local factor = s.factor or c.max_position_embeddings / length
    assert(#short == #freq and #long == #freq, "longrope: short_factor and " ..
           "long_factor must have " .. #freq .. " numbers")
    for i = 1, #freq do freq[i] = f32(freq[i] / f32(by[i])) end
    return freq, s.attention_factor or (factor <= 1 and 1) or
                 math.sqrt(1 + math.log(factor) / math.log(length))
end

-- For D dimensions of a head; c: the model's config; longest: tokens of the
-- longest row. s, theta, kind: as the config has them in `rope_parameters`, or
-- in `rope_scaling` and `rope_theta`, unless given. Returns the frequencies
-- and the factor on cosine and sine.
function rope.frequencies(c, d, longest, s, theta, kind)
    local new, old = c.rope_parameters, c.rope_scaling
    s = s or old or new or {}
    theta = theta or s.rope_theta or c.rope_theta or 10000
    kind = kind or s.rope_type or s.type or "default"
    local freq = {}
    for i = 0, d // 2 - 1 do
        freq[i + 1] = f32(1 / f32(theta ^ f32(2 * i / d)))
    end
    if not scale[kind] then
        error("rope scaling '" .. kind .. "' is not known; known: default, "
              .. "linear, llama3, yarn, longrope")
    end
    local scaled, factor = scale[kind](freq, s, c, theta, longest)
    return scaled, factor or 1
end

return rope
