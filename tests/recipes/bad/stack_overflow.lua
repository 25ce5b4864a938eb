local function deep() return deep() + 1 end
deep()
-- slow
