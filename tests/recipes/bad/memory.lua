-- slow
local t = {}
for i = 1, 1e9 do t[i] = ("x"):rep(1 << 10):rep(1 << 10) .. i end
