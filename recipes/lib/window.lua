-- Configs in which some layers see a window of keys and the others every key.
local window = {}

-- Qwen's: layer_types says it layer by layer; where it is missing, the layers
-- from max_window_layers on have a window. None has without use_sliding_window.
function window.upper(c)
    local keys, first = c.sliding_window, c.max_window_layers or 28
    local types = c.layer_types
    if not c.use_sliding_window then keys = nil end
    for i, kind in ipairs(types or {}) do
        if kind ~= "full_attention" and
           not (kind == "sliding_attention" and keys) then
            error("layer_types[" .. i - 1 .. "] is '" .. kind .. "'; known: "
                  .. "full_attention, and with use_sliding_window and a "
                  .. "sliding_window: sliding_attention")
        end
    end
    return function(i)
        local slides = i >= first
        if types then slides = types[i + 1] == "sliding_attention" end
        return slides and keys or nil
    end
end

return window
