error("without a place", 0)
