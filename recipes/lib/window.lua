-- Configs in which some layers see a window of keys and the others every key.
local window = {}

-- Whether layer i slides: as layer_types says, layer by layer, or where it is
-- missing, as rule(i) does. KEYS: of the window; nil: no layer may slide.
function window.slides(c, keys, rule)
    local types = c.layer_types
    for i, kind in ipairs(types or {}) do
        if kind ~= "full_attention" and
           not (kind == "sliding_attention" and keys) then
            error("layer_types[" .. i - 1 .. "] is '" .. kind .. "'; known: "
                  .. "full_attention, and with a window that the config "
                  .. "uses: sliding_attention")
        end
    end
    return function(i)
        if types then return types[i + 1] == "sliding_attention" end
        return keys and rule(i)
    end
end

-- Qwen's: without layer_types the layers from max_window_layers on have the
-- window. None has without use_sliding_window.
function window.upper(c)
    local keys, first = c.sliding_window, c.max_window_layers or 28
    if not c.use_sliding_window then keys = nil end
    local slides = window.slides(c, keys, function(i) return i >= first end)
    return function(i) return slides(i) and keys or nil end
end

return window
