error("the whole name is shown\nin one line")
